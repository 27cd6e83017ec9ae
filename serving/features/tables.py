"""User, item and pair features from the tables that the pipeline exports beside the model."""

import json
import pathlib

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from data import buckets
from data.schema import BUCKETS_FILE, EMPTY_HISTORY_FILE, ITEMS_TABLE, USERS_TABLE, pair_table_name
from serving.errors import FeatureTableError
from serving.features.checks import ITEM_KEY, USER_KEY, check_keyed_table, is_vector
from serving.features.pairs import PairTable


class FeatureTables:
    """Features of all known users, items and pairs, in memory; who is unknown has the empty history.

    Attributes:
        pairs: tuple of `PairTable`.
        bucketings: tuple of `data.buckets.Bucketing`: columns that follow from others wherever a request gives those.
    """

    def __init__(self, users, items, pairs=(), empty_history=None, bucketings=()):
        """Features from tables.

        Args:
            users: Arrow table with a `user_id` column, its name first; other columns string, int64, float32, or lists of
                strings or of float32, the latter as long as their empty history.
            items: the same with `item_id`.
            pairs: Arrow tables of `user_id`, a column of items or of the context, and lists of float32.
            empty_history: list of numbers by column of such lists; None for no such columns.
            bucketings: `data.buckets.Bucketing`s.

        Raises:
            FeatureTableError: If a key column is not first, not a string, null or repeated, a type or a length is another
                one, a history stands in two tables, or an empty one belongs to none.
        """
        empty_history = empty_history or {}
        self._users = _IndexedTable(users, USER_KEY, USERS_TABLE, empty_history)
        self._items = _IndexedTable(items, ITEM_KEY, ITEMS_TABLE, empty_history)
        self.pairs = tuple(PairTable(each, empty_history) for table in pairs for each in _by_vector(table))
        _check_distinct(self.pairs)
        self.bucketings = tuple(bucketings)
        held = {*self._users.columns, *self._items.columns, *(pair.vector for pair in self.pairs)}
        if unheld := sorted(empty_history.keys() - held):
            raise FeatureTableError(f"{EMPTY_HISTORY_FILE} must name columns of the tables. Received: {unheld[0]}")

    @classmethod
    def load(cls, folder):
        """Features from the folder that the pipeline wrote them to.

        Args:
            folder: path that holds `users.parquet` and `items.parquet`, where there is history the tables of pairs and
                `empty_history.json`, and where there are columns of buckets `buckets.json`. A history of pairs that is not in
                `empty_history.json` is left over from another configuration and not read.

        Returns:
            `FeatureTables`.

        Raises:
            FeatureTableError: If a file is missing, is not of its format, or does not hold what it must.
        """
        folder = pathlib.Path(folder)
        users, items = (_read(folder / name) for name in (USERS_TABLE, ITEMS_TABLE))
        empty_history = _read_empty_history(folder / EMPTY_HISTORY_FILE)
        pairs = [_read_pairs(path, empty_history) for path in sorted(folder.glob(pair_table_name("*")))]
        bucketings = _read_bucketings(folder / BUCKETS_FILE)
        return cls(users, items, [table for table in pairs if table is not None], empty_history, bucketings)

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
    def num_items(self):
        """Rows of the item table."""
        return len(self._items.keys)

    @property
    def float_columns(self):
        """Names of the columns of all tables that hold floats or lists of them."""
        return self._users.float_columns | self._items.float_columns | {pair.vector for pair in self.pairs}

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
            str, int, float, list or None by column name; `user_id` and empty histories for an unknown user.
        """
        return self._users.rows([user_id])[0]

    def items(self, item_ids):
        """Columns of items.

        Args:
            item_ids: ids of items.

        Returns:
            List in the order of `item_ids`: str, int, float, list or None by column name; `item_id` and empty histories
            for an unknown item.
        """
        return self._items.rows(item_ids)

    def item_rows(self, item_ids):
        """Rows of items in their table.

        Args:
            item_ids: ids of items.

        Returns:
            (items,) int64; `num_items` for an unknown one.
        """
        return self._items.row_numbers(item_ids)

    def item_values(self, column):
        """One column of all items.

        Args:
            column: one of `item_columns`.

        Returns:
            List of `num_items` + 1: str, int, float, list or None, in the order of the table, then that of an unknown item.
        """
        return self._items.values(column)


class _IndexedTable:
    """Rows of an Arrow table by the value of its key column."""

    def __init__(self, table, key, name, empty_history):
        check_keyed_table(table, key, name, empty_history)
        self._key = key
        self._table = table.combine_chunks()
        self._empty = {field.name: empty_history[field.name] for field in table.schema if is_vector(field.type)}
        self.columns = frozenset(table.column_names)
        floats = (field.name for field in table.schema if field.type == pa.float32())
        self.float_columns = frozenset(floats) | self._empty.keys()
        self.keys = table.column(key).to_pylist()
        self._row_by_key = {value: row for row, value in enumerate(self.keys)}
        if len(self._row_by_key) < len(self.keys):
            repeated = next(value for row, value in enumerate(self.keys) if self._row_by_key[value] != row)
            raise FeatureTableError(f"{name} must hold each {key} once. Received: {repeated!r} twice or more")

    def __contains__(self, value):
        return value in self._row_by_key

    def rows(self, values):
        known = [value for value in values if value in self._row_by_key]
        if not known:
            return [self._filled({self._key: value}) for value in values]
        taken = self._table.take(pa.array([self._row_by_key[value] for value in known], pa.int64()))
        columns_by_key = dict(zip(known, taken.to_pylist(), strict=True))
        return [self._filled(columns_by_key.get(value) or {self._key: value}) for value in values]

    def row_numbers(self, values):
        return np.array([self._row_by_key.get(value, len(self.keys)) for value in values], np.int64)

    def values(self, column):
        empty = self._empty.get(column)
        return [empty if value is None else value for value in [*self._table.column(column).to_pylist(), None]]

    def _filled(self, row):
        without = {name: list(empty) for name, empty in self._empty.items() if row.get(name) is None}
        return {**row, **without}


def _read(path):
    try:
        return pq.read_table(path)
    except FileNotFoundError as error:
        raise FeatureTableError(
            f"{path.parent} must hold {path.name}. Received: no such file. Run the pipeline first: it writes the table"
        ) from error
    except (pa.ArrowInvalid, OSError) as error:
        raise FeatureTableError(f"{path} must be a Parquet file. Received: {str(error).splitlines()[0]}") from error


def _read_pairs(path, empty_history):
    """A table of pairs with the histories that are in use; None without any."""
    table = _read(path)
    used = [name for name in table.column_names[2:] if name in empty_history]
    return table.select([*table.column_names[:2], *used]) if used else None


def _by_vector(table):
    """A table of pairs as one for each of its histories."""
    names = table.column_names
    return [table.select([*names[:2], vector]) for vector in names[2:]] or [table]


def _check_distinct(pairs):
    column_by_vector = {}
    for pair in pairs:
        other = column_by_vector.setdefault(pair.vector, pair.column)
        if other != pair.column:
            raise FeatureTableError(
                f"{pair.vector} must stand in one table of pairs; one of them is left over from another configuration. "
                f"Received: {pair_table_name(other)} and {pair_table_name(pair.column)}"
            )


def _read_bucketings(path):
    """Columns of buckets; none without the file."""
    try:
        return buckets.from_json(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return ()
    except ValueError as error:
        raise FeatureTableError(f"{path} must be JSON of columns of buckets. Received: {error}") from error


def _read_empty_history(path):
    """List of numbers by column; none without the file: a job without history has no vectors, which the tables then show."""
    try:
        histories = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise FeatureTableError(f"{path} must be JSON. Received: {error}") from error
    is_numbers_by_column = isinstance(histories, dict) and all(
        isinstance(numbers, list) and all(type(number) in (int, float) for number in numbers) for numbers in histories.values()
    )
    if not is_numbers_by_column:
        raise FeatureTableError(f"{path} must hold a list of numbers by column. Received: {str(histories)[:80]}")
    return {name: [float(number) for number in numbers] for name, numbers in histories.items()}
