"""What one client, arm or queue does must not befall the others."""

import threading

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from serving.protos import ranker_pb2, ranker_pb2_grpc
from serving.runners import QUEUE_IS_FULL
from tests.unit.serving.fake_model_server import FakeModelServer
from tests.unit.serving.ranker_calls import ITEM_IDS, ask, check_items, ranked_by_hand, started_ranker

EXPERIMENT = {"salt": "s", "weights": {"a": 1, "b": 1}}


@pytest.fixture
def model():
    server = FakeModelServer({None: 7, "stable": 6}).start()
    yield server
    server.stop()


@pytest.fixture
def serve(model, tmp_path):
    """Starts a ranker before the model server; gives its stub and its channel."""
    started = []

    def start(**keys):
        server, port = started_ranker(tmp_path, [model.address], **keys)
        channel = grpc.insecure_channel(f"127.0.0.1:{port}")
        started.append((server, channel))
        return ranker_pb2_grpc.RankerStub(channel), channel

    yield start
    for server, channel in started:
        channel.close()
        server.stop(0)


def test_an_arm_whose_label_is_gone_falls_back(serve):
    arms = {"a": {"label": "canary"}, "b": {"label": "stable"}}
    stub, _ = serve(ranker={"fallback_label": "stable", "experiment": EXPERIMENT, "arms": arms})
    by_arm = {}
    for number in range(20):
        response = ask(stub, user_id=f"user {number}")
        by_arm.setdefault(response.arm, set()).add((response.model_version, *response.degradations))
    assert by_arm == {"a": {(6, ranker_pb2.OTHER_LABEL)}, "b": {(6,)}}


def test_a_full_queue_behind_is_no_reason_to_leave_it_alone(serve, model):
    stub, _ = serve(ranker={"breaker_failures": 1})
    model.failing, model.message = {None: "UNAVAILABLE"}, QUEUE_IS_FULL
    assert list(ask(stub).degradations) == [ranker_pb2.POPULARITY]
    model.failing = {}
    response = ask(stub)
    assert not response.is_degraded
    check_items(response.items, ranked_by_hand(7, "u1", ITEM_IDS))


def test_clients_in_a_hurry_degrade_nobody_else(serve, model):
    stub, _ = serve(ranker={"breaker_failures": 2})
    ask(stub)
    model.may_answer.clear()
    calls = [stub.Rank.future(_request(deadline_ms=20), timeout=5) for _ in range(6)]
    for call in calls:
        call.exception()
    model.may_answer.set()
    assert not ask(stub).is_degraded


def test_clients_that_do_not_read_their_stream_stop_nobody(serve):
    stub, channel = serve(ranker={"max_workers": 2}, deadline_ms=1_000, max_candidates=1_000)
    # Far beyond what lies in the buffers of a connection.
    many = _request(candidates=[f"item {number:050}" for number in range(6_000)])
    stalled = [stub.RankStream(many, timeout=60) for _ in range(30)]
    has_been_refused = threading.Event()
    for stream in stalled:
        stream.add_callback(has_been_refused.set)
    assert has_been_refused.wait(20)
    check = health_pb2_grpc.HealthStub(channel).Check
    assert check(health_pb2.HealthCheckRequest(), timeout=10).status == health_pb2.HealthCheckResponse.SERVING
    assert len(ask(stub, timeout=20).items) == len(ITEM_IDS)
    for stream in stalled:
        stream.cancel()


def _request(candidates=ITEM_IDS, **keys):
    return ranker_pb2.RankRequest(user_id="u1", candidates=candidates, **keys)
