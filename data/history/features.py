"""Features of the past for each impression: the user side in one go, the item side key by key, and both put together."""

import functools

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from data.columns import ITEM_AGE_HOURS, USER_IDLE_HOURS, VECTOR, aggregate_column, empty_aggregate, history_fields
from data.history.ages import first_impressed_at_ms, hours_between, last_impressed_at_ms, milliseconds, published_at_ms
from data.history.aggregates import aggregate_features
from data.history.facts import counts_item_age, keyed_aggregates, keyed_columns
from data.history.sequences import sequence_features
from data.history.signals import Signal
from data.history.timeline import cutoffs, key_codes
from data.labels import microseconds_of


def user_features(rows, facts, config):
    """Features of the user side: aggregates of users and of users with a category, sequences, hours since the last visit.

    Args:
        rows: `pyarrow.Table`, all impressions of some users, with the columns that the history names.
        facts: `pyarrow.Table` of these rows from `data.history.facts.facts_of`, in any order.
        config: `data.config.DataConfig` with a history.

    Returns:
        `pyarrow.Table` of (rows,) in the order of `rows`, with those columns of `data.columns.history_fields`.
    """
    history = config.history
    impressed_at = microseconds_of(rows["impressed_at"])
    cutoffs_at = _cutoffs_by_refresh(impressed_at, config)
    row = np.asarray(facts["row"])
    user_codes = key_codes(rows, ["user_id"])
    columns = {}
    for aggregate in user_aggregates(history):
        codes = user_codes if len(aggregate.key) == 1 else key_codes(rows, aggregate.key)
        columns[aggregate_column(aggregate)] = vectors(
            aggregate_features(facts, codes[row], codes, cutoffs_at(history.refresh_of(aggregate)), aggregate, history)
        )
    for sequence in history.sequences:
        columns[sequence.name] = sequence_features(
            facts, rows[sequence.column], user_codes[row], user_codes, cutoffs_at(history.refresh_of(sequence)), sequence
        )
    if history.has_ages:
        last_ms = last_impressed_at_ms(facts, user_codes[row], user_codes, cutoffs_at(history.refresh_hours))
        columns[USER_IDLE_HOURS] = hours_between(last_ms, milliseconds(impressed_at))
    return pa.table(columns)


def keyed_features(facts, column, config):
    """Features of one key column of the item side, for the impressions among facts that its values bring together.

    Args:
        facts: `pyarrow.Table` from `data.history.facts.keyed_facts`, with a further int32 column `partition`: all facts of
            some keys, of any number of user partitions, in any order.
        column: one of `data.history.facts.keyed_columns`.
        config: `data.config.DataConfig` with a history.

    Returns:
        `pyarrow.Table`: partition and row of each impression; the columns of the key's aggregates; `item_age_hours` for
        `item_id` where it counts from the first impression.

    Raises:
        ValueError: If the column is not one of `keyed_columns`.
    """
    history = config.history
    aggregates = keyed_aggregates(column, history)
    codes = key_codes(facts, ["key"])
    queries = np.flatnonzero(np.asarray(facts["signal"]) == Signal.IMPRESSION)
    impressed_at = np.asarray(facts["at"])[queries]
    cutoffs_at = _cutoffs_by_refresh(impressed_at, config)
    features = facts.select(["partition", "row"]).take(pa.array(queries))
    for aggregate in aggregates:
        query_cutoffs = cutoffs_at(history.refresh_of(aggregate))
        values = vectors(aggregate_features(facts, codes, codes[queries], query_cutoffs, aggregate, history))
        features = features.append_column(pa.field(aggregate_column(aggregate), VECTOR, nullable=False), values)
    if column == "item_id" and counts_item_age(history):
        first_ms = first_impressed_at_ms(facts, codes, codes[queries], cutoffs_at(history.refresh_hours))
        features = features.append_column(ITEM_AGE_HOURS, hours_between(first_ms, milliseconds(impressed_at)))
    return features


def attach_features(rows, user_table, keyed_tables_by_column, config):
    """Rows with all columns of the past.

    Rows without a key have the empty aggregate; an item's age counts from its publication where that is configured.

    Args:
        rows: `pyarrow.Table` of the impressions of one partition.
        user_table: `pyarrow.Table` of these rows from `user_features`.
        keyed_tables_by_column: by key column of `keyed_columns`, list of the tables of `keyed_features` that tell of this
            partition, in any order and number; a column without any table may be absent.
        config: `data.config.DataConfig`.

    Returns:
        `pyarrow.Table`: the rows, followed by the columns of `data.columns.history_fields`.

    Raises:
        ValueError: If a row that has a key is without features, or has them twice.
    """
    columns = dict(zip(user_table.column_names, user_table.columns, strict=True))
    history = config.history
    for column in keyed_columns(history):
        tables = keyed_tables_by_column.get(column, [])
        _check_coverage(rows, column, tables)
        for aggregate in keyed_aggregates(column, history):
            columns[aggregate_column(aggregate)] = _placed_vectors(rows.num_rows, tables, aggregate, history)
        if column == "item_id" and counts_item_age(history):
            columns[ITEM_AGE_HOURS] = _placed(rows.num_rows, tables, ITEM_AGE_HOURS)
    if history.has_ages and history.published_column is not None:
        published_ms = published_at_ms(rows[history.published_column], config.timezone)
        columns[ITEM_AGE_HOURS] = hours_between(published_ms, milliseconds(microseconds_of(rows["impressed_at"])))
    for field in history_fields(history):
        rows = rows.append_column(field, columns[field.name])
    return rows


def user_aggregates(history):
    """Aggregates of users, alone or with a category.

    Args:
        history: `data.history_config.HistoryConfig`.

    Returns:
        Tuple of `data.history_config.AggregateConfig`.
    """
    return tuple(aggregate for aggregate in history.aggregates if aggregate.key[0] == "user_id")


def pair_aggregates(history):
    """Aggregates of users with a category.

    Args:
        history: `data.history_config.HistoryConfig`, or None.

    Returns:
        By second column of the pair, list of `data.history_config.AggregateConfig`.
    """
    by_column: dict[str, list] = {}
    for aggregate in history.aggregates if history else ():
        if len(aggregate.key) == 2:
            by_column.setdefault(aggregate.key[1], []).append(aggregate)
    return by_column


def _cutoffs_by_refresh(impressed_at, config):
    return functools.cache(functools.partial(cutoffs, impressed_at, config.history, config.timezone))


def vectors(features):
    """Numbers as one list a row.

    Args:
        features: (rows, entries) float32.

    Returns:
        Arrow array of (rows,) lists of float32.
    """
    num_rows, num_entries = features.shape
    offsets = np.arange(num_rows + 1, dtype=np.int32) * np.int32(num_entries)
    return pa.ListArray.from_arrays(pa.array(offsets), pa.array(features.reshape(-1)))


def _check_coverage(rows, column, tables):
    times_told = np.zeros(rows.num_rows, np.int64)
    for table in tables:
        times_told += np.bincount(np.asarray(table["row"]), minlength=rows.num_rows)
    is_wrong = times_told != np.asarray(pc.is_valid(rows[column])).astype(np.int64)
    if is_wrong.any():
        row = int(np.argmax(is_wrong))
        raise ValueError(f"each row with a {column} must have its features once. Received: row {row}, {times_told[row]} times")


def _placed_vectors(num_rows, tables, aggregate, history):
    empty = np.asarray(empty_aggregate(aggregate, history), np.float32)
    features = np.tile(empty, (num_rows, 1))
    for table in tables:
        for batch in table.select(["row", aggregate_column(aggregate)]).to_batches():
            features[np.asarray(batch.column(0))] = np.asarray(batch.column(1).flatten()).reshape(-1, len(empty))
    return vectors(features)


def _placed(num_rows, tables, name):
    values, is_known = np.zeros(num_rows, np.float32), np.zeros(num_rows, bool)
    for table in tables:
        row = np.asarray(table["row"])
        values[row] = np.asarray(pc.fill_null(table[name], 0.0))
        is_known[row] = np.asarray(pc.is_valid(table[name])).astype(bool)
    return pa.array(values, mask=~is_known)
