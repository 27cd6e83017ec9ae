"""Classify, Regress and MultiInference: tf.Examples in, classes and values out."""

import pytest

from tests.conformance.model_server.calls import examples_input, refusal
from tests.conformance.tiny_model import CLASSES, MODEL_NAME, VERSION, example, expected

CLASSIFY, REGRESS = "tensorflow/serving/classify", "tensorflow/serving/regress"
ROWS = [("u1", "i1"), ("u2", "i3"), ("nobody", "i2")]


@pytest.fixture(scope="module")
def rows():
    return examples_input(*(example(user_id=user, item_id=item, age=31.0) for user, item in ROWS))


def wanted(name):
    return [expected(VERSION, user, item, age=31.0)[name] for user, item in ROWS]


def is_named(spec, signature_name):
    return (spec.name, spec.version.value, spec.signature_name) == (MODEL_NAME, VERSION, signature_name)


def test_classes_have_labels_and_scores(calls, rows):
    response = calls.classify(rows)
    assert is_named(response.model_spec, "classify")
    classifications = response.result.classifications
    assert [[entry.label for entry in row.classes] for row in classifications] == [list(CLASSES)] * len(ROWS)
    assert [row.classes[1].score for row in classifications] == pytest.approx(wanted("click"), rel=1e-6)
    assert [row.classes[0].score for row in classifications] == pytest.approx([1 - click for click in wanted("click")])


def test_classes_without_scores(calls, rows):
    classifications = calls.classify(rows, "classify_labels").result.classifications
    assert {(entry.label, entry.score) for row in classifications for entry in row.classes} == {("skip", 0), ("click", 0)}


def test_values_of_a_regression(calls, rows):
    response = calls.regress(rows)
    assert is_named(response.model_spec, "regress")
    values = [regression.value for regression in response.result.regressions]
    assert values == pytest.approx(wanted("watch_seconds"), rel=1e-6)


def test_a_context_is_part_of_every_example_and_the_example_wins(calls):
    message = examples_input(example(item_id="i2"), example(age=50.0), context=example(user_id="u1", age=31.0))
    values = [regression.value for regression in calls.regress(message).result.regressions]
    first = expected(VERSION, "u1", "i2", age=31.0)["watch_seconds"]
    assert values == pytest.approx([first, expected(VERSION, "u1", "", age=50.0)["watch_seconds"]])


def test_several_signatures_in_one_call(calls, rows):
    response = calls.multi_inference(rows, (MODEL_NAME, "regress", REGRESS), (MODEL_NAME, "classify", CLASSIFY))
    regressed, classified = response.results
    assert is_named(regressed.model_spec, "regress")
    assert is_named(classified.model_spec, "classify")
    values = [regression.value for regression in regressed.regression_result.regressions]
    assert values == pytest.approx(wanted("watch_seconds"), rel=1e-6)
    scores = [row.classes[1].score for row in classified.classification_result.classifications]
    assert scores == pytest.approx(wanted("click"), rel=1e-6)


@pytest.mark.parametrize("method", ["classify", "regress"])
def test_no_examples_are_invalid(calls, method):
    assert refusal(getattr(calls, method), examples_input()) == ("INVALID_ARGUMENT", "Input is empty.")


@pytest.mark.parametrize("method", ["classify", "regress"])
def test_a_signature_for_another_method_is_invalid(calls, rows, method):
    status, details = refusal(getattr(calls, method), rows, "serving_default")
    assert status == "INVALID_ARGUMENT"
    assert f"method_name to be tensorflow/serving/{method}. Was: tensorflow/serving/predict" in details


@pytest.mark.parametrize("method", ["classify", "regress"])
def test_an_unknown_signature_is_invalid(calls, rows, method):
    status, details = refusal(getattr(calls, method), rows, "other")
    assert (status, details) == ("INVALID_ARGUMENT", "No signature was found with the name: other")


@pytest.mark.parametrize("method", ["classify", "regress"])
def test_an_unknown_model_is_not_found(calls, rows, method):
    assert refusal(getattr(calls, method), rows, method, "other")[0] == "NOT_FOUND"


@pytest.mark.parametrize(
    ("tasks", "status"),
    [
        ([], "INVALID_ARGUMENT"),
        ([("", "regress", REGRESS)], "INVALID_ARGUMENT"),
        ([("other", "regress", REGRESS)], "NOT_FOUND"),
        ([(MODEL_NAME, "regress", REGRESS), ("other", "classify", CLASSIFY)], "INVALID_ARGUMENT"),
        ([(MODEL_NAME, "regress", REGRESS), (MODEL_NAME, "regress", REGRESS)], "INVALID_ARGUMENT"),
        ([(MODEL_NAME, "other", REGRESS)], "INVALID_ARGUMENT"),
        ([(MODEL_NAME, "classify", REGRESS)], "INVALID_ARGUMENT"),
        ([(MODEL_NAME, "regress", "tensorflow/serving/predict")], "UNIMPLEMENTED"),
    ],
)
def test_tasks_that_do_not_fit_are_refused(calls, rows, tasks, status):
    assert refusal(calls.multi_inference, rows, *tasks)[0] == status


def test_an_example_of_a_wrong_type_is_named(calls):
    status, details = refusal(calls.regress, examples_input(example(age="thirty")))
    assert (status, "age" in details) == ("INVALID_ARGUMENT", True)
