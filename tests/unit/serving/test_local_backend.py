"""The model server of the same process answers as it does over a socket, and its refusals are the ranker's errors."""

import threading

import numpy as np
import pytest

from serving.config import ServingConfig
from serving.errors import CallerLeftError, DeadlineError, FeatureValueError, PredictionError
from serving.model_server.config import ModelServerConfig
from serving.model_server.loaded_model import LoadedModel
from serving.model_server.server import ModelServer
from serving.ranker.backend import Asked, Backend, Encoders
from serving.ranker.config import BackendAccessConfig
from serving.ranker.local_backend import LocalBackend

MODEL_NAME = "ranker"


@pytest.fixture
def models(saved):
    server = ModelServer(_config(num_versions=2), saved)
    server.port = server.start()
    yield server
    server.stop(0)


def _config(max_workers=4, **settings):
    return ServingConfig(port=0, max_workers=max_workers, server=ModelServerConfig(settle_seconds=0, **settings))


def asked(item_ids=("i1", "x", "i3"), **features):
    return Asked("u1", list(item_ids), {"surface": "feed"}, features, 1_768_000_000_000)


def counted(models, status):
    page = models._metrics.page().decode()
    line = f':tensorflow:serving:request_count{{model_name="{MODEL_NAME}",status="{status}"}} '
    return next((float(each.removeprefix(line)) for each in page.splitlines() if each.startswith(line)), 0)


@pytest.mark.parametrize("number", [1, 2])
@pytest.mark.parametrize("features", [{}, {"age": 70.0}, {"age": {"x": 33.0}}])
def test_predictions_are_those_over_a_socket(saved, tables, tmp_path, number, features):
    """Version 1 is asked by examples, version 2 by columns, or by examples where a column of the user differs by item."""
    server = ModelServer(_config(model_config_file=_models_file(tmp_path, saved, number)), saved)
    remote = Backend(f"127.0.0.1:{server.start()}", MODEL_NAME, 16, BackendAccessConfig())
    encoders = Encoders(tables)
    over_socket = remote.predict(encoders, asked(**features), 10)
    here = LocalBackend(server.local, MODEL_NAME).predict(encoders, asked(**features), 10)
    remote.close()
    server.stop(0)
    assert here.model_version == over_socket.model_version == number
    assert here.by_name.keys() == over_socket.by_name.keys()
    for name, values in here.by_name.items():
        np.testing.assert_array_equal(values, over_socket.by_name[name])


def _models_file(folder, saved, number):
    path = folder / f"{number}.config"
    policy = f'model_platform: "tensorflow" model_version_policy {{ specific {{ versions: {number} }} }}'
    path.write_text(f'model_config_list {{ config {{ name: "{MODEL_NAME}" base_path: "{saved}" {policy} }} }}')
    return str(path)


def test_refusals_are_typed_and_counted(models, tables):
    backend, encoders = LocalBackend(models.local, MODEL_NAME), Encoders(tables)
    with pytest.raises(
        PredictionError, match=r"this process must predict. Received: FAILED_PRECONDITION: .* label: canary"
    ) as told:
        backend.predict(encoders, asked(), 10, "canary")
    # Not the request's fault: another label may answer.
    assert told.value.status == "FAILED_PRECONDITION"
    with pytest.raises(DeadlineError, match=r"this process must predict. Received: DEADLINE_EXCEEDED"):
        backend.predict(encoders, asked(), 0)
    with pytest.raises(PredictionError, match=r"NOT_FOUND"):
        LocalBackend(models.local, "unheard").predict(encoders, asked(), 10)
    with pytest.raises(FeatureValueError, match=r"feature age must hold a number. Received: 'old'"):
        backend.predict(encoders, asked(age="old"), 10)
    backend.predict(encoders, asked(), 10)
    assert [counted(models, status) for status in ("OK", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED")] == [1, 1, 1]


def test_nothing_runs_for_a_client_that_left(models, tables, monkeypatch):
    monkeypatch.setattr(LoadedModel, "run", lambda *_: pytest.fail("the model was run"))
    left = asked()._replace(is_wanted_fn=lambda: False)
    with pytest.raises(CallerLeftError, match=r"a client must wait for its answer. Received: the client left before"):
        LocalBackend(models.local, MODEL_NAME).predict(Encoders(tables), left, 10)
    assert counted(models, "CANCELLED") == 1


def test_a_full_queue_refuses_at_once(saved, tables, monkeypatch):
    may_run, run = threading.Event(), LoadedModel.run
    server = ModelServer(_config(max_workers=1, max_waiting=0), saved)
    server.start()
    backend, encoders = LocalBackend(server.local, MODEL_NAME), Encoders(tables)
    is_running = threading.Event()

    def held(*args):
        is_running.set()
        assert may_run.wait(10)
        return run(*args)

    monkeypatch.setattr(LoadedModel, "run", held)
    first = threading.Thread(target=backend.predict, args=(encoders, asked(), 10))
    first.start()
    assert is_running.wait(10)
    with pytest.raises(PredictionError, match=r"RESOURCE_EXHAUSTED: The batch scheduling queue") as told:
        backend.predict(encoders, asked(), 10)
    assert told.value.status == "RESOURCE_EXHAUSTED"
    may_run.set()
    first.join()
    server.stop(0)
