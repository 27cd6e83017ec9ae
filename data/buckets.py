"""Columns of buckets: which of some ascending stretches a number lies in, in ingestion and in a request alike."""

import json
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from data.schema import ARROW_TYPE_BY_COLUMN_TYPE, ColumnType


class Bucketing(NamedTuple):
    """How one column follows from another.

    Attributes:
        name: of the column of buckets.
        column: the numeric column.
        type: its `ColumnType`.
        edges: ascending floats.
    """

    name: str
    column: str
    type: ColumnType
    edges: tuple[float, ...]

    def buckets_of(self, values):
        """Names of the buckets of numbers.

        Args:
            values: (rows,) Arrow array or list, of the column's type; None, null and NaN have no bucket.

        Returns:
            (rows,) Arrow string array, "0" below the first edge, "1" from it on, ...

        Raises:
            pyarrow.ArrowException: If a value of a list is not of the column's type.
            OverflowError: If an integer of a list has more than 64 bits.
        """
        numbers = pa.array(values, ARROW_TYPE_BY_COLUMN_TYPE[self.type]) if isinstance(values, list) else values
        is_missing = np.asarray(pc.is_null(numbers, nan_is_null=True)).astype(bool)
        # 10.3 in 32 bits lies above 10.3 in 64: an edge has to be compared as the values are kept.
        edges = np.asarray(self.edges, np.float32 if self.type == ColumnType.FLOAT else np.float64)
        places = np.searchsorted(edges, np.asarray(pc.fill_null(numbers, 0)).astype(edges.dtype), side="right")
        names = pa.array([str(place) for place in range(len(edges) + 1)])
        return names.take(pa.array(places, pa.int64(), mask=is_missing))


def bucketings(config):
    """All columns of buckets.

    Args:
        config: `data.config.DataConfig`.

    Returns:
        Tuple of `Bucketing`, in the order of `bucket_columns`.
    """
    types = config.context_columns | config.item_columns
    return tuple(
        Bucketing(name, bucket.column, types[bucket.column], bucket.edges) for name, bucket in config.bucket_columns.items()
    )


def item_bucketings(config):
    """Columns of buckets of an item's own columns.

    Args:
        config: `data.config.DataConfig`.

    Returns:
        Tuple of `Bucketing`.
    """
    return tuple(bucketing for bucketing in bucketings(config) if bucketing.column in config.item_columns)


def append_buckets(table, columns):
    """A table with columns of buckets.

    Args:
        table: `pyarrow.Table`.
        columns: `Bucketing`s of its columns.

    Returns:
        `pyarrow.Table`.
    """
    for bucketing in columns:
        table = table.append_column(bucketing.name, bucketing.buckets_of(table[bucketing.column]))
    return table


def to_json(columns):
    """Columns of buckets as text, for a service that has no configuration of ingestion.

    Args:
        columns: `Bucketing`s.

    Returns:
        str: JSON, column, type and edges by name.
    """
    return json.dumps({one.name: {"column": one.column, "type": one.type.value, "edges": one.edges} for one in columns})


def from_json(text):
    """The columns of buckets that `to_json` wrote.

    Args:
        text: JSON.

    Returns:
        Tuple of `Bucketing`.

    Raises:
        ValueError: If the text is not of that form.
    """
    columns = json.loads(text)
    try:
        return tuple(
            Bucketing(name, one["column"], ColumnType(one["type"]), tuple(map(float, one["edges"])))
            for name, one in columns.items()
        )
    except (AttributeError, KeyError, TypeError) as error:
        raise ValueError(f"column, type and edges must be given by name. Received: {text[:80]}") from error
