"""The columns of labelled rows for a configuration: names, types, and what each number of a history column means."""

import functools
import re

import pyarrow as pa

from data.schema import (
    ARROW_TYPE_BY_COLUMN_TYPE,
    IMPRESSED_AT_MS,
    IMPRESSION_SCHEMA,
    LABELS,
    SAMPLING_RATE,
    ColumnType,
    mask_name,
    weight_name,
)

HISTORY_KEYS = ("user_id", "item_id")
ITEM_AGE_HOURS = "item_age_hours"
USER_IDLE_HOURS = "user_idle_hours"

# One float column an aggregate rather than one a number: a tf.Example costs by column to encode, to parse and to analyse.
VECTOR = pa.list_(pa.float32())
SEQUENCE = pa.list_(pa.string())


def aggregate_column(aggregate):
    """Name of the column of an aggregate.

    Args:
        aggregate: `data.history_config.AggregateConfig`.

    Returns:
        The aggregate's own name; without one as `user_history`, or `user_tag_history` for a pair.
    """
    return aggregate.name or "_".join([*(name.removesuffix("_id") for name in aggregate.key), "history"])


def aggregate_entries(aggregate):
    """What each number of an aggregate's column is, in order.

    Args:
        aggregate: `data.history_config.AggregateConfig`.

    Returns:
        Tuple of names as `click_rate_7d`.
    """
    return tuple(f"{measure}_{window}" for window in aggregate.windows for measure in aggregate.measures)


def empty_aggregate(aggregate, history):
    """An aggregate's numbers for a key without history: 0 impressions, and the priors.

    Args:
        aggregate: `data.history_config.AggregateConfig`.
        history: `data.history_config.HistoryConfig`.

    Returns:
        List of floats in the order of `aggregate_entries`.
    """
    one_window = [0.0 if measure == "impressions" else history.prior.get(measure, 0.0) for measure in aggregate.measures]
    return one_window * len(aggregate.windows)


def history_fields(history):
    """Fields of the features of the past.

    Args:
        history: `data.history_config.HistoryConfig`, or None.

    Returns:
        List of `pyarrow.Field`; aggregates are lists of float32 of a fixed length, sequences lists of strings.
    """
    if history is None:
        return []
    fields = [pa.field(aggregate_column(aggregate), VECTOR, nullable=False) for aggregate in history.aggregates]
    fields += [pa.field(sequence.name, SEQUENCE, nullable=False) for sequence in history.sequences]
    if history.has_ages:
        fields += [pa.field(name, pa.float32()) for name in (ITEM_AGE_HOURS, USER_IDLE_HOURS)]
    return fields


def item_types(config):
    """Types of the columns that an item has: declared ones and buckets of them.

    Args:
        config: `data.config.DataConfig`.

    Returns:
        `ColumnType` by name.
    """
    return config.item_columns | _bucket_types(config, config.item_columns)


def context_types(config):
    """Types of the columns that the moment of an impression has: its surface, declared ones and buckets of them.

    Args:
        config: `data.config.DataConfig`.

    Returns:
        `ColumnType` by name.
    """
    return {"surface": ColumnType.STRING} | config.context_columns | _bucket_types(config, config.context_columns)


def _bucket_types(config, columns):
    return {name: ColumnType.STRING for name, bucket in config.bucket_columns.items() if bucket.column in columns}


def candidate_columns(config):
    """Columns whose value differs by candidate in a request; those of the user and of the context are the same for all.

    Args:
        config: `data.config.DataConfig`.

    Returns:
        Tuple of names.
    """
    history = config.history
    of_items = item_types(config)
    names = ["item_id", "position", *of_items]
    if history is not None:
        names += [aggregate_column(one) for one in history.aggregates if one.key[-1] in ("item_id", *of_items)]
        names += [ITEM_AGE_HOURS] * history.has_ages
    return tuple(names)


@functools.lru_cache(maxsize=4_096)
def input_name(column):
    """Name of a column as an input of a served signature, where names are letters, digits and "_", a letter first.

    Args:
        column: name of the column.

    Returns:
        The name itself where it is of that kind.
    """
    if re.fullmatch(r"[A-Za-z][A-Za-z0-9_]*", column) and column != "self":
        return column
    return "column_" + re.sub(r"[^A-Za-z0-9_]", "_", column)


def labelled_schema(config):
    """Arrow schema of labelled rows as they are written to tf.Examples.

    Args:
        config: `data.config.DataConfig`.

    Returns:
        `pyarrow.Schema`; labels, masks, weights and rates are float32.
    """
    fields = [field for field in IMPRESSION_SCHEMA if field.name != "impressed_at"]
    fields.append(pa.field(IMPRESSED_AT_MS, pa.int64(), nullable=False))
    for columns in (config.context_columns, config.user_columns, config.item_columns):
        fields += [pa.field(name, ARROW_TYPE_BY_COLUMN_TYPE[type_]) for name, type_ in columns.items()]
    fields += [pa.field(name, pa.string()) for name in config.bucket_columns]
    fields += history_fields(config.history)
    names = [*LABELS, *map(mask_name, LABELS)]
    if config.attribution.delayed == "weight":
        names += map(weight_name, LABELS)
    if config.negative_sampling is not None:
        names.append(SAMPLING_RATE)
    return pa.schema([*fields, *(pa.field(name, pa.float32(), nullable=False) for name in names)])
