"""What a signature takes and gives, read once from its SignatureDef, so that a call need not."""

import dataclasses

import numpy as np
import tensorflow as tf
from tensorflow.core.framework import types_pb2

from serving.model_server.known_heads import KnownHeads


@dataclasses.dataclass(frozen=True)
class TensorSpec:
    """One input of a signature.

    Attributes:
        tensor: name of the tensor in the graph.
        dtype: number of the TensorFlow type.
        dtype_name: its name.
        array_dtype: the NumPy type of its values.
        shape: sizes, None where any is taken; None for any rank.
        shape_text: the shape as messages show it.
        known_heads: `KnownHeads` of the tensors that came for it.
    """

    tensor: str
    dtype: int
    dtype_name: str
    array_dtype: object
    shape: tuple | None
    shape_text: str
    known_heads: KnownHeads = dataclasses.field(default_factory=KnownHeads, compare=False, repr=False)

    def fits(self, sizes):
        """Whether a tensor of these sizes is taken.

        Args:
            sizes: list of ints.

        Returns:
            bool.
        """
        if self.shape is None:
            return min(sizes, default=0) >= 0
        if len(sizes) != len(self.shape):
            return False
        return all(size == want or (want is None and size >= 0) for size, want in zip(sizes, self.shape, strict=True))


@dataclasses.dataclass(frozen=True)
class Signature:
    """One signature of a model.

    Attributes:
        name: under which it is asked for.
        method_name: TF Serving's name of the method that it is for.
        inputs: `TensorSpec` by name.
        outputs: name of the tensor in the graph by name.
        feeds: names of the input tensors, in the order of `inputs`.
        fetches: names of the output tensors, each once.
        is_batchable: whether several requests may be one: every input and output has rows in its first dimension.
    """

    name: str
    method_name: str
    inputs: dict
    outputs: dict
    feeds: tuple
    fetches: tuple
    is_batchable: bool


def read_signatures(signature_defs):
    """The signatures of a model that can be called.

    Args:
        signature_defs: `SignatureDef` by name.

    Returns:
        `Signature` by name; without those that take nothing, such as the one that initializes a model, give nothing, or have
        an input or output that is no dense tensor.
    """
    return {
        name: _signature(name, each)
        for name, each in signature_defs.items()
        if each.inputs and each.outputs and _is_dense(each)
    }


def _is_dense(signature_def):
    infos = [*signature_def.inputs.values(), *signature_def.outputs.values()]
    return all(info.WhichOneof("encoding") == "name" for info in infos)


def _signature(name, signature_def):
    inputs = {key: _spec(info) for key, info in sorted(signature_def.inputs.items())}
    outputs = {key: info.name for key, info in sorted(signature_def.outputs.items())}
    infos = [*signature_def.inputs.values(), *signature_def.outputs.values()]
    return Signature(
        name=name,
        method_name=signature_def.method_name,
        inputs=inputs,
        outputs=outputs,
        feeds=tuple(spec.tensor for spec in inputs.values()),
        fetches=tuple(dict.fromkeys(outputs.values())),
        is_batchable=all(_has_rows(info.tensor_shape) for info in infos),
    )


def _spec(info):
    dtype = tf.dtypes.as_dtype(info.dtype)
    shape = None
    if not info.tensor_shape.unknown_rank:
        shape = tuple(None if dimension.size < 0 else dimension.size for dimension in info.tensor_shape.dim)
    return TensorSpec(
        tensor=info.name,
        dtype=info.dtype,
        dtype_name=dtype.name,
        array_dtype=np.dtype(object) if info.dtype == types_pb2.DT_STRING else np.dtype(dtype.as_numpy_dtype),
        shape=shape,
        shape_text=str(tf.TensorShape(shape)),
    )


def _has_rows(shape):
    return not shape.unknown_rank and len(shape.dim) > 0 and shape.dim[0].size < 0
