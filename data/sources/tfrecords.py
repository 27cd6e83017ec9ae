"""TFRecords of tf.Example, decoded by tfx_bsl's C++ coder."""

import json
import struct
from collections.abc import Iterator

import google_crc32c
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from data import storage
from data.errors import LogFormatError
from data.sources import files
from data.sources.raw import RawBlock, block_of_records

_ROWS_PER_BATCH = 1 << 15
_HEADER = struct.Struct("<QI")
_CRC_BYTES = 4


def records(path) -> Iterator[bytes]:
    """Records of a TFRecord file.

    Args:
        path: the file, plain or compressed.

    Yields:
        bytes.

    Raises:
        LogFormatError: If the file is no TFRecord file or cannot be read to its end.
    """
    at = 0
    try:
        with storage.open_content(path) as content:
            while header := content.read(_HEADER.size):
                if len(header) < _HEADER.size:
                    raise EOFError(f"half a TFRecord at byte {at}")
                length, checksum = _HEADER.unpack(header)
                # The checksum of a length keeps noise from being taken for a record of many gigabytes.
                if checksum != _masked_crc(header[:8]):
                    raise EOFError(f"no TFRecord at byte {at}")
                record = content.read(length + _CRC_BYTES)
                if len(record) < length + _CRC_BYTES:
                    raise EOFError(f"half a TFRecord at byte {at}")
                yield record[:length]
                at += _HEADER.size + len(record)
    except files.DAMAGES as error:
        raise LogFormatError(files.unreadable(path, error)) from error


def column_names(path, num_records):
    """Names of the features in the first examples of a file.

    Args:
        path: the file.
        num_records: at most so many examples count.

    Returns:
        List of names.

    Raises:
        LogFormatError: If the file cannot be read.
    """
    head = [record for record, _ in zip(records(path), range(num_records), strict=False)]
    return list(dict.fromkeys(name for record in head for name in _values(record)[0] or ()))


def has_column(path, name):
    """Whether some example of a file has a feature; the file is searched to its end.

    Args:
        path: the file.
        name: of the feature.

    Returns:
        bool.

    Raises:
        LogFormatError: If the file cannot be read to its end.
    """
    encoded = name.encode()
    # A cheap search first: the name's bytes may also be a value or a part of another name.
    return any(encoded in record and name in (_values(record)[0] or ()) for record in records(path))


def decode(path, type_by_name) -> Iterator[RawBlock]:
    """Raw blocks of a file; of a feature with several values none is taken.

    Args:
        path: the file.
        type_by_name: wanted columns and the Arrow types that they shall get in the end.

    Yields:
        `RawBlock`.

    Raises:
        LogFormatError: If the file cannot be read to its end.
    """
    first_row, batch = 1, []
    for record in records(path):
        batch.append(record)
        if len(batch) == _ROWS_PER_BATCH:
            yield _block(batch, first_row, type_by_name)
            first_row, batch = first_row + len(batch), []
    if batch:
        yield _block(batch, first_row, type_by_name)


def _block(batch, first_row, type_by_name):
    table = _table(batch, type_by_name)
    if table is not None:
        lines = np.arange(first_row, first_row + len(batch))
        return RawBlock(table, lines, lambda row: _text(batch[row]), [])
    numbered = ((first_row + index, record, *_values(record)) for index, record in enumerate(batch))
    return block_of_records(numbered, type_by_name, _text)


def _table(batch, type_by_name):
    """Columns of examples whose wanted features have one value or none, alike in type and readable, or else None."""
    decoded = _decoded(batch)
    if decoded is None:
        return None
    columns = {}
    for name in type_by_name:
        index = decoded.schema.get_field_index(name)
        if index < 0 or pa.types.is_null(decoded.column(index).type):
            continue
        lists = decoded.column(index)
        lengths = pc.fill_null(pc.list_value_length(lists), 0).to_numpy()
        if lengths.max(initial=0) > 1:
            return None
        starts = np.cumsum(lengths) - lengths
        values = lists.flatten().take(pa.array(starts, pa.int64(), mask=lengths == 0))
        try:
            columns[name] = values.cast(pa.string()) if _is_bytes(values.type) else values
        except pa.ArrowInvalid:
            return None
    return pa.table(columns) if columns else None


def _decoded(batch):
    # The coder takes half a second to load: only logs of this format pay for it.
    from tfx_bsl.coders import example_coder

    try:
        return example_coder.ExamplesToRecordBatchDecoder().DecodeBatch(batch)
    except (RuntimeError, ValueError, pa.ArrowException):
        return None


def _values(record):
    """Values by feature of one example, or None and why there are none."""
    decoded = _decoded([record])
    if decoded is None:
        return None, "record must be a tf.Example"
    values_by_name = {}
    for name, column in zip(decoded.schema.names, decoded.columns, strict=True):
        values = column.to_pylist()[0] or []
        try:
            values = [value.decode() if isinstance(value, bytes) else value for value in values]
        except UnicodeDecodeError:
            return None, f"{name} must be UTF-8"
        values_by_name[name] = values[0] if len(values) == 1 else values or None
    return values_by_name, None


def _text(record):
    values, _ = _values(record)
    return repr(record[:500]) if values is None else json.dumps(values, ensure_ascii=False)


def _is_bytes(type_):
    return pa.types.is_binary(type_) or pa.types.is_large_binary(type_)


def _masked_crc(data):
    """TFRecord's masked CRC-32C: rotated right by 15 bits, plus a constant."""
    crc = google_crc32c.value(data)
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF
