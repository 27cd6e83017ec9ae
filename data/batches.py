"""Tables in partitions by key, joined to tables of users and items."""

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc


def hash_of(values, key="0123456789123456"):
    """A stable hash of each string, the same in every process and version.

    Args:
        values: Arrow string array without nulls.
        key: 16 ASCII characters; other keys give independent hashes.

    Returns:
        (rows,) uint64 NumPy array.
    """
    encoded = _array(values).dictionary_encode()
    words = encoded.dictionary.to_numpy(zero_copy_only=False)
    hashes = pd.util.hash_array(words, hash_key=key, categorize=False)
    return hashes[encoded.indices.to_numpy()]


def partition(table, column, num_partitions):
    """Disjoint parts of a table; rows that agree in a column are in one part.

    Args:
        table: `pyarrow.Table`.
        column: name of a string column without nulls.
        num_partitions: at least 1.

    Returns:
        List of pairs (number of the part, non-empty table), by number.
    """
    if not table.num_rows:
        return []
    parts = (hash_of(table[column]) % np.uint64(num_partitions)).astype(np.int64)
    return split_rows(table, parts, num_partitions)


def split_rows(table, numbers, num_parts):
    """Parts of a table by a number that each row already has.

    Args:
        table: `pyarrow.Table`.
        numbers: (rows,) int64 array within 0 and `num_parts` - 1.
        num_parts: at least 1.

    Returns:
        List of pairs (number, non-empty table), by number; rows keep their order.
    """
    # A stable sort of 16-bit numbers is a radix sort.
    order = np.argsort(numbers.astype(np.uint16) if num_parts <= 1 << 16 else numbers, kind="stable")
    lengths = np.bincount(numbers, minlength=num_parts)
    starts = np.cumsum(lengths) - lengths
    ordered = table.take(pa.array(order))
    return [
        (number, ordered.slice(int(starts[number]), int(lengths[number]))) for number in range(num_parts) if lengths[number]
    ]


def join_columns(rows, table, key):
    """Rows with the further columns of a table; null where it lacks the key.

    Args:
        rows: `pyarrow.Table` with the column `key`.
        table: `pyarrow.Table` whose first column is `key`, distinct.
        key: name of the string column.

    Returns:
        `pyarrow.Table`.
    """
    index = pc.index_in(rows[key], value_set=_array(table[key]))
    for name in table.column_names[1:]:
        rows = rows.append_column(name, table[name].take(index))
    return rows


def distinct_keys(table, key):
    """Rows with distinct keys; of rows with one key the least by content stays.

    Args:
        table: `pyarrow.Table` of scalar columns.
        key: name of a string column without nulls.

    Returns:
        `pyarrow.Table` sorted by key.
    """
    rest = [name for name in table.column_names if name != key]
    table = table.sort_by([(name, "ascending") for name in [key, *rest]])
    return table.filter(pa.array(~table[key].to_pandas().duplicated().to_numpy()))


def add_keys(table, key, values):
    """A table with a row, null but for its key, for each value that it lacks.

    Args:
        table: `pyarrow.Table` with distinct keys.
        key: name of the string column.
        values: Arrow string array.

    Returns:
        `pyarrow.Table` sorted by key.
    """
    values = pc.unique(values)
    missing = values.filter(pc.invert(pc.is_in(values, value_set=_array(table[key]))))
    columns = [missing if name == key else pa.nulls(len(missing), table.schema.field(name).type) for name in table.column_names]
    return pa.concat_tables([table, pa.table(columns, names=table.column_names)]).sort_by(key)


def _array(column):
    if isinstance(column, pa.Array):
        return column
    return pa.concat_arrays(column.chunks) if column.num_chunks else pa.array([], column.type)
