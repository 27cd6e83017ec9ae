"""Labelled rows as TFRecords of tf.Examples, put together column by column in Arrow.

A serialized tf.Example is, for each feature, bytes that depend on the name and on the length of the value, followed by the
value. So each column becomes two columns of bytes, and one call of Arrow joins all of them row by row: about five times as
fast as tfx_bsl's coder, which makes a protobuf message of every row and takes as long for a vector as for a number.

Reference:
    Protocol Buffers, "Encoding"; TensorFlow, "TFRecord and tf.train.Example".
"""

import itertools
import struct

import google_crc32c
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

_BYTES_LIST, _FLOAT_LIST, _INT64_LIST = 1, 2, 3
_EMPTY = pa.scalar(b"", pa.binary())
_VARINT_BITS = 7


def tfrecords_of(table):
    """Content of a TFRecord file with one tf.Example for each row.

    Args:
        table: `pyarrow.Table` of strings, int64, float32, and lists of strings or float32; a null is an absent feature.

    Returns:
        Buffer of bytes.
    """
    if not table.num_rows:
        return b""
    records = encode(table)
    content, value = records.buffers()[2].to_pybytes(), google_crc32c.value
    checksums = np.array(
        [value(content[start:end]) for start, end in itertools.pairwise(_offsets(records).tolist())], np.uint32
    )
    tails = _fixed(_masked(checksums).astype("<u4").view(np.uint8).reshape(-1, 4))
    framed = _joined([_by_length(_lengths(records), _frame_head), records, tails])
    start, end = _offsets(framed)[[0, -1]]
    return memoryview(framed.buffers()[2])[start:end]


def encode(table):
    """Serialized tf.Examples of a table's rows.

    Args:
        table: as for `tfrecords_of`.

    Returns:
        Arrow binary array, one example a row.
    """
    pieces, template = [], []
    for name, column in zip(table.column_names, table.columns, strict=True):
        array = pa.concat_arrays(column.chunks) if column.num_chunks else pa.array([], column.type)
        numbers = _equal_floats(array)
        if numbers is not None:
            template += [_head(name.encode(), _FLOAT_LIST, numbers.shape[1] * 4), numbers.astype("<f4").view(np.uint8)]
        elif array.null_count < len(array):
            pieces += _pieces(name.encode(), array)
    if template:
        pieces.append(_fixed(_side_by_side(template)))
    if not pieces:
        return pa.array([b""] * table.num_rows, pa.binary())
    features = _joined(pieces)
    return _joined([_by_length(_lengths(features), lambda length: _tag(1) + _varint(length)), features])


def _equal_floats(array):
    """(rows, numbers) of a float column whose rows have equally many numbers and no nulls, else None."""
    if array.null_count or not len(array):
        return None
    if pa.types.is_float32(array.type):
        return array.to_numpy()[:, np.newaxis]
    if not (pa.types.is_list(array.type) and pa.types.is_float32(array.type.value_type)):
        return None
    lengths, values = np.diff(_list_offsets(array).to_numpy()), array.flatten()
    is_equal = lengths[0] > 0 and (lengths == lengths[0]).all() and not values.null_count
    return values.to_numpy().reshape(len(array), -1) if is_equal else None


def _side_by_side(columns):
    """(rows, width) uint8 of columns, each (rows, its width) or bytes that are the same in every row."""
    num_rows = next(len(column) for column in columns if not isinstance(column, bytes))
    widths = [len(column) if isinstance(column, bytes) else column.shape[1] for column in columns]
    ends = np.cumsum(widths)
    rows = np.empty((num_rows, ends[-1]), np.uint8)
    for column, width, end in zip(columns, widths, ends, strict=True):
        rows[:, end - width : end] = np.frombuffer(column, np.uint8) if isinstance(column, bytes) else column
    return rows


def _pieces(name, array):
    """Columns of bytes that, joined, are the feature in each row."""
    if pa.types.is_list(array.type):
        if pa.types.is_string(array.type.value_type):
            values = array.flatten().cast(pa.binary())
            elements = _joined([_by_length(_lengths(values), lambda length: _tag(1) + _varint(length)), values])
            lists = pa.ListArray.from_arrays(_list_offsets(array), elements)
            return _feature(name, _BYTES_LIST, pc.binary_join(lists, _EMPTY), array, is_packed=False)
        offsets = _list_offsets(array).to_numpy()
        numbers = array.flatten().to_numpy().astype("<f4")
        return _feature(name, _FLOAT_LIST, _binary(offsets * 4, numbers), array)
    if pa.types.is_string(array.type):
        return _feature(name, _BYTES_LIST, _filled(array.cast(pa.binary())), array)
    if pa.types.is_floating(array.type):
        numbers = pc.fill_null(array, 0.0).to_numpy().astype("<f4")
        return _feature(name, _FLOAT_LIST, _fixed(numbers.view(np.uint8).reshape(-1, 4)), array)
    return _feature(name, _INT64_LIST, _varints(pc.fill_null(array, 0).to_numpy()), array)


def _feature(name, kind, values, array, is_packed=True):
    """The entry of the feature map before its value, and the value; both empty where the row has none."""
    heads = _by_length(_lengths(values), lambda length: _head(name, kind, length, is_packed))
    if array.null_count:
        is_valid = pc.is_valid(array)
        heads, values = pc.if_else(is_valid, heads, _EMPTY), pc.if_else(is_valid, values, _EMPTY)
    return [heads, values]


def _head(name, kind, num_bytes, is_packed=True):
    """Bytes of a feature before a value of so many bytes; `is_packed` if that lacks tag and length of the list's field."""
    inner = _tag(1) + _varint(num_bytes) if is_packed else b""
    listed = _tag(kind) + _varint(len(inner) + num_bytes) + inner
    entry = _tag(1) + _varint(len(name)) + name + _tag(2) + _varint(len(listed) + num_bytes) + listed
    return _tag(1) + _varint(len(entry) + num_bytes) + entry


def _tag(number):
    """Key of a length-delimited field."""
    return bytes([number << 3 | 2])


def _varint(number):
    encoded = b""
    while number > 0x7F:
        encoded += bytes([number & 0x7F | 0x80])
        number >>= _VARINT_BITS
    return encoded + bytes([number])


def _varints(numbers):
    """Varints of int64 numbers; a negative one takes ten bytes, as two's complement of 64 bits."""
    rest = numbers.astype(np.uint64)
    num_bytes = np.ones(len(rest), np.int64)
    for size in range(1, 10):
        num_bytes += rest >> np.uint64(_VARINT_BITS * size) > 0
    digits = np.empty((len(rest), num_bytes.max(initial=1)), np.uint8)
    for place in range(digits.shape[1]):
        more = np.where(num_bytes > place + 1, 0x80, 0).astype(np.uint8)
        digits[:, place] = (rest >> np.uint64(_VARINT_BITS * place) & np.uint64(0x7F)).astype(np.uint8) | more
    is_used = np.arange(digits.shape[1]) < num_bytes[:, np.newaxis]
    return _binary(np.concatenate([[0], np.cumsum(num_bytes)]), digits[is_used])


def _frame_head(num_bytes):
    """Length of a TFRecord and its checksum."""
    length = struct.pack("<Q", num_bytes)
    return length + _masked(np.array([google_crc32c.value(length)], np.uint32)).astype("<u4").tobytes()


def _masked(checksums):
    """TFRecord's mask of checksums: rotated right by 15 bits, plus a constant, modulo 2^32."""
    return (checksums >> np.uint32(15) | checksums << np.uint32(17)) + np.uint32(0xA282EAD8)


def _by_length(lengths, bytes_fn):
    """The bytes that belong to each row's length; few lengths occur, so each is computed once."""
    if len(lengths) and lengths.min() == lengths.max():
        return pa.scalar(bytes_fn(int(lengths[0])), pa.binary())
    is_used = np.bincount(lengths) > 0
    heads = pa.array([bytes_fn(int(length)) for length in np.flatnonzero(is_used)], pa.binary())
    place_by_length = np.cumsum(is_used, dtype=np.int32) - np.int32(1)
    return heads.take(pa.array(place_by_length[lengths]))


def _joined(pieces):
    return pieces[0] if len(pieces) == 1 else pc.binary_join_element_wise(*pieces, _EMPTY)


def _lengths(array):
    return np.diff(_offsets(array))


def _offsets(array):
    """(rows + 1,) byte offsets of a binary array without nulls."""
    return np.frombuffer(array.buffers()[1], np.int32)[array.offset : array.offset + len(array) + 1]


def _list_offsets(array):
    """(rows + 1,) offsets into the flattened lists, in which null lists have no part."""
    lengths = pc.fill_null(pc.list_value_length(array), 0).to_numpy()
    return pa.array(np.concatenate([[0], np.cumsum(lengths)]), pa.int32())


def _filled(array):
    return pc.if_else(pc.is_valid(array), array, _EMPTY) if array.null_count else array


def _fixed(rows):
    """(rows, width) uint8 as an Arrow binary array."""
    return _binary(np.arange(len(rows) + 1) * rows.shape[1], rows)


def _binary(offsets, content):
    buffers = [None, pa.py_buffer(offsets.astype(np.int32)), pa.py_buffer(np.ascontiguousarray(content))]
    return pa.Array.from_buffers(pa.binary(), len(offsets) - 1, buffers)
