"""What a client may send to do harm: it gets a status, the server lives, and its memory comes back."""

import gc
import resource

import grpc
import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.framework import tensor_pb2
from tensorflow_serving.apis import predict_pb2

from serving.model_server.server import ModelServer
from serving.protos import predict_pb2 as serving_predict_pb2
from tests.conformance.model_server.calls import Calls
from tests.conformance.tiny_model import example, predict_request

PREDICT = "/tensorflow.serving.PredictionService/Predict"
MIB = 1 << 20


@pytest.fixture(scope="module")
def address(saved_models):
    from serving.config import ServingConfig
    from serving.model_server.config import ModelServerConfig

    config = ServingConfig(port=0, max_message_mib=8, max_workers=4, server=ModelServerConfig(settle_seconds=0, max_rows=1_000))
    server = ModelServer(config, saved_models)
    yield f"127.0.0.1:{server.start()}"
    server.stop(grace_seconds=0)


@pytest.fixture
def channel(address):
    with grpc.insecure_channel(address, options=[("grpc.max_send_message_length", -1)]) as channel:
        yield channel


@pytest.fixture(autouse=True)
def still_answers(channel):
    """Whatever a test sends, an honest request is answered afterwards."""
    yield
    response = Calls(channel).predict(predict_request(example(user_id="u1")))
    assert tf.make_ndarray(response.outputs["satisfaction"]).tolist() == pytest.approx([0.02])


def sent(channel, content, method=PREDICT):
    """Status with which bytes are answered."""
    try:
        channel.unary_unary(method)(content, timeout=10)
    except grpc.RpcError as error:
        return error.code().name
    return "OK"


def mutations(content, count, seed):
    """Copies of a message with bytes changed, dropped, doubled or cut off."""
    random = np.random.default_rng(seed)
    for _ in range(count):
        changed = bytearray(content)
        for _ in range(random.integers(1, 6)):
            place = int(random.integers(len(changed)))
            kind = random.integers(4)
            if kind == 0:
                changed[place] = int(random.integers(256))
            elif kind == 1:
                del changed[place : place + int(random.integers(1, 9))]
            elif kind == 2:
                changed[place:place] = changed[place : place + int(random.integers(1, 9))]
            else:
                del changed[max(place, 1) :]
            changed = changed or bytearray(b"\0")
        yield bytes(changed)


@pytest.mark.parametrize(
    ("method", "seed"), [("Predict", 0), ("Classify", 1), ("Regress", 2), ("MultiInference", 3), ("GetModelMetadata", 4)]
)
def test_bytes_of_all_kinds_are_answered_with_a_status(channel, method, seed):
    content = predict_request(
        example(user_id="u1", item_id="i1", age=3.0), signature_name="serving_default"
    ).SerializeToString()
    statuses = {
        sent(channel, each, f"/tensorflow.serving.PredictionService/{method}") for each in mutations(content, 150, seed)
    }
    # INTERNAL is gRPC's own answer to bytes that are no message of the method's type.
    assert statuses <= {"OK", "INVALID_ARGUMENT", "NOT_FOUND", "FAILED_PRECONDITION", "UNIMPLEMENTED", "INTERNAL"}
    assert statuses - {"INTERNAL"}


def test_no_mutation_of_a_request_is_unforeseen_or_fills_the_log(channel, caplog):
    content = predict_request(example(user_id="u1"), signature_name="serving_default").SerializeToString()
    for each in mutations(content, 100, seed=5):
        sent(channel, each)
    assert "failed" not in caplog.text
    assert "Traceback" not in caplog.text


def test_an_oversized_message_is_refused_unread(channel):
    assert sent(channel, predict_request(b"x" * (9 * MIB)).SerializeToString()) == "RESOURCE_EXHAUSTED"


def test_a_million_candidates_are_refused(channel):
    request = predict_pb2.PredictRequest()
    request.model_spec.name, request.model_spec.signature_name = "ranker", "rank"
    for name, value in {"user_id": "u", "item_id": "i", "age": 1.0, "surface": ""}.items():
        rows = 1_000_000 if name == "item_id" else 1
        request.inputs[name].CopyFrom(tf.make_tensor_proto(value, shape=[1]))
        request.inputs[name].tensor_shape.dim[0].size = rows
    with pytest.raises(grpc.RpcError, match=r'input "item_id" must have at most serving.server.max_rows=1000 rows'):
        Calls(channel).predict(request)


@pytest.mark.parametrize("sizes", [[1 << 62], [1 << 62, 1 << 62], [-1], [-(1 << 63)], [0, 1 << 62], [1000] * 30])
def test_shapes_beyond_all_memory_are_refused(channel, sizes):
    request = predict_pb2.PredictRequest()
    request.model_spec.name, request.model_spec.signature_name = "ranker", "scale"
    request.inputs["b"].CopyFrom(tf.make_tensor_proto(1.0))
    left = request.inputs["left"]
    left.dtype = tf.float32.as_datatype_enum
    left.float_val.append(1.0)
    for size in sizes:
        left.tensor_shape.dim.add(size=size)
    with pytest.raises(grpc.RpcError, match='input "left" must have'):
        Calls(channel).predict(request)


def test_a_shape_that_goes_on_behind_the_values_is_refused(channel):
    more = tensor_pb2.TensorProto()
    more.tensor_shape.dim.add(size=1 << 40)
    tensor = predict_request(example()).inputs["examples"].SerializeToString() + more.SerializeToString()
    request = predict_pb2.PredictRequest()
    request.model_spec.name = "ranker"
    entry = serving_predict_pb2.PredictRequest(inputs=[serving_predict_pb2.Input(key="examples", value=[tensor])])
    with pytest.raises(grpc.RpcError, match=r'input "examples" must have shape \(None,\)'):
        channel.unary_unary(PREDICT)(request.SerializeToString() + entry.SerializeToString(), timeout=10)


def test_values_that_are_none_are_refused(channel):
    """Numbers packed into bytes that do not hold a whole one: TensorFlow is the first to see it."""
    request = predict_pb2.PredictRequest()
    request.model_spec.name, request.model_spec.signature_name = "ranker", "scale"
    request.inputs["b"].CopyFrom(tf.make_tensor_proto(1.0))
    head = tf.make_tensor_proto([[1.0, 2.0]])
    head.ClearField("tensor_content")
    packed_float_val = b"\x2a\x03abc"
    tensor = head.SerializeToString() + packed_float_val
    entry = serving_predict_pb2.PredictRequest(inputs=[serving_predict_pb2.Input(key="left", value=[tensor])])
    with pytest.raises(grpc.RpcError, match="as TensorProto") as raised:
        channel.unary_unary(PREDICT)(request.SerializeToString() + entry.SerializeToString(), timeout=10)
    assert raised.value.code() is grpc.StatusCode.INVALID_ARGUMENT


@pytest.mark.parametrize("dtype", [0, 20, 21, 22, 101, 999, -1])
def test_types_without_values_are_refused(channel, dtype):
    request = predict_request(example())
    request.inputs["examples"].dtype = dtype
    with pytest.raises(grpc.RpcError, match=r'input "examples" must have dtype string'):
        Calls(channel).predict(request)


def test_memory_is_back_after_a_flood(channel):
    """The peak of the process does not go on growing: the second flood needs no more than the first left behind."""

    def flood():
        rows = [b"\x0a\xff\x01" * 700] * 900
        for _ in range(60):
            sent(channel, predict_request(*rows).SerializeToString())
            sent(channel, b"\xff" * (7 * MIB))
        gc.collect()

    flood()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    flood()
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 64 * 1024
