import threading
import urllib.request

import grpc
import pytest
import tensorflow as tf
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from tensorflow_serving.apis import get_model_status_pb2, model_service_pb2_grpc, prediction_service_pb2_grpc

from serving.errors import ListenError, ModelUnavailableError, ServerFileError
from serving.model_server.answers import answers_errors, caller_of
from serving.model_server.config import ModelServerConfig
from serving.model_server.metrics import PATH
from serving.model_server.reflection import MAX_STREAMS
from serving.model_server.server import ModelServer
from tests.conformance.tiny_model import example, predict_request, write_version

AVAILABLE = get_model_status_pb2.ModelVersionStatus.AVAILABLE
END = get_model_status_pb2.ModelVersionStatus.END


@pytest.fixture
def server(config, tmp_path):
    write_version(tmp_path, 1)
    server = ModelServer(config, tmp_path)
    yield server
    server.stop(grace_seconds=0)


@pytest.fixture
def channel(server):
    with grpc.insecure_channel(f"127.0.0.1:{server.start()}") as channel:
        yield channel


def version_states(channel):
    request = get_model_status_pb2.GetModelStatusRequest()
    request.model_spec.name = "ranker"
    response = model_service_pb2_grpc.ModelServiceStub(channel).GetModelStatus(request, timeout=10)
    return {entry.version: entry for entry in response.model_version_status}


def is_state(channel, version, state):
    entry = version_states(channel).get(version)
    return entry is not None and entry.state == state


def health(channel, service):
    request = health_pb2.HealthCheckRequest(service=service)
    return health_pb2_grpc.HealthStub(channel).Check(request, timeout=10).status


def test_swap_under_steady_load_fails_no_call(channel, tmp_path, wait_until):
    stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
    has_ended, answers, errors = threading.Event(), [], []

    def ask():
        while not has_ended.is_set():
            try:
                response = stub.Predict(predict_request(example(user_id="u1")), timeout=10)
            except grpc.RpcError as error:
                errors.append(error)
                return
            satisfaction = tf.make_ndarray(response.outputs["satisfaction"]).item()
            answers.append((response.model_spec.version.value, round(satisfaction, 4)))

    callers = [threading.Thread(target=ask) for _ in range(3)]
    for caller in callers:
        caller.start()
    try:
        wait_until(lambda: errors or len(answers) > 20)
        write_version(tmp_path, 2)
        wait_until(lambda: errors or is_state(channel, 2, AVAILABLE))
        num_before = len(answers)
        wait_until(lambda: errors or len(answers) > num_before + 20)
    finally:
        has_ended.set()
        for caller in callers:
            caller.join()

    assert errors == []
    assert set(answers) == {(1, 0.01), (2, 0.02)}
    wait_until(lambda: is_state(channel, 1, END))
    assert version_states(channel)[2].state == AVAILABLE


def test_version_without_a_model_is_shown_with_its_reason_and_the_older_serves(channel, tmp_path, wait_until):
    (tmp_path / "5").mkdir()
    wait_until(lambda: is_state(channel, 5, END))
    entry = version_states(channel)[5]
    assert entry.status.error_code != 0
    assert "must hold saved_model.pb" in entry.status.error_message
    assert version_states(channel)[1].state == AVAILABLE


def test_health_follows_the_life_of_the_server(server, config, wait_until):
    with grpc.insecure_channel(f"127.0.0.1:{server.start()}") as channel:
        names = ("", "ranker", "tensorflow.serving.PredictionService", "tensorflow.serving.ModelService")
        assert {health(channel, name) for name in names} == {health_pb2.HealthCheckResponse.SERVING}
        with pytest.raises(grpc.RpcError) as raised:
            health(channel, "other")
        assert raised.value.code() is grpc.StatusCode.NOT_FOUND
        changes = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest(service="ranker"))
        assert next(changes).status == health_pb2.HealthCheckResponse.SERVING
        stopper = threading.Thread(target=server.stop)
        stopper.start()
        assert next(changes).status == health_pb2.HealthCheckResponse.NOT_SERVING
        changes.cancel()
        stopper.join()
        assert server.wait(timeout_seconds=10)


def test_server_without_a_model_does_not_stay(config, tmp_path):
    server = ModelServer(config, tmp_path / "empty")
    with pytest.raises(ModelUnavailableError, match="Run the pipeline first"):
        server.start()
    assert server.wait(timeout_seconds=10)


def test_taken_port_is_named(server, config, tmp_path):
    taken = config.model_copy(update={"port": server.start()})
    with pytest.raises(ListenError, match=f"Received: 127.0.0.1:{taken.port}"):
        ModelServer(taken, tmp_path).start()


def test_message_over_the_limit_is_refused(channel):
    stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
    with pytest.raises(grpc.RpcError) as raised:
        stub.Predict(predict_request(b"x" * (1 << 20)), timeout=10)
    assert raised.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


@pytest.mark.parametrize(
    ("tensor", "message"),
    [
        (tf.constant([1.0]), 'input "examples" must have dtype string. Received: dtype float32'),
        (tf.constant("one"), r'input "examples" must have shape \(None,\). Received: shape \[\]'),
    ],
)
def test_wrong_input_is_named(channel, tensor, message):
    request = predict_request()
    request.inputs["examples"].CopyFrom(tf.make_tensor_proto(tensor))
    with pytest.raises(grpc.RpcError, match=message):
        prediction_service_pb2_grpc.PredictionServiceStub(channel).Predict(request, timeout=10)


@pytest.mark.parametrize(("size", "message"), [(-1, "must have shape"), (1 << 40, "must have at most .* rows")])
def test_tensor_that_does_not_fill_its_shape_is_refused(channel, size, message):
    request = predict_request(example(), example())
    request.inputs["examples"].tensor_shape.dim[0].size = size
    with pytest.raises(grpc.RpcError, match=f'input "examples" {message}'):
        prediction_service_pb2_grpc.PredictionServiceStub(channel).Predict(request, timeout=10)


class Context:
    """A call as a servicer sees it."""

    def __init__(self, remaining_seconds):
        self._remaining_seconds = remaining_seconds

    def time_remaining(self):
        return self._remaining_seconds

    def is_active(self):
        return True

    def abort(self, status, details):
        raise RuntimeError(f"{status.name}: {details}")


def test_expired_call_is_not_run():
    calls = []
    method = answers_errors(lambda servicer, request, context: calls.append(caller_of(context)))
    with pytest.raises(RuntimeError, match="DEADLINE_EXCEEDED: the deadline passed"):
        method(None, None, Context(-0.1))
    assert calls == []
    method(None, None, Context(None))
    assert calls[0].remaining_seconds is None


def test_an_unexpected_error_says_nothing_of_the_server(caplog):
    def fail(*_):
        raise ZeroDivisionError("a path of the server")

    with pytest.raises(RuntimeError, match=r"INTERNAL: the server failed to answer; its log says why$"):
        answers_errors(fail)(None, None, Context(None))
    assert "a path of the server" in caplog.text


def test_models_of_a_file_are_served_with_their_labels(config, saved_models, tmp_path):
    file = tmp_path / "models.config"
    file.write_text(f"""model_config_list {{ config {{
        name: "ranker" base_path: "{saved_models}" model_platform: "tensorflow" model_version_policy {{ all {{}} }}
        version_labels {{ key: "stable" value: 1 }} }} }}""")
    named = config.model_copy(update={"server": ModelServerConfig(settle_seconds=0, model_config_file=str(file))})
    server = ModelServer(named, "/nowhere")
    with grpc.insecure_channel(f"127.0.0.1:{server.start()}") as channel:
        request = predict_request(example())
        request.model_spec.version_label = "stable"
        stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        assert stub.Predict(request, timeout=10).model_spec.version.value == 1
    server.stop(grace_seconds=0)

    file.write_text(file.read_text().replace("value: 1", "value: 9"))
    with pytest.raises(ServerFileError, match=f"{file}: Request to assign label to version 9 of model ranker"):
        ModelServer(named, "/nowhere").start()


def test_reflection_names_the_services(channel):
    stub = reflection_pb2_grpc.ServerReflectionStub(channel)
    questions = [reflection_pb2.ServerReflectionRequest(list_services="")]
    (answer,) = stub.ServerReflectionInfo(iter(questions), timeout=10)
    names = {service.name for service in answer.list_services_response.service}
    assert {"tensorflow.serving.PredictionService", "tensorflow.serving.ModelService", "grpc.health.v1.Health"} <= names


def test_streams_of_reflection_cannot_take_all_threads(channel):
    stub = reflection_pb2_grpc.ServerReflectionStub(channel)
    has_ended = threading.Event()

    def questions():
        yield reflection_pb2.ServerReflectionRequest(list_services="")
        has_ended.wait(10)

    streams = [stub.ServerReflectionInfo(questions(), timeout=10) for _ in range(MAX_STREAMS)]
    assert all(next(stream).HasField("list_services_response") for stream in streams)
    with pytest.raises(grpc.RpcError, match="at most 4 clients"):
        next(stub.ServerReflectionInfo(questions(), timeout=10))
    has_ended.set()


def test_a_server_with_other_settings(config, saved_models):
    settings = ModelServerConfig(settle_seconds=0, num_versions=2, has_reflection=False, metrics_port=0)
    server = ModelServer(config.model_copy(update={"server": settings}), saved_models)
    with grpc.insecure_channel(f"127.0.0.1:{server.start()}") as channel:
        stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        answered = [stub.Predict(predict_request(example(), version=each), timeout=10) for each in (1, 2)]
        assert [response.model_spec.version.value for response in answered] == [1, 2]
        stream = reflection_pb2_grpc.ServerReflectionStub(channel).ServerReflectionInfo(iter([]), timeout=10)
        with pytest.raises(grpc.RpcError, match="UNIMPLEMENTED"):
            next(stream)
        with urllib.request.urlopen(f"http://127.0.0.1:{server.metrics_port}{PATH}", timeout=10) as page:
            assert b':tensorflow:serving:request_count{model_name="ranker",status="OK"} 2.0' in page.read()
    taken = settings.model_copy(update={"metrics_port": server.metrics_port})
    with pytest.raises(ListenError, match=r"serving\.server\.metrics_port must be free here"):
        ModelServer(config.model_copy(update={"server": taken}), saved_models).start()
    server.stop(grace_seconds=0)
