import numpy as np
import pytest

from serving.errors import RequestError
from serving.model_server.examples import (
    CLASSIFY_METHOD,
    REGRESS_METHOD,
    classification_result,
    method_signature,
    regression_result,
)
from serving.model_server.signatures import Signature


def signature(method_name, outputs, inputs=("inputs",)):
    return Signature("s", method_name, dict.fromkeys(inputs), {name: name for name in outputs}, inputs, tuple(outputs), True)


@pytest.mark.parametrize(
    ("method_name", "inputs", "outputs", "status", "message"),
    [
        (CLASSIFY_METHOD, ("inputs", "more"), ("scores",), "INVALID_ARGUMENT", "Expected one input Tensor"),
        (CLASSIFY_METHOD, ("inputs",), ("classes", "scores", "more"), "INVALID_ARGUMENT", "one or two output Tensors, found 3"),
        (CLASSIFY_METHOD, ("examples",), ("scores",), "FAILED_PRECONDITION", "No classification inputs found"),
        (CLASSIFY_METHOD, ("inputs",), ("outputs",), "FAILED_PRECONDITION", 'at least one of "classes" or "scores"'),
        (REGRESS_METHOD, ("inputs",), ("outputs", "more"), "INVALID_ARGUMENT", "Expected one output Tensor"),
        (REGRESS_METHOD, ("inputs",), ("scores",), "FAILED_PRECONDITION", 'at least one of "outputs"'),
    ],
)
def test_signatures_of_another_form_are_refused(method_name, inputs, outputs, status, message):
    with pytest.raises(RequestError, match=message) as raised:
        method_signature(signature(method_name, outputs, inputs), method_name)
    assert raised.value.status == status


LABELS, SCORES = np.array([[b"a", b"b"]], object), np.array([[0.25, 0.75]], np.float32)


@pytest.mark.parametrize(
    ("classes", "scores", "message"),
    [
        (LABELS[0], SCORES, r"Expected Tensor shape: \[batch_size num_classes\] but got \[2\]"),
        (SCORES, SCORES, "Expected classes Tensor of DT_STRING. Got: float32"),
        (LABELS, SCORES.astype(np.float64), "Expected scores Tensor of DT_FLOAT. Got: float64"),
        (LABELS.repeat(2, axis=0), SCORES, "Expected classes output batch size of 1. Got: 2"),
        (LABELS[:, :1], SCORES, r"should match in dim_size\(1\). Got 1 vs. 2"),
    ],
)
def test_classes_and_scores_that_do_not_fit_are_refused(classes, scores, message):
    arrays = {"classes": classes, "scores": scores}
    with pytest.raises(RequestError, match=message):
        classification_result(signature(CLASSIFY_METHOD, arrays), arrays, 1)


def test_scores_alone_have_no_labels():
    result = classification_result(signature(CLASSIFY_METHOD, ["scores"]), {"scores": SCORES}, 1)
    assert [(entry.label, entry.score) for entry in result.classifications[0].classes] == [("", 0.25), ("", 0.75)]


@pytest.mark.parametrize("values", [[1.0, 2.0], [[1.0], [2.0]]])
def test_values_may_stand_in_a_column(values):
    arrays = {"outputs": np.array(values, np.float32)}
    result = regression_result(signature(REGRESS_METHOD, arrays), arrays, 2)
    assert [regression.value for regression in result.regressions] == [1.0, 2.0]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (np.zeros((2, 2), np.float32), r"\[batch_size\] or \[batch_size, 1\] but got \[2, 2\]"),
        (np.zeros((2, 1, 3), np.float32), r"but got \[2, 1, 3\]"),
        (np.zeros(3, np.float32), "did not match output batch size: 2 vs. 3"),
        (np.zeros(2), "Expected output Tensor of DT_FLOAT.  Got: float64"),
    ],
)
def test_values_of_another_form_are_refused(values, message):
    with pytest.raises(RequestError, match=message):
        regression_result(signature(REGRESS_METHOD, ["outputs"]), {"outputs": values}, 2)
