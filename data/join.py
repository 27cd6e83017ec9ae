"""The PTransform from log files to labelled tf.Examples.

ReadUnit parts the files by user, LabelPartition joins and labels each part, WriteRows writes it as a shard of each split.
Two ways lead around: engagements that do not name their user go by impression first (FillUsers), and facts of the past go
by item, author, ... (FollowKeys), whose features come back to the rows before they are written.

Beam groups references to parts of files (`data.spill`), never rows: memory is bounded by the size of a partition.
"""

import functools
import json

import apache_beam as beam
import pyarrow as pa
from apache_beam.io.filesystems import FileSystems
from apache_beam.pvalue import AsList, AsSingleton, PBegin, PDone

from data import ingest, outputs, stages, tables
from data.batches import distinct_keys
from data.columns import aggregate_column, empty_aggregate
from data.delays import DelayCounts
from data.extent import merge_extents
from data.report import LABEL_COUNTS_FILE, merge_label_counts, to_json
from data.schema import EMPTY_HISTORY_FILE, ITEMS_TABLE, USERS_TABLE, pair_table_name
from data.sources.events import ENGAGEMENTS, IMPRESSIONS, ITEMS, LOGS, USERS
from data.spill import read_parts

DEAD_LETTER_FILE = "dead_letters.jsonl"

# Decoded bytes of both logs in one partition; with history a partition in work takes about ten times as much.
_PARTITION_BYTES = 48 << 20
_MIN_PARTITIONS, _MAX_PARTITIONS = 4, 1024


class IngestLogs(beam.PTransform):
    """Reads, joins, labels, adds features of the past, splits and writes the configured logs.

    Writes per split `data_tfrecord-?????-of-?????.gz`; the tables of `data.tables` with every id in logs and tables; dead
    letters and label counts. Counts go to the counters of `data.counts.Counts`.

    Args:
        config: `DataConfig`, checked by `data.ingest.check_source`.
        split_uris: folder by split name, "train" and "eval".
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
            | "ReadUnits"
            >> beam.ParDo(stages.ReadUnit(*stage)).with_outputs(
                *LOGS, stages.IDS, stages.ORPHANS, stages.DEAD_LETTERS, stages.EXTENT
            )
        )
        extent = AsSingleton(logs[stages.EXTENT] | "MergeExtents" >> beam.CombineGlobally(merge_extents))
        filled = (
            {tag: logs[tag] for tag in (stages.IDS, stages.ORPHANS)}
            | "GroupByImpression" >> beam.CoGroupByKey()
            | "FillUsers" >> beam.ParDo(stages.FillUsers(*stage))
        )
        engagements = (logs[ENGAGEMENTS], filled) | "Engagements" >> beam.Flatten()
        labelled = (
            {IMPRESSIONS: logs[IMPRESSIONS], ENGAGEMENTS: engagements, USERS: logs[USERS]}
            | "GroupByUser" >> beam.CoGroupByKey()
            | "Label"
            >> beam.ParDo(stages.LabelPartition(*stage), extent, AsList(logs[ITEMS])).with_outputs(
                stages.ROWS, stages.FACTS, stages.SEEN_ITEMS, stages.USER_PIECES, stages.PAIR_PIECES,
                stages.DELAYS, stages.LABEL_COUNTS,
            )
        )  # fmt: skip
        followed = (
            labelled[stages.FACTS]
            | "GroupByKey" >> beam.GroupByKey()
            | "FollowKeys" >> beam.ParDo(stages.FollowKeys(*stage), extent).with_outputs(stages.FEATURES, stages.STATES)
        )
        delay_counts = AsSingleton(labelled[stages.DELAYS] | "MergeDelays" >> beam.CombineGlobally(_merged))
        (
            {stages.ROWS: labelled[stages.ROWS], stages.FEATURES: followed[stages.FEATURES]}
            | "GroupRows" >> beam.CoGroupByKey()
            | "WriteRows" >> beam.ParDo(stages.WriteRows(*stage, self._split_uris), extent, delay_counts)
        )
        self._write_tables(begin, logs, labelled, followed)
        self._write_report(begin, logs, labelled)
        return PDone(begin.pipeline)

    def _write_tables(self, begin, logs, labelled, followed):
        self._write_once(begin, self._tables_uri, USERS_TABLE, _write_users, labelled[stages.USER_PIECES])
        item_parts = (logs[ITEMS], labelled[stages.SEEN_ITEMS], followed[stages.STATES])
        self._write_once(begin, self._tables_uri, ITEMS_TABLE, _write_items, *item_parts)
        for aggregate in tables.pair_aggregates(self._config.history):
            name = pair_table_name(aggregate.key[1])
            self._write_once(begin, self._tables_uri, name, _write_pairs, labelled[stages.PAIR_PIECES])
        if self._config.history is not None:
            self._write_once(begin, self._tables_uri, EMPTY_HISTORY_FILE, _write_empty_history)

    def _write_report(self, begin, logs, labelled):
        self._write_once(begin, self._report_uri, LABEL_COUNTS_FILE, _write_label_counts, labelled[stages.LABEL_COUNTS])
        logs[stages.DEAD_LETTERS] | "WriteDeadLetters" >> beam.io.WriteToText(
            FileSystems.join(self._report_uri, DEAD_LETTER_FILE), num_shards=1, shard_name_template=""
        )

    def _write_once(self, begin, folder, name, write_fn, *sides):
        path = begin | f"Path[{name}]" >> beam.Create([FileSystems.join(folder, name)])
        path | f"Write[{name}]" >> beam.ParDo(write_fn, self._config, *map(AsList, sides))


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


def _merged(counts):
    return functools.reduce(DelayCounts.merge, counts, DelayCounts())


def _write_users(path, config, pieces):
    schema = tables.user_table_schema(config)
    outputs.write_table(path, schema, (read_parts([part], schema) for _, part in sorted(pieces, key=_number)))


def _number(piece):
    return piece[0]


def _write_pairs(path, config, pieces):
    for aggregate in tables.pair_aggregates(config.history):
        if path.endswith(pair_table_name(aggregate.key[1])):
            schema = tables.pair_table_schema(aggregate, config)
            own = sorted((number, part) for column, number, part in pieces if column == aggregate.key[1])
            outputs.write_table(path, schema, (read_parts([part], schema) for _, part in own))


def _write_items(path, config, parts, seen_parts, states):
    declared_schema = tables.declared_schema("item_id", config.item_columns)
    declared = read_parts([part for _, part in parts], declared_schema)
    seen = read_parts(seen_parts, pa.schema([declared_schema.field("item_id")]))
    parts_by_column = {}
    for column, part in states:
        parts_by_column.setdefault(column, []).append(part)
    state_by_column = {column: read_parts(parts_by_column[column]) for column in sorted(parts_by_column)}
    distinct = distinct_keys(declared, "item_id")
    stages.count("items_kept", distinct.num_rows)
    stages.count("items_duplicate", declared.num_rows - distinct.num_rows)
    outputs.write_table(
        path, tables.item_table_schema(config), [tables.item_table(distinct, seen["item_id"], state_by_column, config)]
    )


def _write_empty_history(path, config):
    history = config.history
    empty_by_column = {aggregate_column(aggregate): empty_aggregate(aggregate, history) for aggregate in history.aggregates}
    _write_text(path, json.dumps(empty_by_column))


def _write_label_counts(path, config, counts):
    del config
    _write_text(path, to_json(merge_label_counts(counts)))


def _write_text(path, text):
    with outputs.renamed_when_whole(path) as file:
        file.write(text.encode())
