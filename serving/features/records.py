"""Records of users: all that a publication knows of one user as bytes, so that a store finds it with one look-up.

    record    fixed part, then its strings, then its sequences, then its pairs
    fixed     1 byte: is in the user table; by column: 1 byte: is present, then int64, float32, as many float32 as a vector has,
              or the uint32 length in bytes of a string, or the uint32 count of a sequence; by pair: uint32 count
    sequence  uint32 length in bytes of each string, then the strings
    pair      float32 numbers of each value, then the values: int64, float32, or as a sequence

All numbers are little-endian. Records are put together by column, many users at a time. Shapes: U users.
"""

import collections.abc
import struct

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from serving.errors import FeatureStoreError, FeatureTableError
from serving.features.checks import USER_KEY, is_vector
from serving.features.pairs import Pair, PairHistory
from serving.features.store import UserFeatures

_USERS_AT_A_TIME = 1 << 15
_CODE_BY_TYPE = {pa.int64(): "q", pa.float32(): "f"}


class RecordFormat:
    """The form of the records of one publication.

    Attributes:
        pairs: tuple of `Pair`.
    """

    def __init__(self, schema, pair_types, empty_history):
        """A form that follows from the tables.

        Args:
            schema: `pyarrow.Schema` of the user table.
            pair_types: tuple of column, vector and Arrow type of the column.
            empty_history: list of numbers by column.
        """
        self._fields = [field for field in schema if field.name != USER_KEY]
        self._pair_types = [type_ for _, _, type_ in pair_types]
        self.pairs = tuple(
            Pair(column, vector, np.asarray(empty_history[vector], np.float32)) for column, vector, _ in pair_types
        )
        self._empty = {field.name: empty_history[field.name] for field in self._fields if is_vector(field.type)}
        self._codes = [self._code(field) for field in self._fields]
        # By column: where its presence stands in the unpacked fixed part, and where its value ends.
        sizes = [len(self._empty.get(field.name, [None])) for field in self._fields]
        ends = (1 + np.cumsum([1 + size for size in sizes])).astype(int).tolist()
        self._places = [(end - size - 1, end) for size, end in zip(sizes, ends, strict=True)]
        self._fixed = struct.Struct("<B" + "".join("B" + code for code in self._codes) + "I" * len(self.pairs))

    def _code(self, field):
        if field.name in self._empty:
            return f"{len(self._empty[field.name])}f"
        return _CODE_BY_TYPE.get(field.type, "I")

    def unknown(self, user_id):
        """What is known of a user without a record.

        Args:
            user_id: id of the user.

        Returns:
            `UserFeatures`.
        """
        columns = {USER_KEY: user_id, **{name: list(empty) for name, empty in self._empty.items()}}
        return UserFeatures(user_id, False, columns, tuple(PairHistory({}, pair.empty[None]) for pair in self.pairs))

    def decode(self, user_id, record):
        """What is known of a user.

        Args:
            user_id: id of the user.
            record: bytes; None for a user without any.

        Returns:
            `UserFeatures`.

        Raises:
            FeatureStoreError: If the bytes are not of this form.
        """
        if record is None:
            return self.unknown(user_id)
        try:
            return self._decoded(user_id, record)
        except (struct.error, ValueError) as error:
            raise FeatureStoreError(
                f"the record of user {user_id!r} must be of its publication's form. Received: {error}"
            ) from error

    def _decoded(self, user_id, record):
        fixed = self._fixed.unpack_from(record)
        reader = _Reader(record, self._fixed.size)
        is_known, columns, sequences = bool(fixed[0]), {USER_KEY: user_id}, []
        for field, (start, end) in zip(self._fields, self._places, strict=True):
            name = field.name
            if name in self._empty:
                columns[name] = list(fixed[start + 1 : end]) if fixed[start] else list(self._empty[name])
            elif field.type in _CODE_BY_TYPE:
                columns[name] = fixed[start + 1] if fixed[start] else None
            elif pa.types.is_string(field.type):
                columns[name] = reader.string(fixed[start + 1]) if fixed[start] else None
            else:
                columns[name] = None
                sequences += [(name, fixed[start + 1])] if fixed[start] else []
        for name, count in sequences:
            columns[name] = reader.strings(count)
        counts = fixed[len(fixed) - len(self.pairs) :]
        histories = tuple(map(reader.history, self.pairs, self._pair_types, counts))
        if not is_known:
            columns = self.unknown(user_id).columns
        return UserFeatures(user_id, is_known, columns, histories)

    def encode(self, users, pairs) -> collections.abc.Iterator[tuple[list, list]]:
        """Records of all users of some tables.

        Args:
            users: Arrow table of users.
            pairs: Arrow tables of pairs, in the order of `pairs`.

        Yields:
            List of user ids and list of as many bytes, some thousands at a time.

        Raises:
            FeatureTableError: If a sequence holds a null.
        """
        known = users.column(0).combine_chunks()
        alone = pa.chunked_array([known, *(chunk for table in pairs for chunk in table.column(0).chunks)]).unique()
        sorted_pairs = [_SortedPairs(table, alone) for table in pairs]
        for start in range(0, len(alone), _USERS_AT_A_TIME):
            stop = min(start + _USERS_AT_A_TIME, len(alone))
            rows = np.arange(start, stop)
            taken = users.take(pa.array(rows, pa.int64(), mask=rows >= len(known))).combine_chunks()
            pieces = self._pieces(taken, rows < len(known), [each.pieces(start, stop) for each in sorted_pairs])
            records = pc.binary_join_element_wise(*pieces, pa.scalar(b"", pa.large_binary()))
            yield alone.slice(start, stop - start).to_pylist(), records.to_pylist()

    def _pieces(self, users, is_known, pairs):
        """Arrays of bytes that end to end make the records."""
        dtype = [("known", "u1")]
        for place, (field, code) in enumerate(zip(self._fields, self._codes, strict=True)):
            size = (len(self._empty[field.name]),) if field.name in self._empty else ()
            letter = {"q": "<i8", "I": "<u4"}.get(code, "<f4")
            dtype += [(f"present{place}", "u1"), (f"value{place}", letter, size)]
        fixed = np.zeros(len(is_known), dtype + [(f"pair{place}", "<u4") for place in range(len(pairs))])
        fixed["known"] = is_known
        strings, sequences = [], []
        for place, field in enumerate(self._fields):
            column = users.column(field.name).combine_chunks()
            column = column.chunk(0) if isinstance(column, pa.ChunkedArray) else column
            is_present = np.asarray(pc.is_valid(column)).astype(bool)
            fixed[f"present{place}"] = is_present
            if field.name in self._empty:
                fixed[f"value{place}"][is_present] = _vectors(column, len(self._empty[field.name]))
            elif field.type in _CODE_BY_TYPE:
                fixed[f"value{place}"][is_present] = np.asarray(column.drop_null())
            elif pa.types.is_string(field.type):
                strings.append(pc.fill_null(column, "").cast(pa.large_binary()))
                fixed[f"value{place}"] = np.asarray(pc.binary_length(strings[-1]))
            else:
                counts = np.asarray(pc.fill_null(column.value_lengths(), 0)).astype(np.int64)
                fixed[f"value{place}"] = counts
                sequences += _string_pieces(column.flatten(), np.append(0, np.cumsum(counts)), field.name)
        for place, (counts, _) in enumerate(pairs):
            fixed[f"pair{place}"] = counts
        starts = np.arange(len(is_known) + 1) * fixed.dtype.itemsize
        return [_bytes_of(fixed.tobytes(), starts), *strings, *sequences, *(piece for _, pieces in pairs for piece in pieces)]


class _SortedPairs:
    """A table of pairs in the order of its users, cut by user."""

    def __init__(self, table, user_ids):
        codes = np.asarray(pc.index_in(table.column(0).combine_chunks(), value_set=user_ids))
        order = np.argsort(codes, kind="stable")
        self._table = table.take(pa.array(order))
        self._starts = np.searchsorted(codes[order], np.arange(len(user_ids) + 1))

    def pieces(self, start, stop):
        """Counts of the users from `start` to `stop`, and their bytes."""
        starts = self._starts[start : stop + 1]
        rows = self._table.slice(starts[0], starts[-1] - starts[0])
        starts = starts - starts[0]
        values, vectors = (_as_array(rows.column(place)) for place in (1, 2))
        numbers = np.ascontiguousarray(np.asarray(vectors.flatten()), "<f4")
        size = len(numbers) // max(len(values), 1)
        pieces = [_bytes_of(numbers.tobytes(), starts * size * 4)]
        if pa.types.is_string(values.type):
            pieces += _string_pieces(values, starts, self._table.column_names[1])
        else:
            array = np.ascontiguousarray(np.asarray(values), f"<{_CODE_BY_TYPE[values.type]}")
            pieces.append(_bytes_of(array.tobytes(), starts * array.itemsize))
        return np.diff(starts), pieces


class _Reader:
    """Reads what follows the fixed part of a record."""

    def __init__(self, record, start):
        self._record, self._place = record, start

    def _take(self, size):
        start, self._place = self._place, self._place + size
        if self._place > len(self._record):
            raise ValueError(f"{len(self._record)} bytes instead of {self._place} or more")
        return self._record[start : self._place]

    def string(self, length):
        return self._take(length).decode()

    def strings(self, count):
        lengths = struct.unpack(f"<{count}I", self._take(4 * count))
        return [self.string(length) for length in lengths]

    def history(self, pair, type_, count):
        numbers = np.frombuffer(self._take(4 * count * len(pair.empty)), "<f4").reshape(count, len(pair.empty))
        if type_ in _CODE_BY_TYPE:
            code = _CODE_BY_TYPE[type_]
            values = struct.unpack(f"<{count}{code}", self._take(count * struct.calcsize(f"<{code}")))
        else:
            values = self.strings(count)
        row_by_value = {value: row for row, value in enumerate(values)}
        return PairHistory(row_by_value, np.concatenate([numbers, pair.empty[None]]))


def _as_array(column):
    array = column.combine_chunks()
    return (array.chunk(0) if array.num_chunks else pa.array([], array.type)) if isinstance(array, pa.ChunkedArray) else array


def _vectors(column, size):
    return np.asarray(column.drop_null().flatten()).reshape(-1, size)


def _bytes_of(content, starts):
    """(users,) large binary: the bytes between consecutive starts."""
    offsets = pa.py_buffer(np.ascontiguousarray(starts, np.int64).tobytes())
    return pa.Array.from_buffers(pa.large_binary(), len(starts) - 1, [None, offsets, pa.py_buffer(content)])


def _string_pieces(strings, starts, name):
    """Lengths and bytes of each user's strings, of which `starts` says where they begin."""
    if strings.null_count:
        raise FeatureTableError(f"{name} must hold strings. Received: a null within a row")
    encoded = strings.cast(pa.large_binary())
    lengths = np.asarray(pc.binary_length(encoded)).astype("<u4")
    ends = np.append(0, np.cumsum(lengths, dtype=np.int64))
    joined = pa.concat_arrays([encoded])
    first, data = np.frombuffer(joined.buffers()[1], np.int64)[joined.offset], joined.buffers()[2]
    content = b"" if data is None else data.slice(first, ends[-1])
    return [_bytes_of(lengths.tobytes(), starts * 4), _bytes_of(content, ends[starts])]
