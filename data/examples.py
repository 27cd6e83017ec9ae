"""tf.Examples as tables, decoded by tfx_bsl's C++ coder; `data.encoding` is the way there."""

import gzip
import struct

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from tensorflow_metadata.proto.v0 import schema_pb2
from tfx_bsl.coders import example_coder

from data.errors import LogFormatError
from data.sources.files import unreadable

_DECODE_ROWS = 8192
_LENGTH = struct.Struct("<Q")
_CRC_BYTES = 4


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
