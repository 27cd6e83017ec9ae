"""Rows of a table by their key, in memory; of items, their popularity and the sets that they form."""

import itertools

import numpy as np
import pyarrow as pa

from serving.errors import FeatureTableError
from serving.features.checks import check_keyed_table, is_vector


class KeyedTable:
    """Rows of an Arrow table by the value of its key column; who is in no row has the empty history.

    Attributes:
        columns: names of all columns.
        float_columns: names of those that hold floats or lists of them.
        keys: values of the key column, in the order of the table.
    """

    def __init__(self, table, key, name, empty_history):
        """Rows of a table.

        Args:
            table: Arrow table with the key column first.
            key: its name.
            name: file name of the table, for messages.
            empty_history: list of numbers by column.

        Raises:
            FeatureTableError: If the table breaks its contract, or repeats a key.
        """
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
        """Columns of some keys.

        Args:
            values: keys, known or not.

        Returns:
            List in the order of `values`: str, int, float, list or None by column name; the key and empty histories alone
            for an unknown one.
        """
        known = [value for value in values if value in self._row_by_key]
        if not known:
            return [self._filled({self._key: value}) for value in values]
        taken = self._table.take(pa.array([self._row_by_key[value] for value in known], pa.int64()))
        columns_by_key = dict(zip(known, taken.to_pylist(), strict=True))
        return [self._filled(columns_by_key.get(value) or {self._key: value}) for value in values]

    def row_numbers(self, values):
        """Rows of some keys in the table.

        Args:
            values: keys, known or not.

        Returns:
            (values,) int64; the number of rows for an unknown one.
        """
        return np.fromiter(map(self._row_by_key.get, values, itertools.repeat(len(self.keys))), np.int64)

    def values(self, column):
        """One column of all rows.

        Args:
            column: one of `columns`.

        Returns:
            List of one more than there are rows: str, int, float, list or None, in the order of the table, then that of an
            unknown key.
        """
        empty = self._empty.get(column)
        return [empty if value is None else value for value in [*self._table.column(column).to_pylist(), None]]

    def _filled(self, row):
        without = {name: list(empty) for name, empty in self._empty.items() if row.get(name) is None}
        return {**row, **without}


class ItemSide:
    """What one publication says of items, in memory; a base of all features of a publication.

    Attributes:
        candidate_sets: tuple of item ids by name.
        popularity: (items,) float64 in the order of the table, higher is more popular; NaN where unknown.
    """

    def __init__(self, items, candidate_sets, popularity):
        """Items of a publication.

        Args:
            items: `KeyedTable`.
            candidate_sets: item ids by name.
            popularity: (items,) float64.
        """
        self._items = items
        self.candidate_sets = {name: tuple(item_ids) for name, item_ids in candidate_sets.items()}
        self.popularity = popularity

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

    def has_item(self, item_id):
        """Whether an item has a row.

        Args:
            item_id: id of the item.

        Returns:
            True or False.
        """
        return item_id in self._items

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

    def popularity_of(self, item_ids):
        """Popularity of items.

        Args:
            item_ids: ids of items.

        Returns:
            (items,) float64; negative infinity for an unknown item and for one whose popularity is unknown.
        """
        popularity = np.append(self.popularity, np.nan)[self.item_rows(item_ids)]
        return np.where(np.isnan(popularity), -np.inf, popularity)


def popularity_of_table(items, config):
    """Popularity of all items of a table.

    Args:
        items: Arrow table of items.
        config: `PopularityConfig`, or None: the earlier in the table, the more popular.

    Returns:
        (items,) float64; NaN where the column is null.

    Raises:
        FeatureTableError: If there is no such column, or no such number in it.
    """
    if config is None:
        return -np.arange(items.num_rows, dtype=np.float64)
    key = "serving.features.popularity"
    if config.column not in items.column_names:
        raise FeatureTableError(f"{key}.column must be one of {items.column_names}. Received: {config.column}")
    column = items.column(config.column).combine_chunks()
    if is_vector(column.type):
        rows = [None if row is None else row[config.entry : config.entry + 1] for row in column.to_pylist()]
        if any(row == [] for row in rows):
            raise FeatureTableError(f"{key}.entry must be a number of {config.column}. Received: {config.entry}")
        return np.array([np.nan if row is None else row[0] for row in rows], np.float64)
    if not (pa.types.is_integer(column.type) or pa.types.is_floating(column.type)):
        raise FeatureTableError(f"{key}.column must be numeric. Received: {config.column}: {column.type}")
    return np.array([np.nan if value is None else value for value in column.to_pylist()], np.float64)


def candidate_set(items, popularity, name, config):
    """Item ids of one set, the most popular first, those of equal popularity by id.

    Args:
        items: Arrow table of items.
        popularity: (items,) float64.
        name: of the set, for messages.
        config: `CandidateSetConfig`.

    Returns:
        List of at most `limit` ids.

    Raises:
        FeatureTableError: If there is no such column, or no such item.
    """
    key = f"serving.features.candidate_sets.{name}"
    is_in = np.ones(items.num_rows, bool)
    for column, wanted in config.where.items():
        if column not in items.column_names:
            raise FeatureTableError(f"{key}.where must name columns of {items.column_names}. Received: {column}")
        is_in &= np.array([value == wanted for value in items.column(column).to_pylist()], bool)
    item_ids = items.column(0).to_pylist()
    chosen = sorted(
        np.flatnonzero(is_in).tolist(),
        key=lambda row: (np.isnan(popularity[row]), -np.nan_to_num(popularity[row]), item_ids[row]),
    )
    if not chosen:
        raise FeatureTableError(f"{key}.where must fit an item of the table. Received: {config.where}, which fits none")
    return [item_ids[row] for row in chosen[: config.limit]]
