"""What a server tells of its models: metadata and states."""

import pytest
import tensorflow as tf
from tensorflow_serving.apis import get_model_metadata_pb2

from tests.conformance.model_server.calls import refusal
from tests.conformance.tiny_model import MODEL_NAME, VERSION


def test_metadata_holds_the_signatures(calls):
    response = calls.metadata()
    signatures = get_model_metadata_pb2.SignatureDefMap()
    assert response.metadata["signature_def"].Unpack(signatures)
    assert response.model_spec.version.value == VERSION
    served = signatures.signature_def["serving_default"]
    assert {name: info.dtype for name, info in served.inputs.items()} == {"examples": tf.string.as_datatype_enum}
    assert set(served.outputs) == {"click", "watch_seconds", "satisfaction"}
    assert signatures.signature_def["regress"].method_name == "tensorflow/serving/regress"


@pytest.mark.parametrize("fields", [[], ["other"]])
def test_other_metadata_fields_are_invalid(calls, fields):
    assert refusal(calls.metadata, fields)[0] == "INVALID_ARGUMENT"


def test_metadata_of_an_unknown_model_is_not_found(calls):
    assert refusal(calls.metadata, ["signature_def"], "other")[0] == "NOT_FOUND"


@pytest.mark.parametrize("version", [None, VERSION])
def test_status_of_the_served_version_is_available(calls, version):
    entries = {entry.version: entry for entry in calls.status(MODEL_NAME, version).model_version_status}
    assert calls.states()[VERSION] == "AVAILABLE"
    assert entries[VERSION].status.error_code == 0


@pytest.mark.parametrize(("model_name", "version"), [("other", None), (MODEL_NAME, 999)])
def test_status_of_what_is_not_there_is_not_found(calls, model_name, version):
    assert refusal(calls.status, model_name, version)[0] == "NOT_FOUND"
