"""Models, versions and labels that change while the server serves."""

import shutil
import threading
import time

import pytest
import tensorflow as tf
from google.protobuf import text_format
from tensorflow_serving.config import model_server_config_pb2

from tests.conformance.model_server.calls import refusal
from tests.conformance.tiny_model import MODEL_NAME, VERSION, example, predict_request, write_version

NEXT = VERSION + 1
LISTED = 'config { name: "a" base_path: "/a" model_platform: "tensorflow" } '


@pytest.fixture
def config(models_folder):
    """Function of (policy and labels as text, second model or not) that gives a configuration of the server."""
    if models_folder is None:
        pytest.skip("SMALLTOWERS_TF_SERVING_MODELS must name the folder that the server serves")

    def make(more="", other_folder=None):
        models = [(MODEL_NAME, models_folder, more)] + ([("other", other_folder, "")] if other_folder else [])
        texts = [
            f'config {{ name: "{name}" base_path: "{folder}" model_platform: "tensorflow" {text} }}'
            for name, folder, text in models
        ]
        return text_format.Parse(f"model_config_list {{ {' '.join(texts)} }}", model_server_config_pb2.ModelServerConfig())

    return make


@pytest.fixture
def two_versions(calls, config, models_folder):
    """Both versions served; afterwards one again."""
    write_version(models_folder, NEXT)
    calls.reload(config("model_version_policy { all {} }"))
    wait_until(lambda: calls.states().get(NEXT) == calls.states()[VERSION] == "AVAILABLE")
    yield
    shutil.rmtree(models_folder / str(NEXT))
    calls.reload(config())
    wait_until(lambda: calls.states()[NEXT] == "END" and calls.states()[VERSION] == "AVAILABLE")


def wait_until(condition, seconds=30.0):
    deadline, pause = time.monotonic() + seconds, threading.Event()
    while not condition():
        assert time.monotonic() < deadline, "the condition did not come true in time"
        pause.wait(0.02)


def answered(calls, **spec):
    """Version that answers, by its own prediction."""
    request = predict_request(example())
    if "label" in spec:
        request.model_spec.version_label = spec["label"]
    elif "version" in spec:
        request.model_spec.version.value = spec["version"]
    response = calls.predict(request)
    (satisfaction,) = tf.make_ndarray(response.outputs["satisfaction"]).tolist()
    assert response.model_spec.version.value == round(100 * satisfaction)
    return response.model_spec.version.value


@pytest.mark.usefixtures("two_versions")
def test_the_newest_answers_and_each_by_number(calls):
    assert answered(calls) == NEXT
    assert [answered(calls, version=version) for version in (VERSION, NEXT)] == [VERSION, NEXT]


@pytest.mark.usefixtures("two_versions")
def test_labels_lead_to_versions_and_can_be_moved(calls, config):
    every = "model_version_policy { all {} }"
    labels = 'version_labels { key: "stable" value: %d } version_labels { key: "canary" value: %d }'
    calls.reload(config(f"{every} {labels % (VERSION, NEXT)}"))
    assert [answered(calls, label=label) for label in ("stable", "canary")] == [VERSION, NEXT]
    calls.reload(config(f"{every} {labels % (NEXT, NEXT)}"))
    assert answered(calls, label="stable") == NEXT


@pytest.mark.usefixtures("two_versions")
def test_only_the_specific_versions_stay(calls, config):
    calls.reload(config(f"model_version_policy {{ specific {{ versions: {VERSION} }} }}"))
    wait_until(lambda: calls.states()[NEXT] == "END")
    assert answered(calls) == VERSION
    request = predict_request(example(), version=NEXT)
    assert refusal(calls.predict, request)[0] == "NOT_FOUND"


def test_a_label_for_what_is_not_available_is_refused_and_changes_nothing(calls, config):
    status, details = refusal(calls.reload, config('version_labels { key: "stable" value: 999 }'))
    assert (status, details) == (
        "FAILED_PRECONDITION",
        f"Request to assign label to version 999 of model {MODEL_NAME}, which is not currently available for inference",
    )
    assert answered(calls) == VERSION


def test_an_unknown_label_is_invalid(calls):
    request = predict_request(example())
    request.model_spec.version_label = "nothing"
    status, details = refusal(calls.predict, request)
    assert (status, details) == ("INVALID_ARGUMENT", "Unrecognized servable version label: nothing")


def test_a_second_model_comes_and_goes(calls, config, models_folder):
    other_folder = models_folder.parent / f"{models_folder.name}-other"
    other_folder.mkdir()
    write_version(other_folder, 3)
    try:
        calls.reload(config(other_folder=other_folder))
        assert calls.predict(predict_request(example(), model_name="other")).model_spec.version.value == 3
        assert answered(calls) == VERSION
    finally:
        calls.reload(config())
        shutil.rmtree(other_folder)
    assert refusal(calls.predict, predict_request(example(), model_name="other"))[0] == "NOT_FOUND"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "Only ModelConfigList is currently supported"),
        ('model_config_list { config { name: "a" base_path: "/a" } }', "Illegal setting neither"),
        ('model_config_list { config { name: "a" base_path: "a" model_platform: "tensorflow" } }', "to have an absolute path"),
        (
            "model_config_list { %s }" % (2 * 'config { name: "a" base_path: "/a" model_platform: "tensorflow" } '),
            "multiple times",
        ),
        ('model_config_list { config { name: "a" base_path: "/a" model_platform: "other" } }', "unsupported platform other"),
    ],
)
def test_a_configuration_that_cannot_be_is_invalid(calls, text, message):
    config = text_format.Parse(text, model_server_config_pb2.ModelServerConfig())
    status, details = refusal(calls.reload, config)
    assert (status, message in details) == ("INVALID_ARGUMENT", True)
    assert answered(calls) == VERSION
