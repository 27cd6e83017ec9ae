"""What Prometheus reads of the ranker service, over HTTP, after calls over sockets."""

import urllib.request

import grpc
import pytest
from prometheus_client.parser import text_string_to_metric_families

from serving.config import ServingConfig
from serving.errors import ListenError
from serving.features.sqlite_store import publish_to_sqlite
from serving.protos import ranker_pb2_grpc
from serving.ranker.metrics import PATH
from serving.ranker.service import RankerServer
from tests.conformance.test_feature_stores import CONFIG as FEATURES
from tests.conformance.test_feature_stores import publication
from tests.unit.serving.fake_model_server import FakeModelServer
from tests.unit.serving.ranker_calls import ask, status_of


@pytest.fixture
def models():
    servers = [FakeModelServer({None: 7}).start() for _ in range(2)]
    yield servers
    for server in servers:
        server.stop()


@pytest.fixture
def served(models, tmp_path):
    """A ranker service with a page of metrics."""
    publish_to_sqlite(publication(), tmp_path / "features.sqlite")
    ranker = {"port": 0, "metrics_port": 0, "backends": tuple(model.address for model in models), "breaker_failures": 1}
    config = ServingConfig.model_validate({"features": FEATURES.model_dump(), "ranker": ranker, "deadline_ms": 5_000})
    server = RankerServer(config, tmp_path, tmp_path / "exposures")
    with grpc.insecure_channel(f"127.0.0.1:{server.start()}") as channel:
        yield server, ranker_pb2_grpc.RankerStub(channel)
    server.stop(0)


def samples(server):
    with urllib.request.urlopen(f"http://127.0.0.1:{server.metrics_port}{PATH}", timeout=10) as page:
        text = page.read().decode()
    return {
        (sample.name.removeprefix("smalltowers_ranker_"), *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_the_page_tells_what_the_service_did(served, models):
    server, stub = served
    before = samples(server)
    assert (before["degraded_total", "POPULARITY"], before["features_version",]) == (0, publication().version)
    ask(stub)
    ask(stub, user_id="nobody", candidates=["i1", "x", "y"])
    assert status_of(lambda: ask(stub, candidates=["i1", "i1"]))[0] == "INVALID_ARGUMENT"
    for model in models:
        model.failing = {None: "UNAVAILABLE"}
    ask(stub)
    after = samples(server)
    assert after["requests_total", "Rank", "OK"] == after["request_seconds_count", "Rank"] == 3
    assert after["requests_total", "Rank", "INVALID_ARGUMENT"] == 1
    assert (after["unknown_ids_total", "users"], after["unknown_ids_total", "items"]) == (1, 2)
    assert (after["degraded_total", "POPULARITY"], after["degraded_total", "OTHER_LABEL"]) == (1, 0)
    assert after["retries_total",] == 1
    assert [after["breaker_open", model.address] for model in models] == [1, 1]
    assert (after["exposures_total", "appended"], after["exposures_total", "refused"]) == (3, 0)
    assert (after["failed_feature_polls_total",], after["exposure_disk_failures_total",]) == (0, 0)


def test_a_port_of_the_page_that_is_taken_is_told(served, tmp_path):
    server, _ = served
    ranker = {"port": 0, "metrics_port": server.metrics_port}
    config = ServingConfig.model_validate({"features": FEATURES.model_dump(), "ranker": ranker})
    with pytest.raises(ListenError, match=r"serving\.ranker\.metrics_port must be free here\. Received: 127\.0\.0\.1:"):
        RankerServer(config, tmp_path, tmp_path / "other").start()
