import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from tensorflow_serving.apis import model_service_pb2_grpc, prediction_service_pb2_grpc

from serving.credentials import read_tokens, server_credentials
from serving.errors import ServerFileError
from serving.model_server.config import ModelServerConfig, TlsConfig
from serving.model_server.server import ModelServer
from tests.conformance.model_server.calls import Calls, refusal
from tests.conformance.tiny_model import example, predict_request
from tests.unit.serving.certificates import Authority

UNAUTHENTICATED = "UNAUTHENTICATED"


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("certificates"), "authority")


@pytest.fixture
def start(config, saved_models):
    """Function of the server's configuration that starts one; gives its address."""
    servers = []

    def start_server(**settings):
        server_config = ModelServerConfig(settle_seconds=0, **settings)
        servers.append(ModelServer(config.model_copy(update={"server": server_config, "model_name": "ranker"}), saved_models))
        return f"127.0.0.1:{servers[-1].start()}"

    yield start_server
    for server in servers:
        server.stop(grace_seconds=0)


def predicted(channel):
    stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
    return stub.Predict(predict_request(example()), timeout=10).model_spec.version.value


def client_credentials(authority, files=(None, None)):
    certificate, key = (file and file.read_bytes() for file in files)
    return grpc.ssl_channel_credentials(authority.file.read_bytes(), key, certificate)


def tls(authority, **more):
    certificate, key = authority.issue("server")
    return TlsConfig(certificate_file=str(certificate), key_file=str(key), **more)


def test_encrypted_calls_are_answered_and_others_are_not(start, authority, tmp_path):
    address = start(tls=tls(authority))
    with grpc.secure_channel(address, client_credentials(authority)) as channel:
        assert predicted(channel) == 2
    with grpc.insecure_channel(address) as channel:
        assert refusal(predicted, channel)[0] == "UNAVAILABLE"
    with grpc.secure_channel(address, client_credentials(Authority(tmp_path, "stranger"))) as channel:
        assert refusal(predicted, channel)[0] == "UNAVAILABLE"
    with grpc.secure_channel(address, client_credentials(authority)) as channel:
        assert predicted(channel) == 2


def test_mutual_tls_asks_clients_for_a_certificate_of_the_authority(start, authority, tmp_path):
    address = start(tls=tls(authority, client_ca_file=str(authority.file)))
    with grpc.secure_channel(address, client_credentials(authority, authority.issue("client"))) as channel:
        assert predicted(channel) == 2
    stranger = Authority(tmp_path, "stranger").issue("client")
    for files in ((None, None), stranger):
        with grpc.secure_channel(address, client_credentials(authority, files)) as channel:
            assert refusal(predicted, channel)[0] == "UNAVAILABLE"


@pytest.fixture
def guarded(start, tmp_path):
    file = tmp_path / "tokens"
    file.write_text("# of the ranker\nsecret-1\n\n secret-2 \n")
    with grpc.insecure_channel(start(token_file=str(file))) as channel:
        yield channel


@pytest.mark.parametrize("token", ["secret-1", "secret-2"])
def test_a_call_with_a_token_is_answered(guarded, token):
    stub = prediction_service_pb2_grpc.PredictionServiceStub(guarded)
    metadata = [("authorization", f"Bearer {token}")]
    assert stub.Predict(predict_request(example()), timeout=10, metadata=metadata).model_spec.version.value == 2


@pytest.mark.parametrize(
    "value", [None, "secret-1", "Bearer secret", "Bearer ", "Bearer secret-1 ", "bearer secret-1", "Bearer \u00fc"]
)
def test_a_call_without_a_token_is_refused(guarded, value):
    stub = prediction_service_pb2_grpc.PredictionServiceStub(guarded)
    metadata = [("authorization", value.encode("ascii", "replace").decode())] if value else []
    with pytest.raises(grpc.RpcError, match="authorization must be") as raised:
        stub.Predict(predict_request(example()), timeout=10, metadata=metadata)
    assert raised.value.code().name == UNAUTHENTICATED


def test_every_method_wants_a_token_but_health_does_not(guarded):
    calls = Calls(guarded)
    assert refusal(calls.status)[0] == refusal(calls.metadata)[0] == refusal(calls.reload, None)[0] == UNAUTHENTICATED
    stream = reflection_pb2_grpc.ServerReflectionStub(guarded).ServerReflectionInfo(
        iter([reflection_pb2.ServerReflectionRequest(list_services="")]), timeout=10
    )
    assert refusal(next, stream)[0] == UNAUTHENTICATED
    health = health_pb2_grpc.HealthStub(guarded).Check(health_pb2.HealthCheckRequest(), timeout=10)
    assert health.status == health_pb2.HealthCheckResponse.SERVING
    assert model_service_pb2_grpc.ModelServiceStub(guarded) is not None


@pytest.mark.parametrize(
    ("content", "message"), [(None, "token_file must name a readable text file"), ("# none\n", "must hold at least one token")]
)
def test_a_file_of_tokens_that_cannot_be_used_is_named(tmp_path, content, message):
    file = tmp_path / "tokens"
    if content is not None:
        file.write_text(content)
    with pytest.raises(ServerFileError, match=message):
        read_tokens(file)


def test_certificate_files_that_cannot_be_used_are_named(authority, tmp_path):
    files = tls(authority)
    with pytest.raises(ServerFileError, match=r"tls\.key_file must name a readable file. Received: .*absent"):
        server_credentials(files.model_copy(update={"key_file": str(tmp_path / "absent")}))
    (tmp_path / "text").write_text("no certificate")
    with pytest.raises(ServerFileError, match=r"tls\.client_ca_file must name a file in PEM"):
        server_credentials(files.model_copy(update={"client_ca_file": str(tmp_path / "text")}))
