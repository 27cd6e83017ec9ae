"""Signatures that take the bytes of messages: TensorFlow makes tensors of them faster than Python, and without its lock."""

import dataclasses

import tensorflow as tf

_CALLS = ("PartitionedCall", "StatefulPartitionedCall")
_SCOPE = "serialized"


def serialized_signature(graph, signature):
    """Adds a second call of a signature's function to its graph, whose inputs are parsed there.

    Args:
        graph: `tf.Graph` that holds the signature.
        signature: `Signature`.

    Returns:
        `Signature` with other tensors, whose inputs are scalar strings, each a serialized `TensorProto`; None for a signature
        that is not one call of a function, as TensorFlow 1 exported them.
    """
    try:
        fetched = [graph.get_tensor_by_name(name) for name in signature.fetches]
    except (KeyError, ValueError):
        # A session takes names that a graph does not.
        return None
    calls = {tensor.op for tensor in fetched}
    call = calls.pop()
    if calls or call.type not in _CALLS or not _depends_on_feeds_alone(call, signature.feeds):
        return None
    with graph.as_default(), tf.name_scope(_SCOPE):
        feeds, parsed_by_feed = [], {}
        for spec in signature.inputs.values():
            serialized = tf.compat.v1.placeholder(tf.string, [])
            feeds.append(serialized.name)
            # Its shape lets TensorFlow optimize as if the tensor itself were fed.
            parsed = tf.ensure_shape(tf.io.parse_tensor(serialized, tf.dtypes.as_dtype(spec.dtype)), spec.shape)
            parsed_by_feed[spec.tensor] = parsed
        inputs = [parsed_by_feed.get(tensor.name, tensor) for tensor in call.inputs]
        dtypes = [tensor.dtype for tensor in call.outputs]
        again = graph.create_op(call.type, inputs, dtypes, attrs=dict(call.node_def.attr))
    name_by_fetch = {tensor.name: again.outputs[tensor.value_index].name for tensor in fetched}
    return dataclasses.replace(
        signature,
        outputs={name: name_by_fetch[tensor] for name, tensor in signature.outputs.items()},
        feeds=tuple(feeds),
        fetches=tuple(name_by_fetch[tensor] for tensor in signature.fetches),
        is_batchable=False,
    )


def _depends_on_feeds_alone(call, feeds):
    """Whether a call takes all that is fed, and else only variables, tables and constants, which nothing leads to."""
    others = [tensor.op for tensor in call.inputs if tensor.name not in feeds]
    has_all = set(feeds) <= {tensor.name for tensor in call.inputs}
    leads_back = any(operation.inputs or operation.control_inputs for operation in others)
    return has_all and not leads_back and not call.control_inputs and not call.device
