"""Classify and Regress: tf.Examples of a request as one input, and outputs as classes or values; statuses of TF Serving."""

import numpy as np
from tensorflow_serving.apis import classification_pb2, regression_pb2

from serving.errors import RequestError

CLASSIFY_METHOD = "tensorflow/serving/classify"
REGRESS_METHOD = "tensorflow/serving/regress"
INPUTS, CLASSES, SCORES, OUTPUTS = "inputs", "classes", "scores", "outputs"


def serialized_examples(message):
    """The examples of a request.

    Args:
        message: `Input`; with a context, each example is put behind it, so its features win.

    Returns:
        (rows,) array of bytes objects.

    Raises:
        RequestError: If there are none.
    """
    kind = message.WhichOneof("kind")
    rows = []
    if kind == "example_list":
        rows = [example.SerializeToString() for example in message.example_list.examples]
    elif kind == "example_list_with_context":
        listed = message.example_list_with_context
        context = listed.context.SerializeToString()
        # Joined messages are one message of which the later fields count.
        rows = [context + example.SerializeToString() for example in listed.examples]
    if not rows:
        raise _invalid("Input is empty.")
    return np.array(rows, dtype=object)


def method_signature(signature, method_name):
    """A signature, if the method may be called on it.

    Args:
        signature: `Signature`.
        method_name: `CLASSIFY_METHOD` or `REGRESS_METHOD`.

    Returns:
        `signature`.

    Raises:
        RequestError: If it is for another method, or its inputs and outputs are not those of the method.
    """
    kind = "classification" if method_name == CLASSIFY_METHOD else "regression"
    if signature.method_name != method_name:
        message = f"Expected {kind} signature method_name to be {method_name}. Was: {signature.method_name}"
        raise _invalid(message)
    if len(signature.inputs) != 1:
        raise _invalid("Expected one input Tensor.")
    if method_name == CLASSIFY_METHOD and len(signature.outputs) not in (1, 2):
        raise _invalid(f"Expected one or two output Tensors, found {len(signature.outputs)}")
    if method_name == REGRESS_METHOD and len(signature.outputs) != 1:
        raise _invalid("Expected one output Tensor.")
    if INPUTS not in signature.inputs:
        raise RequestError("FAILED_PRECONDITION", f"No {kind} inputs found in SignatureDef: {signature.name}")
    wanted = (CLASSES, SCORES) if method_name == CLASSIFY_METHOD else (OUTPUTS,)
    if not any(name in signature.outputs for name in wanted):
        names = " or ".join(f'"{name}"' for name in wanted)
        message = f"Expected {kind} signature outputs to contain at least one of {names}. Signature was: {signature.name}"
        raise RequestError("FAILED_PRECONDITION", message)
    return signature


def classification_result(signature, array_by_tensor, num_examples):
    """Classes of every example.

    Args:
        signature: `Signature` for `CLASSIFY_METHOD`.
        array_by_tensor: output by tensor name: (rows, classes) labels, (rows, classes) float32 scores, or both.
        num_examples: rows of the request.

    Returns:
        `ClassificationResult`.

    Raises:
        RequestError: If the outputs are of another type or shape.
    """
    arrays = {name: array_by_tensor[tensor] for name, tensor in signature.outputs.items() if name in (CLASSES, SCORES)}
    for name, array in arrays.items():
        if array.ndim != 2:
            raise _invalid(f"Expected Tensor shape: [batch_size num_classes] but got {list(array.shape)}")
        if not (array.dtype.hasobject if name == CLASSES else array.dtype == np.float32):
            raise _invalid(f"Expected {name} Tensor of {'DT_STRING' if name == CLASSES else 'DT_FLOAT'}. Got: {array.dtype}")
        if len(array) != num_examples:
            raise _invalid(f"Expected {name} output batch size of {num_examples}. Got: {len(array)}")
    if len({array.shape for array in arrays.values()}) > 1:
        sizes = [array.shape[1] for array in arrays.values()]
        raise _invalid(f"Tensors class and score should match in dim_size(1). Got {sizes[0]} vs. {sizes[1]}")
    result = classification_pb2.ClassificationResult()
    columns = {name: array.tolist() for name, array in arrays.items()}
    for row in range(num_examples):
        classes = result.classifications.add().classes
        for place in range(next(iter(arrays.values())).shape[1]):
            entry = classes.add()
            if CLASSES in columns:
                entry.label = columns[CLASSES][row][place]
            if SCORES in columns:
                entry.score = columns[SCORES][row][place]
    return result


def regression_result(signature, array_by_tensor, num_examples):
    """Value of every example.

    Args:
        signature: `Signature` for `REGRESS_METHOD`.
        array_by_tensor: output by tensor name: (rows,) or (rows, 1) float32.
        num_examples: rows of the request.

    Returns:
        `RegressionResult`.

    Raises:
        RequestError: If the output is of another type or shape.
    """
    array = array_by_tensor[signature.outputs[OUTPUTS]]
    if array.ndim != 1 and array.shape[1:] != (1,):
        message = f"Expected output Tensor shape to be either [batch_size] or [batch_size, 1] but got {list(array.shape)}"
        raise _invalid(message)
    if len(array) != num_examples:
        raise _invalid(f"Input batch size did not match output batch size: {num_examples} vs. {len(array)}")
    if array.dtype != np.float32:
        raise _invalid(f"Expected output Tensor of DT_FLOAT.  Got: {array.dtype}")
    result = regression_pb2.RegressionResult()
    for value in array.reshape(-1).tolist():
        result.regressions.add(value=value)
    return result


def _invalid(message):
    return RequestError("INVALID_ARGUMENT", message)
