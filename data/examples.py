"""Labelled rows as tf.Examples, encoded and decoded by tfx_bsl's C++ coder."""

import gzip
import struct

import google_crc32c
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from tensorflow_metadata.proto.v0 import schema_pb2
from tfx_bsl.coders import example_coder

from data.errors import LogFormatError
from data.sources.files import unreadable

_DECODE_ROWS = 8192
_LENGTH = struct.Struct("<Q")
_FRAME_NUMBER = struct.Struct("<I")
_CRC_BYTES = _FRAME_NUMBER.size


def encode(table):
    """Serialized tf.Examples of a table's rows; a null value is an absent feature.

    Args:
        table: `pyarrow.Table` of strings, int64, float32, and lists of strings or float32.

    Returns:
        List of bytes, one a row.
    """
    if not table.num_rows:
        return []
    columns = [_as_lists(pa.concat_arrays(column.chunks)) for column in table.columns]
    return example_coder.RecordBatchToExamples(pa.RecordBatch.from_arrays(columns, names=table.column_names))


def decode(examples, schema):
    """Table of the features of tf.Examples.

    Args:
        examples: list of bytes.
        schema: `pyarrow.Schema` of the wanted columns: strings, int64, float32, and lists of strings or float32.

    Returns:
        `pyarrow.Table` with that schema; null, or an empty list, where an example lacks the feature.
    """
    decoder = example_coder.ExamplesToRecordBatchDecoder(_feature_schema(schema).SerializeToString())
    batches = [decoder.DecodeBatch(examples[start : start + _DECODE_ROWS]) for start in range(0, len(examples), _DECODE_ROWS)]
    columns = []
    for field in schema:
        chunks = [_first_value(batch.column(batch.schema.get_field_index(field.name)), field.type) for batch in batches]
        columns.append(pa.chunked_array(chunks, type=field.type))
    return pa.table(columns, schema=schema)


def read_examples(paths, schema):
    """Table of the features in TFRecord files.

    Args:
        paths: TFRecord files, gz where the name ends so.
        schema: `pyarrow.Schema` of the wanted columns, as of `data.schema.labelled_schema`.

    Returns:
        `pyarrow.Table` with that schema, rows in the order of the files.

    Raises:
        LogFormatError: If a file cannot be read to its end.
    """
    return pa.concat_tables([decode(_records(path), schema) for path in paths] or [schema.empty_table()])


def framed(records):
    """Records as the content of a TFRecord file.

    Args:
        records: iterable of bytes.

    Returns:
        bytes.
    """
    pack, crc32c = _FRAME_NUMBER.pack, google_crc32c.value
    frames = []
    for record in records:
        length = _LENGTH.pack(len(record))
        frames += (length, pack(_masked(crc32c(length))), record, pack(_masked(crc32c(record))))
    return b"".join(frames)


def _masked(crc):
    """TFRecord's mask of a checksum: rotated right by 15 bits, plus a constant."""
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def _records(path):
    opener = gzip.open if path.endswith(".gz") else open
    try:
        with opener(path, "rb") as file:
            content = file.read()
    except (EOFError, OSError) as error:
        raise LogFormatError(unreadable(path, error)) from error
    records, at = [], 0
    while at < len(content):
        start = at + _LENGTH.size + _CRC_BYTES
        if start > len(content):
            raise LogFormatError(unreadable(path, ValueError(f"half a TFRecord at byte {at}")))
        (length,) = _LENGTH.unpack_from(content, at)
        at = start + length + _CRC_BYTES
        if at > len(content):
            raise LogFormatError(unreadable(path, ValueError(f"half a TFRecord before byte {at}")))
        records.append(content[start : start + length])
    return records


def _as_lists(array):
    if pa.types.is_list(array.type):
        return array.cast(pa.list_(pa.binary())) if pa.types.is_string(array.type.value_type) else array
    if not array.null_count:
        offsets, values = pa.array(np.arange(len(array) + 1, dtype=np.int32)), array
    else:
        is_valid = np.asarray(pc.is_valid(array)).astype(bool)
        ends = np.concatenate([[0], np.cumsum(is_valid)]).astype(np.int32)
        # A null offset makes a null list, which the coder leaves out.
        offsets, values = pa.array(ends, pa.int32(), mask=np.append(~is_valid, False)), array.drop_null()
    if pa.types.is_string(values.type):
        values = values.cast(pa.binary())
    return pa.ListArray.from_arrays(offsets, values)


def _first_value(lists, type_):
    if pa.types.is_list(type_):
        empty = pa.scalar([], lists.type)
        values = pc.if_else(pc.is_valid(lists), lists, empty) if lists.null_count else lists
        return values.cast(pa.list_(pa.binary())).cast(type_) if pa.types.is_string(type_.value_type) else values.cast(type_)
    lengths = np.asarray(pc.fill_null(pc.list_value_length(lists), 0))
    starts = np.cumsum(lengths) - lengths
    index = pa.array(starts, pa.int64(), mask=lengths == 0)
    values = lists.flatten().take(index)
    if pa.types.is_string(type_):
        return values.cast(pa.binary()).cast(pa.string())
    return values.cast(type_)


def _feature_schema(schema):
    features = []
    for field in schema:
        value_type = field.type.value_type if pa.types.is_list(field.type) else field.type
        if pa.types.is_string(value_type):
            type_ = schema_pb2.BYTES
        elif pa.types.is_integer(value_type):
            type_ = schema_pb2.INT
        else:
            type_ = schema_pb2.FLOAT
        features.append(schema_pb2.Feature(name=field.name, type=type_))
    return schema_pb2.Schema(feature=features)
