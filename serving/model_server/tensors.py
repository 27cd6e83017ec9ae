"""TensorProto in, array or its bytes out, and back, with the checks that keep a bad request away from the model."""

import math

import numpy as np
import tensorflow as tf
from google.protobuf.message import DecodeError
from tensorflow.core.framework import tensor_pb2, types_pb2

from serving.errors import RequestError
from serving.model_server.causes import first_cause
from serving.model_server.predict_call import whole_message
from serving.protos import predict_pb2

# A TensorProto may repeat one value over any shape: a few bytes on the wire could ask for all memory.
MAX_ELEMENTS = 1 << 24
_MAX_REPEATED_BYTES = 1 << 24
_MAX_DIMENSIONS = 254  # as of TensorFlow
_MAX_SHAPE_CHARACTERS = 200

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
    num_elements = math.prod(shape)
    _check_content(name, proto.tensor_content, spec, shape)
    if spec.dtype == types_pb2.DT_STRING and proto.string_val:
        _check_repeated(name, proto.string_val, num_elements)
    if spec.dtype != types_pb2.DT_STRING and proto.tensor_content:
        return np.frombuffer(proto.tensor_content, spec.array_dtype).reshape(shape)
    field = _VALUES_BY_TYPE.get(spec.dtype)
    if field is not None and len(values := getattr(proto, field)) >= num_elements:
        # NumPy looks at what is no list value by value; told the number, it need not. What is beyond it is cut off, as by
        # TensorFlow.
        return np.fromiter(values, spec.array_dtype, num_elements).reshape(shape)
    try:
        array = tf.io.parse_tensor(content, spec.dtype).numpy()
    except tf.errors.OpError as error:
        raise _invalid(name, f"must hold the values of {_shown(shape)}", first_cause(error.message)) from error
    return np.asarray(array, object) if spec.dtype == types_pb2.DT_STRING else array


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
        RequestError: As of `input_array`.
    """
    if not spec.known_heads.has(content):
        head = _parsed(predict_pb2.TensorHead, name, content)
        shape = _checked_shape(name, head, spec, max_rows)
        _check_content(name, head.tensor_content, spec, shape)
        if len(head.string_val) * math.prod(shape) > _MAX_REPEATED_BYTES:
            _check_repeated(name, _parsed(tensor_pb2.TensorProto, name, content).string_val, math.prod(shape))
        spec.known_heads.learn(content, head)
    return np.array(content, object)


def fill_proto(proto, array):
    """Writes an array into a message.

    Args:
        proto: empty `TensorProto`.
        array: `numpy.ndarray`; of bytes objects for strings, or one bytes object.
    """
    array = np.asarray(array, object) if isinstance(array, bytes) else array
    for size in array.shape:
        proto.tensor_shape.dim.add().size = size
    if array.dtype.hasobject:
        proto.dtype = types_pb2.DT_STRING
        proto.string_val.extend(array.ravel().tolist())
    else:
        proto.dtype = _type_number(array.dtype)
        proto.tensor_content = array.tobytes()


def serialized_tensor(array):
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
        return whole_message(type_, content)
    except DecodeError as error:
        raise _invalid(name, "must be a TensorProto", "bytes that are none") from error


def _checked_shape(name, proto, spec, max_rows):
    """Sizes of a tensor whose type and shape are those of the signature, and which is not too large."""
    if proto.dtype != spec.dtype:
        raise _invalid(name, f"must have dtype {spec.dtype_name}", f"dtype {_dtype_name(proto.dtype)}")
    tensor_shape = proto.tensor_shape
    if len(tensor_shape.dim) > _MAX_DIMENSIONS:
        raise _invalid(name, f"must have at most {_MAX_DIMENSIONS} dimensions", f"{len(tensor_shape.dim)}")
    shape = [dimension.size for dimension in tensor_shape.dim]
    if not spec.fits(shape) or tensor_shape.unknown_rank:
        raise _invalid(name, f"must have shape {spec.shape_text}", _shown(shape))
    if shape and shape[0] > max_rows:
        raise _invalid(name, f"must have at most serving.server.max_rows={max_rows} rows", _shown(shape))
    if math.prod(shape) > MAX_ELEMENTS:
        raise _invalid(name, f"must have at most {MAX_ELEMENTS} elements", _shown(shape))
    return shape


def _shown(shape):
    return f"shape {shape}"[:_MAX_SHAPE_CHARACTERS]


def _check_content(name, content, spec, shape):
    """Bytes of values, if there are any, must be those of the shape; strings have none."""
    if not content:
        return
    if spec.dtype == types_pb2.DT_STRING:
        raise _invalid(name, "must hold its strings in string_val", "tensor_content")
    wanted = math.prod(shape) * spec.array_dtype.itemsize
    if len(content) != wanted:
        raise _invalid(name, f"must hold the values of {_shown(shape)}, {wanted} bytes", f"{len(content)} bytes")


def _check_repeated(name, strings, num_elements):
    """The last of too few strings is repeated, and each repetition is a copy in memory."""
    repeated_bytes = len(strings[-1]) * (num_elements - len(strings))
    if repeated_bytes > _MAX_REPEATED_BYTES:
        raise _invalid(name, f"must repeat its last string to at most {_MAX_REPEATED_BYTES} bytes", f"{repeated_bytes} bytes")


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
