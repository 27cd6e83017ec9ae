"""One suite for this project's model server and for TF Serving.

It runs against a server of its own, or against the one at SMALLTOWERS_TF_SERVING (host:port, see `tiny_model`). Where that one
can be given other models and versions, SMALLTOWERS_TF_SERVING_MODELS names the folder of versions that it serves.
"""

import os
import pathlib

import grpc
import pytest

from serving.config import ServingConfig
from serving.model_server.config import ModelServerConfig
from serving.model_server.server import ModelServer
from tests.conformance.model_server.calls import Calls
from tests.conformance.tiny_model import MODEL_NAME, VERSION, write_version

OWN_SERVERS = ["direct", "batching"]
BATCHING = """
max_batch_size { value: 16 }
batch_timeout_micros { value: 500 }
allowed_batch_sizes: 4 allowed_batch_sizes: 16
pad_variable_length_inputs: true
"""


@pytest.fixture(scope="session", params=["given"] if "SMALLTOWERS_TF_SERVING" in os.environ else OWN_SERVERS)
def kind(request):
    """Which server answers: the one that is given, or one of our own without or with batching."""
    return request.param


@pytest.fixture(scope="session")
def models_folder(kind, tmp_path_factory):
    """Folder of the versions that the server serves; None where it is out of reach."""
    if kind == "given":
        folder = os.environ.get("SMALLTOWERS_TF_SERVING_MODELS")
        return folder and pathlib.Path(folder)
    folder = tmp_path_factory.mktemp("models")
    write_version(folder, VERSION)
    return folder


@pytest.fixture(scope="session")
def channel(kind, models_folder, tmp_path_factory):
    address, server = os.environ.get("SMALLTOWERS_TF_SERVING"), None
    if address is None:
        quick = ModelServerConfig(settle_seconds=0)
        if kind == "batching":
            file = tmp_path_factory.mktemp("batching") / "batching.config"
            file.write_text(BATCHING)
            quick = quick.model_copy(update={"batching_parameters_file": str(file)})
        config = ServingConfig(port=0, model_name=MODEL_NAME, poll_seconds=0.05, server=quick)
        server = ModelServer(config, models_folder)
        address = f"127.0.0.1:{server.start()}"
    with grpc.insecure_channel(address, options=[("grpc.enable_http_proxy", 0)]) as channel:
        yield channel
    if server is not None:
        server.stop()


@pytest.fixture(scope="session")
def calls(channel):
    return Calls(channel)


@pytest.fixture(scope="session")
def predict(calls):
    return calls.predict
