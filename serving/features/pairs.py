"""History of users with the values of another column, as an item's category, from the table that the pipeline exports."""

import itertools
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from serving.features.checks import check_pair_table


class PairHistory(NamedTuple):
    """What happened in the past to one user with each value of a column.

    Attributes:
        row_by_value: row of the numbers by value.
        numbers: (values + 1, entries) float32; the last row is that of a value without history.
    """

    row_by_value: dict
    numbers: np.ndarray

    def of(self, value):
        """Numbers with one value.

        Args:
            value: str, int, float or None.

        Returns:
            (entries,) float32 array.
        """
        return self.numbers[self.row_by_value.get(value, -1)]

    def of_all(self, values):
        """Numbers with several values.

        Args:
            values: iterable of str, int, float or None.

        Returns:
            (values, entries) float32 array.
        """
        rows = map(self.row_by_value.get, values, itertools.repeat(len(self.numbers) - 1))
        return self.numbers.take(np.fromiter(rows, np.int64), axis=0)

    def of_codes(self, codes, code_by_value):
        """Numbers with several values of a column whose values are numbered.

        Args:
            codes: (values,) int.
            code_by_value: number of every value that there is.

        Returns:
            (values, entries) float32 array.
        """
        row_by_code = np.full(len(code_by_value), len(self.numbers) - 1)
        for value, row in self.row_by_value.items():
            if value in code_by_value:
                row_by_code[code_by_value[value]] = row
        return self.numbers.take(row_by_code[codes], axis=0)


class Pair(NamedTuple):
    """One history of users with the values of a column, wherever it lies.

    Attributes:
        column: the other column of the pair.
        vector: name of the column of numbers.
        empty: (entries,) float32 array, the numbers of a pair without history.
    """

    column: str
    vector: str
    empty: np.ndarray


class PairTable:
    """What happened in the past to all pairs of a user and a value of a column of items or of the context, in memory.

    Attributes:
        column: the other column of the pair.
        vector: name of the column of numbers.
        empty: (entries,) float32 array, the numbers of a pair without history.
    """

    def __init__(self, table, empty_history):
        """Pairs of a table.

        Args:
            table: Arrow table of `user_id`, the other column and a list<float32> as long as the column's empty history.
            empty_history: list of numbers by column.
        """
        check_pair_table(table, empty_history)
        _, self.column, self.vector = table.column_names
        self.empty = np.asarray(empty_history[self.vector], np.float32)
        users = table.column(0).combine_chunks().dictionary_encode()
        codes = np.asarray(users.indices)
        if (np.diff(codes) < 0).any():
            order = np.argsort(codes, kind="stable")
            codes, table = codes[order], table.take(pa.array(order))
        self._values = table.column(1).combine_chunks()
        self._numbers_PK = np.asarray(table.column(2).combine_chunks().flatten()).reshape(-1, len(self.empty))
        self._code_by_user = {user: code for code, user in enumerate(users.dictionary.to_pylist())}
        self._starts = np.searchsorted(codes, np.arange(len(self._code_by_user) + 1))

    def history(self, user_id):
        """History of a user with each value that is known.

        Args:
            user_id: id of the user.

        Returns:
            `PairHistory`, without a value for an unknown user.
        """
        code = self._code_by_user.get(user_id)
        start, stop = (0, 0) if code is None else self._starts[code : code + 2]
        row_by_value = {value: row for row, value in enumerate(self._values[start:stop].to_pylist())}
        return PairHistory(row_by_value, np.concatenate([self._numbers_PK[start:stop], self.empty[None]]))
