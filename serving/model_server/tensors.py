"""TensorProto in, tensor out, and back, with the checks that keep a bad request away from the model."""

import math

import numpy as np
import tensorflow as tf

from serving.errors import RequestError

# A TensorProto may repeat one value over any shape: a few bytes on the wire could ask for all memory.
MAX_ELEMENTS = 1 << 24


def checked_tensor(name, proto, spec):
    """Tensor of one input of a request.

    Args:
        name: name of the input.
        proto: `TensorProto` that came for it.
        spec: `tf.TensorSpec` that the signature declares for it.

    Returns:
        Eager tensor that fits `spec`.

    Raises:
        RequestError: If type or shape differ from `spec`, or the values do not fill the shape.
    """
    dtype = spec.dtype
    if proto.dtype != dtype.as_datatype_enum:
        raise _invalid(name, f"must have dtype {dtype.name}", f"dtype {_dtype_name(proto.dtype)}")
    shape = [dimension.size for dimension in proto.tensor_shape.dim]
    if proto.tensor_shape.unknown_rank or not _fits(shape, spec.shape):
        raise _invalid(name, f"must have shape {spec.shape}", f"shape {shape}")
    if math.prod(shape) > MAX_ELEMENTS:
        raise _invalid(name, f"must have at most {MAX_ELEMENTS} elements", f"shape {shape}")
    try:
        # The two common forms, at half the time of `make_ndarray`.
        if dtype == tf.string and len(proto.string_val) == math.prod(shape):
            return tf.constant(list(proto.string_val), dtype, shape)
        if proto.tensor_content and dtype != tf.string:
            return tf.constant(np.frombuffer(proto.tensor_content, dtype.as_numpy_dtype).reshape(shape))
        return tf.constant(tf.make_ndarray(proto), dtype=dtype)
    except (TypeError, ValueError) as error:
        raise _invalid(name, f"must hold the values of shape {shape}", str(error).splitlines()[0]) from error


def tensor_proto(tensor):
    """TensorProto of one output.

    Args:
        tensor: eager tensor.

    Returns:
        `TensorProto`.
    """
    return tf.make_tensor_proto(tensor.numpy(), dtype=tensor.dtype, shape=tensor.shape)


def _fits(shape, wanted):
    """Whether sizes are those wanted; `TensorShape.is_compatible_with` takes five times as long."""
    if wanted.rank is None:
        return min(shape, default=0) >= 0
    sizes = zip(shape, wanted.as_list(), strict=False)
    return len(shape) == wanted.rank and all(size >= 0 and size == (size if want is None else want) for size, want in sizes)


def _dtype_name(number):
    try:
        return tf.dtypes.as_dtype(number).name
    except TypeError:
        return f"number {number}"


def _invalid(name, requirement, received):
    return RequestError("INVALID_ARGUMENT", f'input "{name}" {requirement}. Received: {received}')
