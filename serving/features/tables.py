"""User and item features from the two Parquet tables that the pipeline exports beside the model."""

import pathlib

import pyarrow as pa
import pyarrow.parquet as pq

from data.schema import ARROW_TYPE_BY_COLUMN_TYPE, ITEMS_TABLE, USERS_TABLE
from serving.errors import FeatureTableError

USER_KEY = "user_id"
ITEM_KEY = "item_id"


class FeatureTables:
    """Features of all known users and items, in memory."""

    def __init__(self, users, items):
        """Features from two tables.

        Args:
            users: Arrow table with a `user_id` column, its name first; other columns string, int64 or float32.
            items: the same with `item_id`.

        Raises:
            FeatureTableError: If a key column is not first, not a string, null or repeated, or a type is another one.
        """
        self._users = _IndexedTable(users, USER_KEY, USERS_TABLE)
        self._items = _IndexedTable(items, ITEM_KEY, ITEMS_TABLE)

    @classmethod
    def load(cls, folder):
        """Features from the folder that the pipeline wrote them to.

        Args:
            folder: path that holds `users.parquet` and `items.parquet`.

        Returns:
            `FeatureTables`.

        Raises:
            FeatureTableError: If a file is missing, is no Parquet, or does not hold what it must.
        """
        return cls(*(_read(pathlib.Path(folder) / name) for name in (USERS_TABLE, ITEMS_TABLE)))

    @property
    def user_ids(self):
        """Ids of all users, in the order of their table."""
        return self._users.keys

    @property
    def item_ids(self):
        """Ids of all items, in the order of their table."""
        return self._items.keys

    @property
    def item_columns(self):
        """Names of the columns that a known item has."""
        return self._items.columns

    @property
    def float_columns(self):
        """Names of the columns of either table whose values are floats."""
        return self._users.float_columns | self._items.float_columns

    def has_user(self, user_id):
        """Whether a user has a row.

        Args:
            user_id: id of the user.

        Returns:
            True or False.
        """
        return user_id in self._users

    def has_item(self, item_id):
        """Whether an item has a row.

        Args:
            item_id: id of the item.

        Returns:
            True or False.
        """
        return item_id in self._items

    def user(self, user_id):
        """Columns of a user.

        Args:
            user_id: id of the user.

        Returns:
            str, int, float or None by column name; only `user_id` for an unknown user.
        """
        return self._users.rows([user_id])[0]

    def items(self, item_ids):
        """Columns of items.

        Args:
            item_ids: ids of items.

        Returns:
            List in the order of `item_ids`: str, int, float or None by column name; only `item_id` for an unknown item.
        """
        return self._items.rows(item_ids)


class _IndexedTable:
    """Rows of an Arrow table by the value of its key column."""

    def __init__(self, table, key, name):
        _check(table, key, name)
        self._key = key
        self._table = table.combine_chunks()
        self.columns = frozenset(table.column_names)
        self.float_columns = frozenset(field.name for field in table.schema if field.type == pa.float32())
        self.keys = table.column(key).to_pylist()
        self._row_by_key = {value: row for row, value in enumerate(self.keys)}
        if len(self._row_by_key) < len(self.keys):
            repeated = next(value for row, value in enumerate(self.keys) if self._row_by_key[value] != row)
            raise FeatureTableError(f"{name} must hold each {key} once. Received: {repeated!r} twice or more")

    def __contains__(self, value):
        return value in self._row_by_key

    def rows(self, values):
        known = [value for value in values if value in self._row_by_key]
        taken = self._table.take(pa.array([self._row_by_key[value] for value in known], pa.int64()))
        columns_by_key = dict(zip(known, taken.to_pylist(), strict=True))
        return [dict(columns_by_key.get(value) or {self._key: value}) for value in values]


def _read(path):
    try:
        return pq.read_table(path)
    except FileNotFoundError as error:
        raise FeatureTableError(
            f"{path.parent} must hold {path.name}. Received: no such file. Run the pipeline first: it writes the table"
        ) from error
    except (pa.ArrowInvalid, OSError) as error:
        raise FeatureTableError(f"{path} must be a Parquet file. Received: {str(error).splitlines()[0]}") from error


def _check(table, key, name):
    if table.column_names[:1] != [key] or table.schema.field(0).type != pa.string():
        first = f"{table.schema.field(0).name}: {table.schema.field(0).type}" if table.num_columns else "no column"
        raise FeatureTableError(f"{name} must begin with the column {key}: string. Received: {first}")
    if table.column(key).null_count:
        raise FeatureTableError(f"{name} must give every row a {key}. Received: {table.column(key).null_count} nulls")
    if len(set(table.column_names)) < table.num_columns:
        raise FeatureTableError(f"{name} must name each column once. Received: {table.column_names}")
    for field in table.schema:
        if field.type not in ARROW_TYPE_BY_COLUMN_TYPE.values():
            raise FeatureTableError(f"{name} must hold string, int64 and float32 columns. Received: {field.name}: {field.type}")
