"""The tables that a service looks up: users, items, and pairs of a user and a column of items or context; their history.

Their history stands as of the end of the logs: the numbers that an impression then would have got.
"""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from data.batches import add_keys, join_columns
from data.buckets import append_buckets, item_bucketings
from data.columns import SEQUENCE, VECTOR, aggregate_column, context_types, empty_aggregate, item_types
from data.history.ages import published_at_ms
from data.history.features import pair_aggregates
from data.schema import ARROW_TYPE_BY_COLUMN_TYPE, FIRST_IMPRESSED_AT_MS, LAST_IMPRESSED_AT_MS, PUBLISHED_AT_MS


def declared_schema(key, columns):
    """Schema of a user or item table as the logs bring it.

    Args:
        key: "user_id" or "item_id".
        columns: `ColumnType` by name.

    Returns:
        `pyarrow.Schema`.
    """
    fields = [pa.field(name, ARROW_TYPE_BY_COLUMN_TYPE[type_]) for name, type_ in columns.items()]
    return pa.schema([pa.field(key, pa.string()), *fields])


def user_table_schema(config):
    """Schema of the published user table.

    Args:
        config: `DataConfig`.

    Returns:
        `pyarrow.Schema`.
    """
    fields = list(declared_schema("user_id", config.user_columns))
    if config.history is not None:
        fields += [pa.field(aggregate_column(a), VECTOR) for a in config.history.aggregates if a.key == ("user_id",)]
        fields += [pa.field(sequence.name, SEQUENCE) for sequence in config.history.sequences]
        if config.history.has_ages:
            fields.append(pa.field(LAST_IMPRESSED_AT_MS, pa.int64()))
    return pa.schema(fields)


def pair_table_schema(column, config):
    """Schema of the published table of a user with a column of items or of the context.

    Args:
        column: the second of a pair's key.
        config: `DataConfig`.

    Returns:
        `pyarrow.Schema`.
    """
    type_ = ARROW_TYPE_BY_COLUMN_TYPE[(item_types(config) | context_types(config))[column]]
    vectors = [pa.field(aggregate_column(aggregate), VECTOR) for aggregate in pair_aggregates(config.history)[column]]
    return pa.schema([pa.field("user_id", pa.string()), pa.field(column, type_), *vectors])


def item_table_schema(config):
    """Schema of the published item table.

    Args:
        config: `DataConfig`.

    Returns:
        `pyarrow.Schema`.
    """
    fields = list(declared_schema("item_id", item_types(config)))
    fields += [pa.field(aggregate_column(a), VECTOR) for a in _keyed_aggregates(config.history)]
    if config.history is not None and config.history.has_ages:
        fields.append(
            pa.field(FIRST_IMPRESSED_AT_MS if config.history.published_column is None else PUBLISHED_AT_MS, pa.int64())
        )
    return pa.schema(fields)


def user_table(declared, seen, states, config):
    """Published rows of some users: their columns and their history.

    Args:
        declared: `pyarrow.Table` of the user log with distinct users.
        seen: Arrow string array, users of impressions.
        states: `pyarrow.Table` of their history by `user_id`, or None without history.
        config: `DataConfig`.

    Returns:
        `pyarrow.Table` in `user_table_schema(config)`, sorted by user.
    """
    table = add_keys(declared, "user_id", seen)
    if states is not None:
        table = join_columns(table, states, "user_id")
    return _filled(table, user_table_schema(config), config.history)


def item_table(declared, seen, states, config):
    """Published rows of all items: their columns, their history, and that of their author, category, ...

    Args:
        declared: `pyarrow.Table` of the item log with distinct items.
        seen: Arrow string array, items of impressions.
        states: `pyarrow.Table` of histories by key column; its first column is `key`.
        config: `DataConfig`.

    Returns:
        `pyarrow.Table` in `item_table_schema(config)`, sorted by item.
    """
    table = append_buckets(add_keys(declared, "item_id", seen), item_bucketings(config))
    for column, state in states.items():
        keyed = join_columns(pa.table({"key": table[column]}), state, "key")
        for name in state.column_names[1:]:
            table = table.append_column(name, keyed[name])
    history = config.history
    if history is not None and history.has_ages and history.published_column is not None:
        table = table.append_column(PUBLISHED_AT_MS, published_at_ms(table[history.published_column], config.timezone))
    return _filled(table, item_table_schema(config), history)


def _keyed_aggregates(history):
    return [aggregate for aggregate in history.aggregates if aggregate.key[0] != "user_id"] if history else []


def _filled(table, schema, history):
    """The table in its schema; absent histories are empty ones."""
    aggregate_by_column = {aggregate_column(a): a for a in history.aggregates} if history else {}
    columns = []
    for field in schema:
        column = table[field.name] if field.name in table.column_names else pa.nulls(table.num_rows, field.type)
        if field.name in aggregate_by_column:
            column = _or_else(column, empty_aggregate(aggregate_by_column[field.name], history), field.type)
        elif pa.types.is_list(field.type):
            column = _or_else(column, [], field.type)
        columns.append(column.cast(field.type))
    return pa.table(columns, schema=schema)


def _or_else(column, default, type_):
    lists = pa.concat_arrays(
        [*(column.chunks if isinstance(column, pa.ChunkedArray) else [column]), pa.array([default], type_)]
    )
    index = np.arange(len(lists) - 1)
    index[np.asarray(pc.is_null(lists.slice(0, len(index)))).astype(bool)] = len(index)
    return lists.take(pa.array(index))
