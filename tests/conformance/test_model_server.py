"""What TF Serving's gRPC API promises, asked with the official stubs over a socket.

Runs against this project's model server, or against the server at SMALLTOWERS_TF_SERVING (see `tiny_model`).
"""

import os

import grpc
import pytest
import tensorflow as tf
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
)

from serving.config import ServingConfig
from serving.model_server.server import ModelServer
from tests.conformance.tiny_model import MODEL_NAME, VERSION, example, expected, predict_request, write_version

TIMEOUT_SECONDS = 10


@pytest.fixture(scope="module")
def channel(tmp_path_factory):
    address = os.environ.get("SMALLTOWERS_TF_SERVING")
    server = None
    if address is None:
        base_path = tmp_path_factory.mktemp("models")
        write_version(base_path, VERSION)
        server = ModelServer(ServingConfig(port=0, model_name=MODEL_NAME), base_path)
        address = f"127.0.0.1:{server.start()}"
    with grpc.insecure_channel(address, options=[("grpc.enable_http_proxy", 0)]) as channel:
        yield channel
    if server is not None:
        server.stop()


@pytest.fixture(scope="module")
def predict(channel):
    stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
    return lambda request: stub.Predict(request, timeout=TIMEOUT_SECONDS)


@pytest.fixture(scope="module")
def status(channel):
    stub = model_service_pb2_grpc.ModelServiceStub(channel)

    def ask(model_name, version=None):
        request = get_model_status_pb2.GetModelStatusRequest()
        request.model_spec.name = model_name
        if version is not None:
            request.model_spec.version.value = version
        return stub.GetModelStatus(request, timeout=TIMEOUT_SECONDS)

    return ask


def refusal(call, *args):
    with pytest.raises(grpc.RpcError) as raised:
        call(*args)
    return raised.value.code().name, raised.value.details()


def test_predictions_have_the_models_values(predict):
    rows = [("u1", "i1"), ("u2", "i3"), ("nobody", "i2"), ("u1", "nothing")]
    response = predict(predict_request(*(example(user_id=user, item_id=item, age=31.0) for user, item in rows)))

    assert response.model_spec.name == MODEL_NAME
    assert response.model_spec.version.value == VERSION
    assert response.model_spec.signature_name == "serving_default"
    assert set(response.outputs) == {"click", "watch_seconds", "satisfaction"}
    for name, proto in response.outputs.items():
        wanted = [expected(VERSION, user, item, age=31.0)[name] for user, item in rows]
        assert tf.make_ndarray(proto).tolist() == pytest.approx(wanted, rel=1e-6)


def test_absent_features_take_their_defaults(predict):
    response = predict(predict_request(example()))
    wanted = expected(VERSION, "", "")["watch_seconds"]
    assert tf.make_ndarray(response.outputs["watch_seconds"]).tolist() == pytest.approx([wanted])


def test_an_empty_batch_has_empty_outputs(predict):
    response = predict(predict_request())
    assert tf.make_ndarray(response.outputs["click"]).shape == (0,)


def test_examples_that_were_joined_merge_and_the_last_value_wins(predict):
    joined = example(user_id="u1", item_id="i1", age=1.0) + example(item_id="i2")
    response = predict(predict_request(joined))
    wanted = expected(VERSION, "u1", "i2", age=1.0)
    assert tf.make_ndarray(response.outputs["watch_seconds"]).tolist() == pytest.approx([wanted["watch_seconds"]])


def test_output_filter_keeps_the_named_outputs(predict):
    response = predict(predict_request(example(), output_filter=["click", "satisfaction"]))
    assert set(response.outputs) == {"click", "satisfaction"}


@pytest.mark.parametrize("output_filter", [["nothing"], ["click", "click"]])
def test_wrong_output_filter_is_invalid(predict, output_filter):
    status, _ = refusal(predict, predict_request(example(), output_filter=output_filter))
    assert status == "INVALID_ARGUMENT"


def test_the_served_version_can_be_asked_for(predict):
    assert predict(predict_request(example(), version=VERSION)).model_spec.version.value == VERSION


def test_unknown_version_is_not_found(predict):
    status, details = refusal(predict, predict_request(example(), version=999))
    assert (status, "999" in details) == ("NOT_FOUND", True)


def test_unknown_model_is_not_found(predict):
    status, details = refusal(predict, predict_request(example(), model_name="other"))
    assert (status, "other" in details) == ("NOT_FOUND", True)


def test_unknown_signature_is_a_failed_precondition(predict):
    status, details = refusal(predict, predict_request(example(), signature_name="other"))
    assert (status, "other" in details) == ("FAILED_PRECONDITION", True)


def test_feature_of_a_wrong_type_is_named(predict):
    status, details = refusal(predict, predict_request(example(user_id="u1", age="thirty")))
    assert (status, "age" in details) == ("INVALID_ARGUMENT", True)


def test_bytes_that_are_no_example_are_invalid(predict):
    status, details = refusal(predict, predict_request(b"\xff\xff"))
    assert (status, "parse" in details) == ("INVALID_ARGUMENT", True)


def test_unknown_and_missing_inputs_are_named(predict):
    request = predict_request(example())
    request.inputs["rows"].CopyFrom(request.inputs["examples"])
    del request.inputs["examples"]
    status, details = refusal(predict, request)
    assert (status, "rows" in details) == ("INVALID_ARGUMENT", True)


@pytest.mark.parametrize("tensor", [tf.constant([1.0]), tf.constant("one")], ids=["dtype", "rank"])
def test_input_of_a_wrong_type_or_shape_is_invalid(predict, tensor):
    request = predict_request()
    request.inputs["examples"].CopyFrom(tf.make_tensor_proto(tensor))
    status, _ = refusal(predict, request)
    assert status == "INVALID_ARGUMENT"


def test_a_signature_of_plain_tensors(predict):
    request = predict_pb2.PredictRequest()
    request.model_spec.name, request.model_spec.signature_name = MODEL_NAME, "scale"
    request.inputs["left"].CopyFrom(tf.make_tensor_proto([[1.0, 2.0], [3.0, 4.0]]))
    request.inputs["b"].CopyFrom(tf.make_tensor_proto(2.0))
    response = predict(request)
    assert response.model_spec.signature_name == "scale"
    assert tf.make_ndarray(response.outputs["scaled"]).tolist() == [[2.0, 4.0], [6.0, 8.0]]


def test_columns_with_one_row_go_with_every_row_of_the_others(predict):
    request = predict_pb2.PredictRequest()
    request.model_spec.name, request.model_spec.signature_name = MODEL_NAME, "rank"
    for name, values in {"user_id": ["u2"], "item_id": ["i1", "i3", "x"], "age": [31.0], "surface": ["feed"]}.items():
        request.inputs[name].CopyFrom(tf.make_tensor_proto(values))
    response = predict(request)
    for name, proto in response.outputs.items():
        wanted = [expected(VERSION, "u2", item, age=31.0, surface="feed")[name] for item in ("i1", "i3", "x")]
        assert tf.make_ndarray(proto).tolist() == pytest.approx(wanted, rel=1e-6)


def test_metadata_holds_the_signatures(channel):
    request = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=["signature_def"])
    request.model_spec.name = MODEL_NAME
    stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
    response = stub.GetModelMetadata(request, timeout=TIMEOUT_SECONDS)

    signatures = get_model_metadata_pb2.SignatureDefMap()
    assert response.metadata["signature_def"].Unpack(signatures)
    assert response.model_spec.version.value == VERSION
    served = signatures.signature_def["serving_default"]
    assert {name: info.dtype for name, info in served.inputs.items()} == {"examples": tf.string.as_datatype_enum}
    assert set(served.outputs) == {"click", "watch_seconds", "satisfaction"}


@pytest.mark.parametrize("fields", [[], ["other"]])
def test_other_metadata_fields_are_invalid(channel, fields):
    request = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=fields)
    request.model_spec.name = MODEL_NAME
    stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
    status, _ = refusal(stub.GetModelMetadata, request, TIMEOUT_SECONDS)
    assert status == "INVALID_ARGUMENT"


@pytest.mark.parametrize("version", [None, VERSION])
def test_status_of_the_served_version_is_available(status, version):
    (entry,) = status(MODEL_NAME, version).model_version_status
    assert (entry.version, entry.state) == (VERSION, get_model_status_pb2.ModelVersionStatus.AVAILABLE)
    assert entry.status.error_code == 0


@pytest.mark.parametrize(("model_name", "version"), [("other", None), (MODEL_NAME, 999)])
def test_status_of_what_is_not_there_is_not_found(status, model_name, version):
    assert refusal(status, model_name, version)[0] == "NOT_FOUND"


def test_classify_is_refused_or_answered_with_a_status(channel):
    from tensorflow_serving.apis import classification_pb2

    stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
    request = classification_pb2.ClassificationRequest()
    request.model_spec.name = MODEL_NAME
    assert refusal(stub.Classify, request, TIMEOUT_SECONDS)[0] in {"UNIMPLEMENTED", "INVALID_ARGUMENT"}
