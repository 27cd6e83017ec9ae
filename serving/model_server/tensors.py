"""TensorProto in, tensor out, and back, with the checks that keep a bad request away from the model."""

import math

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
    if proto.dtype != spec.dtype.as_datatype_enum:
        raise _invalid(name, f"must have dtype {spec.dtype.name}", f"dtype {_dtype_name(proto.dtype)}")
    shape = [dimension.size for dimension in proto.tensor_shape.dim]
    is_concrete = not proto.tensor_shape.unknown_rank and all(size >= 0 for size in shape)
    if not is_concrete or not spec.shape.is_compatible_with(shape):
        raise _invalid(name, f"must have shape {spec.shape}", f"shape {shape}")
    if math.prod(shape) > MAX_ELEMENTS:
        raise _invalid(name, f"must have at most {MAX_ELEMENTS} elements", f"shape {shape}")
    try:
        return tf.constant(tf.make_ndarray(proto), dtype=spec.dtype)
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


def _dtype_name(number):
    try:
        return tf.dtypes.as_dtype(number).name
    except TypeError:
        return f"number {number}"


def _invalid(name, requirement, received):
    return RequestError("INVALID_ARGUMENT", f'input "{name}" {requirement}. Received: {received}')
