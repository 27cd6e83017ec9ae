"""TensorProto in, array or its bytes out, and back, with the checks that keep a bad request away from the model."""

import math

import numpy as np
import tensorflow as tf
from google.protobuf.message import DecodeError
from tensorflow.core.framework import tensor_pb2, types_pb2

from serving.errors import RequestError
from serving.protos import predict_pb2

# A TensorProto may repeat one value over any shape: a few bytes on the wire could ask for all memory.
MAX_ELEMENTS = 1 << 24

# The field of a TensorProto that holds values one by one, by type; other types go through TensorFlow's own reader.
_VALUES_BY_TYPE = {
    types_pb2.DT_FLOAT: "float_val",
    types_pb2.DT_DOUBLE: "double_val",
    types_pb2.DT_INT64: "int64_val",
    types_pb2.DT_INT32: "int_val",
    types_pb2.DT_BOOL: "bool_val",
    types_pb2.DT_STRING: "string_val",
}


def input_array(name, content, spec, max_rows):
    """Array of one input of a request, over the bytes of the message where they are values already.

    Args:
        name: name of the input.
        content: bytes of the `TensorProto` that came for it.
        spec: `TensorSpec` of `signatures` that the signature declares for it.
        max_rows: largest first dimension.

    Returns:
        `numpy.ndarray` that fits `spec`; bytes objects for strings.

    Raises:
        RequestError: If type or shape differ from `spec`, the input is too large, or the values do not fill the shape.
    """
    proto = _parsed(tensor_pb2.TensorProto, name, content)
    shape = _checked_shape(name, proto, spec, max_rows)
    try:
        values = _values(proto, spec, math.prod(shape))
        return values if values.shape == (*shape,) else values.reshape(shape)
    except (TypeError, ValueError) as error:
        raise _invalid(name, f"must hold the values of shape {shape}", str(error).splitlines()[0]) from error


def input_bytes(name, content, spec, max_rows):
    """One input of a request as it came, for a signature that takes bytes; looked at only as far as memory is at stake.

    Args:
        name: as of `input_array`.
        content: as of `input_array`.
        spec: as of `input_array`.
        max_rows: as of `input_array`.

    Returns:
        () array that holds `content`.

    Raises:
        RequestError: If type or shape differ from `spec`, the input is too large, or bytes of values do not fill the shape.
    """
    head = _parsed(predict_pb2.TensorHead, name, content)
    shape = _checked_shape(name, head, spec, max_rows)
    if spec.dtype != types_pb2.DT_STRING and (given := len(head.tensor_content)):
        wanted = math.prod(shape) * spec.array_dtype.itemsize
        if given != wanted:
            raise _invalid(name, f"must hold the values of shape {shape}, {wanted} bytes", f"{given} bytes")
    return np.array(content, object)


def fill_proto(proto, array):
    """Writes an array into a message.

    Args:
        proto: empty `TensorProto`.
        array: `numpy.ndarray`; of bytes objects for strings.
    """
    for size in array.shape:
        proto.tensor_shape.dim.add().size = size
    if array.dtype.hasobject:
        proto.dtype = types_pb2.DT_STRING
        proto.string_val.extend(array.ravel().tolist())
    else:
        proto.dtype = _type_number(array.dtype)
        proto.tensor_content = array.tobytes()


def tensor_bytes(array):
    """An array as it travels.

    Args:
        array: as of `fill_proto`.

    Returns:
        Bytes of a `TensorProto`.
    """
    proto = tensor_pb2.TensorProto()
    fill_proto(proto, array)
    return proto.SerializeToString()


def _parsed(type_, name, content):
    try:
        return type_.FromString(content)
    except DecodeError as error:
        raise _invalid(name, "must be a TensorProto", "bytes that are none") from error


def _checked_shape(name, proto, spec, max_rows):
    """Sizes of a tensor whose type and shape are those of the signature, and which is not too large."""
    if proto.dtype != spec.dtype:
        raise _invalid(name, f"must have dtype {spec.dtype_name}", f"dtype {_dtype_name(proto.dtype)}")
    tensor_shape = proto.tensor_shape
    shape = [dimension.size for dimension in tensor_shape.dim]
    if not spec.fits(shape) or tensor_shape.unknown_rank:
        raise _invalid(name, f"must have shape {spec.shape_text}", f"shape {shape}")
    if shape and shape[0] > max_rows:
        raise _invalid(name, f"must have at most serving.server.max_rows={max_rows} rows", f"shape {shape}")
    if math.prod(shape) > MAX_ELEMENTS:
        raise _invalid(name, f"must have at most {MAX_ELEMENTS} elements", f"shape {shape}")
    return shape


def _values(proto, spec, num_elements):
    if spec.dtype != types_pb2.DT_STRING and (content := proto.tensor_content):
        return np.frombuffer(content, spec.array_dtype)
    if (field := _VALUES_BY_TYPE.get(spec.dtype)) is not None:
        values = getattr(proto, field)
        if len(values) >= num_elements:
            # NumPy looks at what is no list value by value; told the number, it need not. What is beyond it is cut off, as by
            # TensorFlow.
            return np.fromiter(values, spec.array_dtype, num_elements)
    array = tf.make_ndarray(proto)
    return array.astype(object) if spec.dtype == types_pb2.DT_STRING else array


_number_by_dtype = {}


def _type_number(dtype):
    number = _number_by_dtype.get(dtype)
    if number is None:
        number = _number_by_dtype[dtype] = tf.dtypes.as_dtype(dtype).as_datatype_enum
    return number


def _dtype_name(number):
    try:
        return tf.dtypes.as_dtype(number).name
    except TypeError:
        return f"number {number}"


def _invalid(name, requirement, received):
    return RequestError("INVALID_ARGUMENT", f'input "{name}" {requirement}. Received: {received}')
