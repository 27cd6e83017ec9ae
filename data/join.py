"""The PTransform from log files to labelled tf.Examples.

ReadUnit parts the files by user, LabelPartition joins and labels each part, WriteRows writes it as a shard of each split.
Two ways lead around: engagements that do not name their user go by impression first (FillUsers), and facts of the past go
by item, author, ... (FollowKeys), whose features come back to the rows before they are written.

Beam groups references to parts of files (`data.spill`), never rows: memory is bounded by the size of a partition.
"""

import functools
import json
import operator

import apache_beam as beam
import pyarrow as pa
from apache_beam.io.filesystems import FileSystems
from apache_beam.pvalue import AsList, AsSingleton, PBegin, PDone

from data import buckets, ingest, outputs, stages, tables
from data.batches import distinct_keys
from data.columns import aggregate_column, empty_aggregate
from data.delays import DelayCounts
from data.extent import merge_extents
from data.history.facts import keyed_columns
from data.history.features import pair_aggregates
from data.report import LABEL_COUNTS_FILE, merge_label_counts, to_json
from data.schema import BUCKETS_FILE, EMPTY_HISTORY_FILE, ITEMS_TABLE, USERS_TABLE, pair_table_name
from data.sources.events import ENGAGEMENTS, IMPRESSIONS, ITEMS, LOGS, USERS
from data.spill import read_parts

DEAD_LETTER_FILE = "dead_letters.jsonl"

# Decoded bytes of both logs in one partition; with history a partition in work takes about ten times as much.
_PARTITION_BYTES = 48 << 20
_MIN_PARTITIONS, _MAX_PARTITIONS = 4, 1024

_ITEMS, _DEAD_LETTERS = "items", "dead_letters"


class IngestLogs(beam.PTransform):
    """Reads, joins, labels, adds features of the past, splits and writes the configured logs.

    Writes per split `data_tfrecord-?????-of-?????.gz`; the tables of `data.tables` with every id in logs and tables; dead
    letters and label counts. Counts go to the counters of `data.counts.Counts`.

    Args:
        config: `DataConfig`, checked by `data.ingest.check_source`.
        split_uris: folder by split name, of `SplitConfig.names`.
        tables_uri: folder of the tables.
        report_uri: folder of dead letters and label counts.
        spill_uri: folder for parts on their way, local for local runners, else one that all workers reach; the caller
            deletes it after the run.

    Raises:
        LogFormatError: On expansion, if a glob matches no file; in workers, if a file cannot be read.
    """

    def __init__(self, config, split_uris, tables_uri, report_uri, spill_uri):
        super().__init__()
        self._config = config
        self._split_uris = dict(split_uris)
        self._tables_uri = tables_uri
        self._report_uri = report_uri
        self._spill_uri = spill_uri

    def expand(self, pipeline):
        """Builds the graph.

        Args:
            pipeline: `beam.Pipeline` or `PBegin`.

        Returns:
            `PDone`.
        """
        begin = pipeline if isinstance(pipeline, PBegin) else PBegin(pipeline)
        config = self._config
        stage = (config, num_partitions(config), self._spill_uri)
        logs = (
            begin
            | "ListUnits" >> beam.Create(ingest.work_units(config))
            | "SpreadUnits" >> beam.Reshuffle()
            | "ReadUnits" >> beam.ParDo(stages.ReadUnit(*stage)).with_outputs(*LOGS, *stages.BESIDE_LOGS)
        )
        extent = AsSingleton(logs[stages.EXTENT] | "MergeExtents" >> beam.CombineGlobally(merge_extents))
        of_users = [logs[IMPRESSIONS], logs[ENGAGEMENTS], logs[USERS]]
        if config.source.kind == "events":
            of_users.append(
                _grouped("ByImpression", logs[stages.IDS], logs[stages.ORPHANS])
                | "FillUsers" >> beam.ParDo(stages.FillUsers(*stage))
            )
        label = beam.ParDo(stages.LabelPartition(*stage), extent, AsList(logs[ITEMS]))
        labelled = _grouped("ByUser", *of_users) | "Label" >> label.with_outputs(*stages.BESIDE_ROWS, stages.ROWS)
        of_rows, states = [labelled[stages.ROWS]], None
        if keyed_columns(config.history):
            follow = beam.ParDo(stages.FollowKeys(*stage), extent).with_outputs(stages.FEATURES, stages.STATES)
            followed = _grouped("ByKey", labelled[stages.FACTS]) | "FollowKeys" >> follow
            of_rows, states = [*of_rows, followed[stages.FEATURES]], followed[stages.STATES]
        delays = None
        if config.attribution.delayed == "weight":
            delays = AsSingleton(labelled[stages.DELAYS] | "MergeDelays" >> beam.CombineGlobally(_merged))
        write = beam.ParDo(stages.WriteRows(*stage, self._split_uris), extent, delays)
        _grouped("Rows", *of_rows) | "WriteRows" >> write
        self._write_files(begin, logs, labelled, states)
        return PDone(begin.pipeline)

    def _write_files(self, begin, logs, labelled, states):
        """The files of which there is one in a run."""
        sides = {
            _ITEMS: logs[ITEMS],
            _DEAD_LETTERS: logs[stages.DEAD_LETTERS],
            **{tag: labelled[tag] for tag in (stages.USER_PIECES, stages.PAIR_PIECES, stages.SEEN_ITEMS, stages.LABEL_COUNTS)},
        }
        if states is not None:
            sides[stages.STATES] = states
        files = [(FileSystems.join(folder, name), name) for folder, names in self._files() for name in names]
        write = beam.ParDo(_WriteFile(self._config), **{tag: AsList(side) for tag, side in sides.items()})
        begin | "ListFiles" >> beam.Create(files) | "WriteFiles" >> write

    def _files(self):
        """Folders, each with the names of its files."""
        history = self._config.history
        empty = [] if history is None else [EMPTY_HISTORY_FILE]
        yield (
            self._tables_uri,
            [USERS_TABLE, ITEMS_TABLE, BUCKETS_FILE, *map(pair_table_name, pair_aggregates(history)), *empty],
        )
        yield self._report_uri, [LABEL_COUNTS_FILE, DEAD_LETTER_FILE]


def _grouped(name, *collections):
    return collections | f"Flatten{name}" >> beam.Flatten() | f"Group{name}" >> beam.GroupByKey()


def num_partitions(config):
    """Number of partitions of every shuffle.

    Args:
        config: `DataConfig`.

    Returns:
        int, at least 1.

    Raises:
        LogFormatError: If a glob matches no file.
    """
    if config.num_partitions is not None:
        return config.num_partitions
    return min(max(-(-ingest.input_bytes(config) // _PARTITION_BYTES), _MIN_PARTITIONS), _MAX_PARTITIONS)


class _WriteFile(beam.DoFn):
    """One of the files of which there is one in a run."""

    def __init__(self, config):
        self._config = config

    def process(self, path_and_name, **sides):
        """Writes a file.

        Args:
            path_and_name: its path, and the name under which it is known.
            **sides: what the other stages left, by name.
        """
        path, name = path_and_name
        config = self._config
        if name == USERS_TABLE:
            _write_pieces(path, tables.user_table_schema(config), sides[stages.USER_PIECES])
        elif name == ITEMS_TABLE:
            _write_items(path, config, sides)
        elif name == EMPTY_HISTORY_FILE:
            empty = {aggregate_column(one): empty_aggregate(one, config.history) for one in config.history.aggregates}
            _write_text(path, [json.dumps(empty)])
        elif name == BUCKETS_FILE:
            _write_text(path, [buckets.to_json(buckets.bucketings(config))])
        elif name == LABEL_COUNTS_FILE:
            _write_text(path, [to_json(merge_label_counts(sides[stages.LABEL_COUNTS]))])
        elif name == DEAD_LETTER_FILE:
            _write_text(path, _letters(sides[_DEAD_LETTERS]))
        else:
            (own_column,) = (column for column in pair_aggregates(config.history) if pair_table_name(column) == name)
            own = [(number, part) for column, number, part in sides[stages.PAIR_PIECES] if column == own_column]
            _write_pieces(path, tables.pair_table_schema(own_column, config), own)


def _merged(counts):
    return functools.reduce(DelayCounts.merge, counts, DelayCounts())


def _write_pieces(path, schema, pieces):
    ordered = [part for _, part in sorted(pieces, key=operator.itemgetter(0))]
    outputs.write_table(path, schema, (read_parts([part], schema) for part in ordered))


def _write_items(path, config, sides):
    declared_schema = tables.declared_schema("item_id", config.item_columns)
    declared = read_parts([part for _, (_, part) in sides[_ITEMS]], declared_schema)
    seen = read_parts(sides[stages.SEEN_ITEMS], pa.schema([declared_schema.field("item_id")]))
    parts_by_column = {}
    for column, part in sides.get(stages.STATES, ()):
        parts_by_column.setdefault(column, []).append(part)
    state_by_column = {column: read_parts(parts_by_column[column]) for column in sorted(parts_by_column)}
    distinct = distinct_keys(declared, "item_id")
    stages.count("items_kept", distinct.num_rows)
    stages.count("items_duplicate", declared.num_rows - distinct.num_rows)
    table = tables.item_table(distinct, seen["item_id"], state_by_column, config)
    outputs.write_table(path, table.schema, [table])


def _letters(pieces):
    for _, part in sorted(pieces, key=operator.itemgetter(0)):
        for letter in read_parts([part]).to_pylist():
            yield json.dumps(letter, ensure_ascii=False) + "\n"


def _write_text(path, texts):
    with outputs.renamed_when_whole(path) as file:
        for text in texts:
            file.write(text.encode())
