"""Tables on their way between machines: as bytes, in partitions by key, joined to tables of users and items."""

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc


def to_bytes(table):
    """A table as an Arrow stream.

    Args:
        table: `pyarrow.Table`.

    Returns:
        bytes.
    """
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue().to_pybytes()


def from_bytes(streams, schema=None):
    """The table that Arrow streams hold together.

    Args:
        streams: iterable of bytes from `to_bytes`, of one schema.
        schema: schema of the table if there is no stream; None if there always is one.

    Returns:
        `pyarrow.Table`, each column in one chunk.

    Raises:
        ValueError: If there is neither a stream nor a schema.
    """
    tables = [pa.ipc.open_stream(stream).read_all() for stream in streams]
    if tables:
        return pa.concat_tables(tables).combine_chunks()
    if schema is None:
        raise ValueError("streams must hold at least one table, or schema be given")
    return pa.table([pa.array([], field.type) for field in schema], schema=schema)


def hash_of(values):
    """A stable hash of each string, the same in every process.

    Args:
        values: Arrow string array without nulls.

    Returns:
        (rows,) uint64 NumPy array.
    """
    return pd.util.hash_array(values.to_pandas().to_numpy(object), categorize=False)


def partition(table, column, num_partitions):
    """Disjoint parts of a table; rows that agree in a column are in one part.

    Args:
        table: `pyarrow.Table`.
        column: name of a string column without nulls.
        num_partitions: at least 1.

    Yields:
        Pairs (number of the part, non-empty table).
    """
    if not table.num_rows:
        return
    parts = hash_of(table[column]) % np.uint64(num_partitions)
    order = np.argsort(parts, kind="stable")
    numbers, starts = np.unique(parts[order], return_index=True)
    for number, rows in zip(numbers, np.split(order, starts[1:]), strict=True):
        yield int(number), table.take(pa.array(rows))


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
        table: `pyarrow.Table`.
        key: name of a string column without nulls.

    Returns:
        `pyarrow.Table` sorted by key.
    """
    table = table.sort_by([(name, "ascending") for name in [key, *(name for name in table.column_names if name != key)]])
    return table.filter(pa.array(~np.asarray(table[key].to_pandas().duplicated())))


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
    return pa.concat_arrays(column.chunks) if column.num_chunks else pa.array([], column.type)
