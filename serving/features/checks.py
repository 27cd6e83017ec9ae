"""What the tables of features must hold; the messages name the file."""

import numpy as np
import pyarrow as pa

from data.columns import SEQUENCE, VECTOR
from data.schema import ARROW_TYPE_BY_COLUMN_TYPE, pair_table_name
from serving.errors import FeatureTableError

USER_KEY = "user_id"
ITEM_KEY = "item_id"


def is_vector(type_):
    """Whether a column holds the numbers of an aggregate.

    Args:
        type_: `pyarrow.DataType`; how a file names the entries of its lists does not matter.

    Returns:
        True or False.
    """
    return pa.types.is_list(type_) and type_.value_type == VECTOR.value_type


def check_keyed_table(table, key, name, empty_history):
    """Checks a table of users or items.

    Args:
        table: Arrow table.
        key: its key column.
        name: its file name.
        empty_history: list of numbers by column.

    Raises:
        FeatureTableError: If the key column is not first, not a string, or null somewhere, a name is repeated, or a type
            or the length of a vector is another one.
    """
    if table.column_names[:1] != [key] or table.schema.field(0).type != pa.string():
        first = f"{table.schema.field(0).name}: {table.schema.field(0).type}" if table.num_columns else "no column"
        raise FeatureTableError(f"{name} must begin with the column {key}: string. Received: {first}")
    if table.column(key).null_count:
        raise FeatureTableError(f"{name} must give every row a {key}. Received: {table.column(key).null_count} nulls")
    if len(set(table.column_names)) < table.num_columns:
        raise FeatureTableError(f"{name} must name each column once. Received: {table.column_names}")
    for field in table.schema:
        if not (field.type in ARROW_TYPE_BY_COLUMN_TYPE.values() or is_vector(field.type) or _is_sequence(field.type)):
            raise FeatureTableError(
                f"{name} must hold string, int64 and float32 columns, and lists of strings or float32. "
                f"Received: {field.name}: {field.type}"
            )
        if is_vector(field.type):
            _check_vector(table, field.name, name, empty_history)


def check_pair_table(table, empty_history):
    """Checks a table of users with the values of a column of items or of the context.

    Args:
        table: Arrow table of `user_id`, that column and a vector.
        empty_history: list of numbers by column.

    Raises:
        FeatureTableError: If columns, types or the length of the vector are other ones, a value is absent, or a pair is
            repeated.
    """
    types = [field.type for field in table.schema]
    is_pair = (
        len(types) == 3
        and (table.column_names[0], types[0]) == (USER_KEY, pa.string())
        and types[1] in ARROW_TYPE_BY_COLUMN_TYPE.values()
        and is_vector(types[2])
    )
    if not is_pair:
        received = ", ".join(f"{field.name}: {field.type}" for field in table.schema) or "no column"
        raise FeatureTableError(
            f"a table of pairs must hold {USER_KEY}, an item column and a list of float32. Received: {received}"
        )
    _, column, vector = table.column_names
    name = pair_table_name(column)
    for required in table.column_names:
        if table.column(required).null_count:
            raise FeatureTableError(
                f"{name} must give every row a {required}. Received: {table.column(required).null_count} nulls"
            )
    _check_vector(table, vector, name, empty_history)
    users, values = (table.column(key).combine_chunks().dictionary_encode() for key in (USER_KEY, column))
    pairs = np.asarray(users.indices).astype(np.int64) * len(values.dictionary) + np.asarray(values.indices)
    num_repeated = len(pairs) - len(np.unique(pairs))
    if num_repeated:
        raise FeatureTableError(f"{name} must hold each pair once. Received: {num_repeated} repeated")


def _is_sequence(type_):
    return pa.types.is_list(type_) and type_.value_type == SEQUENCE.value_type


def _check_vector(table, column, name, empty_history):
    if column not in empty_history:
        raise FeatureTableError(f"{name} must have an empty history for every list of float32. Received: none for {column}")
    size = len(empty_history[column])
    vectors = table.column(column).combine_chunks()
    lengths = np.asarray(vectors.value_lengths().drop_null())
    if (lengths != size).any():
        raise FeatureTableError(
            f"{name} must hold {size} numbers a row in {column}, as its empty history does. "
            f"Received: {lengths[lengths != size][0]}"
        )
    if vectors.flatten().null_count:
        raise FeatureTableError(f"{name} must hold numbers in {column}. Received: a null within a row")
