"""What workers do between the shuffles of an ingestion: one DoFn a stage, each from parts of tables to parts of tables.

Elements are (number of a partition, (what it is, `data.spill.Part`)); the rows lie in files. All that computes is a pure
function elsewhere.
"""

import collections
import functools
from collections.abc import Iterator
from typing import Any

import apache_beam as beam
import pyarrow as pa
import pyarrow.compute as pc
from apache_beam.pvalue import TaggedOutput

from data import batches, ingest, outputs, tables
from data.attribution import attribute, fill_users
from data.buckets import append_buckets, bucketings
from data.columns import history_fields
from data.counts import NAMESPACE, REASON_NAMESPACE
from data.delays import delay_counts
from data.extent import extent_of
from data.history.facts import facts_of, keyed_columns, keyed_facts
from data.history.features import attach_features, keyed_features, user_features
from data.history.state import keyed_state, pair_states, user_state
from data.report import label_counts
from data.schema import ARROW_TYPE_BY_COLUMN_TYPE, ENGAGEMENT_SCHEMA, IMPRESSION_SCHEMA
from data.selection import select_rows
from data.sources import kuairand
from data.sources.events import ENGAGEMENTS, IMPRESSIONS, ITEMS, USERS
from data.spill import Part, SpillWriter, read_parts, write_batches
from data.split import fill_days

# Outputs beside the logs themselves.
DEAD_LETTERS, EXTENT = "dead_letters", "extent"
IDS, ORPHANS = "impression_ids", "engagements_without_user"
ROWS, FACTS, FEATURES = "rows", "facts", "features"
SEEN_ITEMS, USER_PIECES, PAIR_PIECES, STATES = "seen_items", "user_pieces", "pair_pieces", "states"
DELAYS, LABEL_COUNTS = "delays", "label_counts"
BESIDE_LOGS = (IDS, ORPHANS, DEAD_LETTERS, EXTENT)
BESIDE_ROWS = (FACTS, SEEN_ITEMS, USER_PIECES, PAIR_PIECES, DELAYS, LABEL_COUNTS)

_ID_COLUMNS = ["impression_id", "user_id", "item_id", "impressed_at"]


class _Stage(beam.DoFn):
    """A DoFn that writes parts.

    Args:
        config: `DataConfig`.
        num_parts: of every shuffle.
        folder: where parts are written.
    """

    def __init__(self, config, num_parts, folder):
        self._config = config
        self._num_parts = num_parts
        self._folder = folder

    def _part(self, table):
        return Part(write_batches(self._folder, [table]), 0)

    def _numbered_parts(self, numbered):
        if not numbered:
            return []
        numbers, parted = zip(*numbered, strict=True)
        path = write_batches(self._folder, parted)
        return [(number, Part(path, index)) for index, number in enumerate(numbers)]


class ReadUnit(_Stage):
    """`data.ingest.WorkUnit` to parts by user (or by impression, where a row does not name its user), and dead letters."""

    def process(self, unit) -> Iterator[Any]:
        """Reads one unit.

        Args:
            unit: `data.ingest.WorkUnit`.

        Yields:
            Tagged (number, `Part`); of dead letters (place, `Part`); the `LogExtent`.
        """
        writers = self._writers(unit.log)
        for block in ingest.source_of(self._config).read_log(unit, self._config):
            count(f"{unit.log}_read", block.num_read)
            count(f"{unit.log}_dead_lettered", block.dead_letters.num_rows)
            for reason, number in block.reason_counts.items():
                count(f"{unit.log}.{reason}", number, REASON_NAMESPACE)
            if block.dead_letters.num_rows:
                place = (unit.log, unit.path, block.dead_letters["line"][0].as_py())
                yield TaggedOutput(DEAD_LETTERS, (place, self._part(block.dead_letters)))
            if unit.log in (IMPRESSIONS, ENGAGEMENTS):
                yield TaggedOutput(EXTENT, self._extent(block.rows))
            for tag, rows in self._routed(unit.log, block.rows):
                yield from _tagged(tag, writers[tag].add(rows))
        for tag, writer in writers.items():
            yield from _tagged(tag, writer.flush())

    def _writers(self, log):
        keys_by_log = {
            IMPRESSIONS: {IMPRESSIONS: "user_id", IDS: "impression_id"},
            ENGAGEMENTS: {ENGAGEMENTS: "user_id", ORPHANS: "impression_id"},
            USERS: {USERS: "user_id"},
            ITEMS: {ITEMS: None},
        }
        return {tag: SpillWriter(self._folder, key, self._num_parts) for tag, key in keys_by_log[log].items()}

    def _routed(self, log, rows):
        yield_ids = log == IMPRESSIONS and self._config.source.kind == "events"
        if log == ENGAGEMENTS and rows["user_id"].null_count:
            has_user = pc.is_valid(rows["user_id"])
            yield ORPHANS, rows.filter(pc.invert(has_user))
            rows = rows.filter(has_user)
        yield log, rows
        if yield_ids:
            yield IDS, rows.select(_ID_COLUMNS)

    def _extent(self, rows):
        if self._config.source.kind == "kuairand":
            rows = kuairand.impressions(rows, self._config)
        return extent_of(rows, self._config.timezone)


class FillUsers(_Stage):
    """Engagements that name an impression but no user, to the partition of that impression's user."""

    def process(self, element) -> Iterator[Any]:
        """Fills one partition by impression.

        Args:
            element: (number, parts of `IDS` and `ORPHANS`).

        Yields:
            Numbered parts of engagements.
        """
        parts = _by_tag(element)
        if not parts[ORPHANS]:
            return
        orphans = read_parts(parts[ORPHANS])
        ids = read_parts(parts[IDS], pa.schema([IMPRESSION_SCHEMA.field(name) for name in _ID_COLUMNS]))
        engagements, counts = fill_users(ids, orphans)
        for name, number in counts.items():
            count(name, number)
        for number, part in self._numbered_parts(batches.partition(engagements, "user_id", self._num_parts)):
            yield number, (ENGAGEMENTS, part)


class LabelPartition(_Stage):
    """A partition by user to labelled rows, and what else follows from whole users: facts, tables, counts."""

    def process(self, element, extent, item_parts) -> Iterator[Any]:
        """Labels one partition.

        Args:
            element: (number, parts of the logs).
            extent: `LogExtent` of the logs.
            item_parts: numbered parts of the item table.

        Yields:
            Tagged parts and counts.
        """
        number, parts = element[0], _by_tag(element)
        config = self._config
        watermark_us = watermark_of(config, extent)
        result = self._attributed(parts, watermark_us)
        rows = result.rows
        rows = rows.set_column(
            rows.column_names.index("day"), "day", fill_days(rows["day"], rows["impressed_at"], config.timezone)
        )
        users = read_parts(parts[USERS], tables.declared_schema("user_id", config.user_columns))
        distinct_users = batches.distinct_keys(users, "user_id")
        count("users_kept", distinct_users.num_rows)
        count("users_duplicate", users.num_rows - distinct_users.num_rows)
        items = _distinct_items(item_parts, config)
        rows = batches.join_columns(batches.join_columns(rows, distinct_users, "user_id"), items, "item_id")
        rows = append_buckets(rows, bucketings(config))
        yield TaggedOutput(LABEL_COUNTS, label_counts(rows))
        if config.attribution.delayed == "weight":
            yield TaggedOutput(DELAYS, delay_counts(rows, result.events, config, watermark_us))
        if rows.num_rows:
            yield TaggedOutput(SEEN_ITEMS, self._part(pa.table([pc.unique(rows["item_id"])], names=["item_id"])))
        states = None
        if config.history is not None:
            facts = facts_of(rows, result.events, config)
            states = user_state(rows, facts, config, _end_us(extent))
            for column, pairs in pair_states(rows, facts, config, _end_us(extent)).items():
                if pairs.num_rows:
                    yield TaggedOutput(PAIR_PIECES, (column, number, self._part(pairs)))
            yield from self._facts_by_key(number, rows, facts)
            features = user_features(rows, facts, config)
            for field, column in zip(features.schema, features.columns, strict=True):
                rows = rows.append_column(field, column)
        users = tables.user_table(distinct_users, pc.unique(rows["user_id"]), states, config)
        if users.num_rows:
            yield TaggedOutput(USER_PIECES, (number, self._part(users)))
        if rows.num_rows:
            yield TaggedOutput(ROWS, (number, (ROWS, self._part(rows))))

    def _attributed(self, parts, watermark_us):
        config = self._config
        if config.source.kind == "kuairand":
            rows, num_duplicate = kuairand.first_rows(read_parts(parts[IMPRESSIONS], kuairand.log_schema()))
            impressions, engagements = kuairand.impressions(rows, config), kuairand.engagements(rows)
            count("impressions_duplicate", num_duplicate)
            count("engagements_read", engagements.num_rows)
        else:
            fields = [pa.field(name, ARROW_TYPE_BY_COLUMN_TYPE[type_]) for name, type_ in config.context_columns.items()]
            impressions = read_parts(parts[IMPRESSIONS], pa.schema([*IMPRESSION_SCHEMA, *fields]))
            engagements = read_parts(parts[ENGAGEMENTS], ENGAGEMENT_SCHEMA)
        result = attribute(impressions, engagements, config, watermark_us)
        for name, number in result.counts.items():
            count(name, number)
        return result

    def _facts_by_key(self, number, rows, facts):
        for column in keyed_columns(self._config.history):
            keyed = keyed_facts(rows, facts, column, self._config)
            keyed = keyed.append_column("partition", pa.array([number] * keyed.num_rows, pa.int32()))
            keys = keyed["key"].cast(pa.string())
            numbers = (batches.hash_of(keys) % self._num_parts).astype("int64")
            numbered = batches.split_rows(keyed, numbers, self._num_parts) if keyed.num_rows else []
            for key_number, part in self._numbered_parts(numbered):
                yield TaggedOutput(FACTS, ((column, key_number), part))


class FollowKeys(_Stage):
    """The facts of some items, authors, ... of all users to the history of each, by partition of the rows."""

    def process(self, element, extent) -> Iterator[Any]:
        """Computes the history of one partition by key.

        Args:
            element: ((column, number), `Part`s of facts).
            extent: `LogExtent` of the logs.

        Yields:
            Tagged parts of features and states.
        """
        (column, _), parts = element
        facts = read_parts(parts)
        features = keyed_features(facts, column, self._config)
        numbered = batches.split_rows(features, features["partition"].to_numpy().astype("int64"), self._num_parts)
        for number, part in self._numbered_parts(numbered):
            yield TaggedOutput(FEATURES, (number, (FEATURES, (column, part))))
        states = keyed_state(facts, column, self._config, _end_us(extent))
        yield TaggedOutput(STATES, (column, self._part(states)))


class WriteRows(_Stage):
    """Labelled rows with their features to a TFRecord shard of each split.

    Args:
        config: `DataConfig`.
        num_parts: of every shuffle; shards of a split.
        folder: of parts.
        split_uris: folder by split.
    """

    def __init__(self, config, num_parts, folder, split_uris):
        super().__init__(config, num_parts, folder)
        self._split_uris = split_uris

    def process(self, element, extent, counts):
        """Writes one partition.

        Args:
            element: (number, parts of `ROWS` and `FEATURES`).
            extent: `LogExtent` of the logs.
            counts: `DelayCounts` where delayed labels are weighted, else None.
        """
        number, parts = element[0], _by_tag(element)
        rows = read_parts(parts[ROWS])
        if self._config.history is not None:
            rows = self._with_history(rows, parts[FEATURES])
        watermark_us = watermark_of(self._config, extent)
        selected, num_by_outcome = select_rows(rows, self._config, extent.last_day, counts, watermark_us)
        for outcome, num_rows in num_by_outcome.items():
            count(f"impressions_{outcome}", num_rows)
        for split in self._config.split.names:
            if selected[split].num_rows:
                outputs.write_shard(self._split_uris[split], number, self._num_parts, selected[split])

    def _with_history(self, rows, column_parts):
        parts_by_column = {}
        for column, part in column_parts:
            parts_by_column.setdefault(column, []).append(part)
        features_by_column = {column: [read_parts(parts)] for column, parts in parts_by_column.items()}
        of_users = [field.name for field in history_fields(self._config.history) if field.name in rows.column_names]
        return attach_features(rows.drop(of_users), rows.select(of_users), features_by_column, self._config)


def _tagged(tag, numbered_parts):
    for number, part in numbered_parts:
        yield TaggedOutput(tag, (number, (tag, part)))


def _by_tag(element):
    parts = collections.defaultdict(list)
    for tag, part in element[1]:
        parts[tag].append(part)
    return parts


def watermark_of(config, extent):
    """Moment until which the logs are complete.

    Args:
        config: `DataConfig`.
        extent: `LogExtent` of the logs.

    Returns:
        Microseconds since 1970; None for a log that gives every impression together with its signals.
    """
    if config.attribution.watermark is not None:
        return round(config.attribution.watermark.timestamp() * 1_000_000)
    return None if config.source.kind == "kuairand" else extent.latest_us


def _end_us(extent):
    """Moment at which the published history stands: behind everything that the logs hold."""
    return extent.latest_us + 1


def count(name, increment, namespace=NAMESPACE):
    """Moves a counter of the running pipeline.

    Args:
        name: field of `data.counts.Counts`, or log and reason.
        increment: not negative.
        namespace: of the counter.
    """
    if increment:
        beam.metrics.Metrics.counter(namespace, name).inc(int(increment))


def _distinct_items(parts, config):
    parts = tuple(sorted((part.path, part.index) for _, (_, part) in parts))
    return _distinct_items_of(parts, tables.declared_schema("item_id", config.item_columns))


# Every partition needs the same table; a worker makes it once.
@functools.lru_cache(maxsize=1)
def _distinct_items_of(parts, schema):
    return batches.distinct_keys(read_parts([Part(*part) for part in parts], schema), "item_id")
