"""Arrays of a request's values, and tensors as the bytes of their messages.

A string stands in an array as the piece of a message that it becomes: a tensor of strings is such pieces end to end, and what
is the same in every request is encoded once.
"""

import functools
import numbers
from typing import NamedTuple

import numpy as np
from tensorflow.core.framework import tensor_pb2, types_pb2

from serving.errors import FeatureValueError
from serving.ranker.request import LISTS
from serving.wire import varint

_STRING_TAG = b"\x42"  # TensorProto.string_val
_CONTENT_TAG = b"\x22"  # TensorProto.tensor_content
# By type of a tensor: NumPy's type, what a missing value is, and the values it takes.
TYPES = {
    types_pb2.DT_STRING: (np.dtype(object), _STRING_TAG + b"\0", str, "a string"),
    types_pb2.DT_INT64: (np.dtype("<i8"), np.iinfo(np.int64).min, numbers.Integral, "an integer of 64 bits"),
    types_pb2.DT_FLOAT: (np.dtype("<f4"), np.nan, numbers.Real, "a number"),
}
# Of values that need no look; integers might have too many bits.
_PLAIN_TYPES = {types_pb2.DT_STRING: str, types_pb2.DT_INT64: None, types_pb2.DT_FLOAT: float}


class InputSpec(NamedTuple):
    """One input of the signature.

    Attributes:
        dtype: number of a TensorFlow type.
        is_candidates: whether it has a value for each candidate, else one for all.
        size: numbers or strings in a value; None for a sequence of any length.
        rank: 1, or 2 for a vector or a sequence.
        has_pieces: whether a string of an array is the piece of a message that it becomes, or its own bytes.
    """

    dtype: int
    is_candidates: bool
    size: int | None
    rank: int
    has_pieces: bool = True


def serialized_inputs(contents):
    """The inputs of a `PredictRequest` as they stand in its bytes.

    Args:
        contents: bytes of a `TensorProto` by input name.

    Returns:
        Bytes, which behind those of a request without inputs make one with them.
    """
    pieces = []
    for name, content in contents.items():
        key = name.encode()
        # An entry of the map: its key, then its value, each with its length.
        head = b"".join((b"\x0a", varint(len(key)), key, b"\x12", varint(len(content))))
        pieces += (b"\x12", varint(len(head) + len(content)), head, content)
    return b"".join(pieces)


def array_of(name, values, spec):
    """Values of a column as an array; None and an empty list are missing.

    Args:
        name: of the column, for messages.
        values: list of str, int, float, lists of one of them, or None.
        spec: `InputSpec`.

    Returns:
        (values,) array, or of a vector or a sequence (values, entries).

    Raises:
        FeatureValueError: If a value is not of the type or the length that was asked for.
    """
    dtype, _, type_, wanted = TYPES[spec.dtype]
    of_fn = _string_piece if spec.has_pieces else bytes
    if len(values) == 1 and spec.rank == 1 and type(values[0]) is _PLAIN_TYPES[spec.dtype]:
        # Most of a request: what the user is, value by value.
        array = np.empty(1, dtype)
        array[0] = of_fn(values[0].encode()) if type_ is str else values[0]
        return array
    rows = [[] if value is None else list(value) if isinstance(value, LISTS) else [value] for value in values]
    size = max(map(len, rows), default=0) if spec.size is None else spec.size
    entries = [entry for row in rows for entry in row]
    if not all(issubclass(each, type_) for each in set(map(type, entries))):
        raise FeatureValueError(f"feature {name} must hold {wanted}. Received: {_first_other(entries, type_)!r}")
    if spec.dtype == types_pb2.DT_STRING:
        rows = [[of_fn(entry.encode()) for entry in row] for row in rows]
    array = _all_missing((len(rows), size), spec)
    for place, row in enumerate(rows):
        if len(row) not in (0, size) and spec.size is not None:
            raise FeatureValueError(f"feature {name} must hold {size} values or none. Received: {len(row)}")
        try:
            array[place, : len(row)] = row
        except OverflowError as error:
            raise FeatureValueError(f"feature {name} must hold {wanted}. Received: {name}={row}") from error
    return array[:, 0] if spec.rank == 1 else array


def array_of_numbers(name, rows_NK, spec):
    """Numbers of a column in the form that was asked for.

    Args:
        name: of the column, for messages.
        rows_NK: (values, entries) float32 array; NaN is missing.
        spec: `InputSpec`.

    Returns:
        (values,) array, or of a vector (values, entries).

    Raises:
        FeatureValueError: If they are not of the type or the length that was asked for.
    """
    if spec.dtype != types_pb2.DT_FLOAT or rows_NK.shape[1] != spec.size:
        return array_of(name, rows_NK.tolist(), spec)
    return rows_NK[:, 0] if spec.rank == 1 else rows_NK


def _first_other(entries, type_):
    return next(entry for entry in entries if not isinstance(entry, type_))


def with_own(name, column, item_ids, own, spec):
    """A column with the values that are given for some items; sequences grow to the longer length.

    Args:
        name: of the column, for messages.
        column: array of the candidates.
        item_ids: their ids.
        own: value by item id.
        spec: `InputSpec`.

    Returns:
        Array; a copy where a candidate has a value of its own.

    Raises:
        FeatureValueError: If a value is not of the type or the length that was asked for.
    """
    places = [place for place, item_id in enumerate(item_ids) if item_id in own]
    if not places:
        return column
    rows = array_of(name, [own[item_ids[place]] for place in places], spec)
    if column.ndim == 2 and rows.shape[1] != column.shape[1]:
        length = max(rows.shape[1], column.shape[1])
        column, rows = (_of_length(array, length, spec) for array in (column, rows))
    column = column.copy()
    column[places] = rows
    return column


def _all_missing(shape, spec):
    dtype, missing, _, _ = TYPES[spec.dtype]
    if spec.dtype == types_pb2.DT_STRING and not spec.has_pieces:
        missing = b""
    array = np.empty(shape, dtype)
    # Unlike np.full, which would make a NumPy string of the bytes and drop a zero at their end.
    array.fill(missing)
    return array


def _of_length(array, length, spec):
    longer = _all_missing((len(array), length), spec)
    longer[:, : array.shape[1]] = array
    return longer


def tensor_bytes(array, spec):
    """A tensor as it travels.

    Args:
        array: of `array_of` and its like.
        spec: `InputSpec`.

    Returns:
        Bytes of a `TensorProto`.
    """
    head = _tensor_head(spec.dtype, array.shape)
    if spec.dtype == types_pb2.DT_STRING:
        return head + b"".join(array.ravel().tolist())
    content = array.tobytes()
    return b"".join((head, _CONTENT_TAG, varint(len(content)), content))


@functools.lru_cache(maxsize=4_096)
def _tensor_head(dtype, shape):
    head = tensor_pb2.TensorProto(dtype=dtype)
    for size in shape:
        head.tensor_shape.dim.add(size=size)
    return head.SerializeToString()


def _string_piece(content):
    return b"".join((_STRING_TAG, varint(len(content)), content))
