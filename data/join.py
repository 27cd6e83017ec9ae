"""The PTransform from log files to labelled tf.Examples: Beam moves batches, pure functions do the work.

Event logs are grouped three times: engagements by event id (to drop repeats); impressions and the engagements that name
one by impression id (to drop repeats and learn the user); everything by user (to attribute and label). KuaiRand's rows
hold their signals already and are grouped once, by user. In between, a batch is the bytes of an Arrow stream.
"""

import io
import json
import posixpath
from collections.abc import Iterable

import apache_beam as beam
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from apache_beam.coders import BytesCoder
from apache_beam.io import tfrecordio
from apache_beam.io.filesystems import FileSystems
from apache_beam.pvalue import AsList, PBegin, PDone, TaggedOutput

from data import batches, examples, ingest
from data.attribution import attribute, drop_duplicates, fill_users
from data.counts import NAMESPACE
from data.schema import (
    ARROW_TYPE_BY_COLUMN_TYPE,
    ENGAGEMENT_SCHEMA,
    IMPRESSED_AT_MS,
    IMPRESSION_SCHEMA,
    ITEMS_TABLE,
    SPLITS,
    USERS_TABLE,
    labelled_schema,
)
from data.sources import kuairand
from data.sources.events import ENGAGEMENTS, IMPRESSIONS, ITEMS, LOGS, USERS
from data.split import fill_days, split_of

DEAD_LETTERS = "dead_letters"
DEAD_LETTER_FILE = "dead_letters.jsonl"
EXAMPLE_FILE_PREFIX = "data_tfrecord"
_CHUNK_ROWS = 1_024
_BY_IMPRESSION, _BY_USER = "by_impression", "by_user"


class IngestLogs(beam.PTransform):
    """Reads, joins, labels, splits and writes the configured logs.

    Writes per split `data_tfrecord-?????-of-?????.gz`, the tables `users.parquet` and `items.parquet` of every id in
    logs and tables, and `dead_letters.jsonl`. Counts go to the counters of `data.counts.Counts`.

    Args:
        config: `DataConfig`, checked by `data.ingest.check_source`.
        split_uris: folder by split name, "train" and "eval".
        tables_uri: folder of the tables.
        dead_letter_uri: folder of the dead letters.

    Raises:
        LogFormatError: On expansion, if a glob matches no file; in workers, if a file cannot be read.
    """

    def __init__(self, config, split_uris, tables_uri, dead_letter_uri):
        super().__init__()
        self._config = config
        self._split_uris = dict(split_uris)
        self._tables_uri = tables_uri
        self._dead_letter_uri = dead_letter_uri

    def expand(self, pipeline):
        """Builds the graph.

        Args:
            pipeline: `beam.Pipeline` or `PBegin`.

        Returns:
            `PDone`.
        """
        begin = pipeline if isinstance(pipeline, PBegin) else PBegin(pipeline)
        paths_by_log = ingest.files_by_log(self._config)
        logs = (
            begin
            | "ListFiles" >> beam.Create([(log, path) for log, paths in paths_by_log.items() for path in paths])
            | "SpreadFiles" >> beam.Reshuffle()
            | "ReadFiles" >> beam.ParDo(_ReadFile(self._config)).with_outputs(DEAD_LETTERS, *LOGS)
        )
        if self._config.source.kind == "kuairand":
            grouped = logs[IMPRESSIONS] | _partition_by("user_id", self._config) | "GroupRows" >> beam.GroupByKey()
            label = _LabelKuaiRand(self._config)
        else:
            grouped = self._group_events(logs)
            label = _LabelEvents(self._config)
        labelled = grouped | "Label" >> beam.ParDo(label, AsList(logs[USERS]), AsList(logs[ITEMS])).with_outputs(
            USERS, ITEMS, *SPLITS
        )
        self._write(begin, logs, labelled)
        return PDone(begin.pipeline)

    def _group_events(self, logs):
        engagements = (
            logs[ENGAGEMENTS]
            | _partition_by("event_id", self._config)
            | "GroupByEvent" >> beam.GroupByKey()
            | "DropRepeats" >> beam.ParDo(_DropRepeats(self._config)).with_outputs(_BY_IMPRESSION, _BY_USER)
        )
        by_impression = {
            IMPRESSIONS: logs[IMPRESSIONS] | _partition_by("impression_id", self._config),
            ENGAGEMENTS: engagements[_BY_IMPRESSION],
        }
        resolved = (
            by_impression
            | "GroupByImpression" >> beam.CoGroupByKey()
            | "FillUsers" >> beam.ParDo(_FillUsers(self._config)).with_outputs(IMPRESSIONS, ENGAGEMENTS)
        )
        all_engagements = (resolved[ENGAGEMENTS], engagements[_BY_USER]) | "Engagements" >> beam.Flatten()
        by_user = {IMPRESSIONS: resolved[IMPRESSIONS], ENGAGEMENTS: all_engagements}
        return by_user | "GroupByUser" >> beam.CoGroupByKey()

    def _write(self, begin, logs, labelled):
        for split in SPLITS:
            labelled[split] | f"Write[{split}]" >> beam.io.WriteToText(
                posixpath.join(self._split_uris[split], EXAMPLE_FILE_PREFIX),
                file_name_suffix=".gz",
                append_trailing_newlines=False,
                num_shards=self._config.num_shards,
                coder=BytesCoder(),
            )
        tables = ((USERS, "user_id", USERS_TABLE), (ITEMS, "item_id", ITEMS_TABLE))
        for log, key, name in tables:
            (
                begin
                | f"Table[{log}]" >> beam.Create([posixpath.join(self._tables_uri, name)])
                | f"WriteTable[{log}]"
                >> beam.ParDo(_write_table, key, _table_schema(log, self._config), AsList(logs[log]), AsList(labelled[log]))
            )
        logs[DEAD_LETTERS] | "WriteDeadLetters" >> beam.io.WriteToText(
            posixpath.join(self._dead_letter_uri, DEAD_LETTER_FILE), num_shards=1, shard_name_template=""
        )


def _count(name, increment):
    if increment:
        beam.metrics.Metrics.counter(NAMESPACE, name).inc(int(increment))


def _partition_by(column, config):
    return f"PartitionBy[{column}]" >> beam.ParDo(_Partition(column, config.num_partitions))


def _keyed(table, column, num_partitions):
    for number, part in batches.partition(table, column, num_partitions):
        yield number, batches.to_bytes(part)


def _table_schema(log, config):
    key, declared = ("user_id", config.user_columns) if log == USERS else ("item_id", config.item_columns)
    fields = [pa.field(name, ARROW_TYPE_BY_COLUMN_TYPE[type_]) for name, type_ in declared.items()]
    return pa.schema([pa.field(key, pa.string()), *fields])


def _impression_schema(config):
    fields = [pa.field(name, ARROW_TYPE_BY_COLUMN_TYPE[type_]) for name, type_ in config.context_columns.items()]
    return pa.schema([*IMPRESSION_SCHEMA, *fields])


class _ReadFile(beam.DoFn):
    """(log, path) to batches tagged by log, and dead letters as JSON."""

    def __init__(self, config):
        self._config = config

    def process(self, element):
        log, path = element
        for block in ingest.source_of(self._config).read_log(log, path, self._config):
            _count(f"{log}_read", block.num_read)
            _count(f"{log}_dead_lettered", block.dead_letters.num_rows)
            for letter in block.dead_letters.to_pylist():
                yield TaggedOutput(DEAD_LETTERS, json.dumps(letter, ensure_ascii=False))
            yield TaggedOutput(log, batches.to_bytes(block.rows))


class _Partition(beam.DoFn):
    """A batch to (partition, batch) pairs."""

    def __init__(self, column, num_partitions):
        self._column = column
        self._num_partitions = num_partitions

    def process(self, stream) -> Iterable[tuple[int, bytes]]:
        yield from _keyed(batches.from_bytes([stream]), self._column, self._num_partitions)


class _DropRepeats(beam.DoFn):
    """Engagements with distinct event ids, to the partition of their impression, or of their user if they name none."""

    def __init__(self, config):
        self._num_partitions = config.num_partitions

    def process(self, element):
        engagements = batches.from_bytes(element[1])
        engagements, num_duplicate = drop_duplicates(engagements, "event_id", "engaged_at")
        _count("engagements_duplicate", num_duplicate)
        has_id = pc.is_valid(engagements["impression_id"])
        for keyed in _keyed(engagements.filter(has_id), "impression_id", self._num_partitions):
            yield TaggedOutput(_BY_IMPRESSION, keyed)
        for keyed in _keyed(engagements.filter(pc.invert(has_id)), "user_id", self._num_partitions):
            yield TaggedOutput(_BY_USER, keyed)


class _FillUsers(beam.DoFn):
    """Distinct impressions and their engagements, to the partition of their user."""

    def __init__(self, config):
        self._num_partitions = config.num_partitions
        self._schema = _impression_schema(config)

    def process(self, element):
        impressions = batches.from_bytes(element[1][IMPRESSIONS], self._schema)
        engagements = batches.from_bytes(element[1][ENGAGEMENTS], ENGAGEMENT_SCHEMA)
        impressions, num_duplicate = drop_duplicates(impressions, "impression_id", "impressed_at")
        engagements, num_unattributed = fill_users(impressions, engagements)
        _count("impressions_duplicate", num_duplicate)
        _count("engagements_unattributed", num_unattributed)
        for log, table in ((IMPRESSIONS, impressions), (ENGAGEMENTS, engagements)):
            for keyed in _keyed(table, "user_id", self._num_partitions):
                yield TaggedOutput(log, keyed)


class _Label(beam.DoFn):
    """A user partition to chunks of TFRecords tagged by split, and the ids seen."""

    def __init__(self, config):
        self._config = config

    def process(self, element, user_streams, item_streams):
        rows = self._labelled(element[1])
        days = fill_days(rows["day"], rows["impressed_at"], self._config.timezone)
        rows = rows.set_column(rows.column_names.index("day"), "day", days)
        for log, key in ((USERS, "user_id"), (ITEMS, "item_id")):
            yield TaggedOutput(log, batches.to_bytes(pa.table([pc.unique(rows[key])], names=[key])))
        for log, key, streams in ((USERS, "user_id", user_streams), (ITEMS, "item_id", item_streams)):
            table = batches.from_bytes(streams, _table_schema(log, self._config))
            rows = batches.join_columns(rows, batches.distinct_keys(table, key), key)
        yield from self._split(rows)

    def _split(self, rows):
        milliseconds = pc.divide(rows["impressed_at"].cast(pa.int64()), 1000)
        rows = rows.append_column(IMPRESSED_AT_MS, milliseconds)
        schema = labelled_schema(self._config.context_columns, self._config.user_columns, self._config.item_columns)
        # By hash: the order does not depend on the input's, and neighbours are not one user's.
        rows = rows.select(schema.names).take(pc.sort_indices(pa.array(batches.hash_of(rows["impression_id"]))))
        splits = split_of(rows["day"], self._config.split)
        for split in (*SPLITS, "outside"):
            part = rows.filter(pa.array(splits == split))
            _count(f"impressions_{split}", part.num_rows)
            if split in SPLITS:
                for chunk in _tfrecord_chunks(examples.encode(part), self._config.num_shards):
                    yield TaggedOutput(split, chunk)


class _LabelEvents(_Label):
    def _labelled(self, streams_by_log):
        impressions = batches.from_bytes(streams_by_log[IMPRESSIONS], _impression_schema(self._config))
        engagements = batches.from_bytes(streams_by_log[ENGAGEMENTS], ENGAGEMENT_SCHEMA)
        return _attributed(impressions, engagements, self._config)


class _LabelKuaiRand(_Label):
    def _labelled(self, streams):
        rows, num_duplicate = kuairand.first_rows(batches.from_bytes(streams))
        _count("impressions_duplicate", num_duplicate)
        engagements = kuairand.engagements(rows)
        _count("engagements_read", engagements.num_rows)
        return _attributed(kuairand.impressions(rows, self._config), engagements, self._config)


def _attributed(impressions, engagements, config):
    result = attribute(impressions, engagements, config)
    _count("impressions_duplicate", result.num_impressions_duplicate)
    _count("engagements_duplicate", result.num_engagements_duplicate)
    _count("engagements_attributed", result.num_engagements_attributed)
    _count("engagements_unattributed", result.num_engagements_unattributed)
    return result.rows


def _tfrecord_chunks(records, num_shards):
    """Records framed as TFRecords, joined to chunks few enough to write fast and enough to fill all shards alike.

    `beam.io.WriteToTFRecord` takes one element a record, which costs more time than all the rest of ingestion.
    """
    chunk_rows = min(_CHUNK_ROWS, -(-len(records) // num_shards))
    for start in range(0, len(records), chunk_rows or 1):
        chunk = io.BytesIO()
        for record in records[start : start + chunk_rows]:
            tfrecordio._TFRecordUtil.write_record(chunk, record)
        yield chunk.getvalue()


def _write_table(uri, key, schema, table_streams, seen_streams):
    table = batches.distinct_keys(batches.from_bytes(table_streams, schema), key)
    seen = batches.from_bytes(seen_streams, pa.schema([pa.field(key, pa.string())]))
    with FileSystems.create(uri) as file:
        pq.write_table(batches.add_keys(table, key, seen[key]), file)
