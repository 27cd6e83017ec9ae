"""What befalls a ranker in service, over real sockets with counted requests: no wrong answer, every error typed, all logged."""

import math
import resource
import subprocess
import sys
from pathlib import Path

import grpc
import pytest

from serving.features.config import FeaturesConfig
from serving.protos import ranker_pb2, ranker_pb2_grpc
from serving.ranker.service import REFUSAL, RankerServicer
from tests.conformance.redis_server import running_redis
from tests.conformance.test_feature_stores import CONFIG as FEATURES
from tests.conformance.test_feature_stores import publication
from tests.unit.serving.fake_model_server import FakeModelServer
from tests.unit.serving.ranker_calls import ITEM_IDS, started_ranker
from tests.unit.serving.ranker_load import AFTER_THE_END, Load, check_log
from tests.unit.serving.test_exposure import FullDisk

PROJECT = Path(__file__).parents[3]
POPULARITY, UNKNOWN_USER = ranker_pb2.POPULARITY, ranker_pb2.UNKNOWN_USER


@pytest.fixture
def models():
    servers = [FakeModelServer({None: 7}).start() for _ in range(2)]
    yield servers
    for server in servers:
        server.stop()


@pytest.fixture
def start(tmp_path, models):
    """Function of the number of replicas and of keys of `serving` that starts a ranker."""
    servers = []

    def start_server(num_replicas=1, **keys):
        addresses = [model.address for model in models[:num_replicas]]
        server, port = started_ranker(tmp_path, addresses, **keys)
        servers.append(server)
        return server, f"127.0.0.1:{port}"

    yield start_server
    for server in servers:
        server.stop(0)


class Taken:
    """Calls that a thread of the service has taken.

    Attributes:
        contexts: of the calls, in this order.
        num_ended: those that the thread is done with.
    """

    def __init__(self, monkeypatch):
        self.contexts, self.num_ended, rank = [], 0, RankerServicer.Rank

        def noted(servicer, request, context):
            self.contexts.append(context)
            try:
                return rank(servicer, request, context)
            finally:
                self.num_ended += 1

        monkeypatch.setattr(RankerServicer, "Rank", noted)


@pytest.fixture
def taken(monkeypatch):
    return Taken(monkeypatch)


def grows(load, wait_until, num_more=100, degradations=()):
    """Waits for some more answers."""
    seen = load.count(*degradations)
    wait_until(lambda: load.failures or load.count(*degradations) >= seen + num_more)


def test_the_only_backend_killed_and_restarted_gives_declared_fallbacks_in_between(start, models, wait_until, tmp_path):
    server, address = start(ranker={"breaker_seconds": 0.05})
    with Load(address) as load:
        for _ in range(5):
            grows(load, wait_until)
            models[0].stop()
            grows(load, wait_until, degradations=(POPULARITY,))
            models[0].start()
        grows(load, wait_until)
    server.stop()
    assert load.failures == {}
    check_log(tmp_path / "exposures", load)


def test_one_of_two_replicas_killed_costs_no_answer(start, models, wait_until, tmp_path):
    server, address = start(2, ranker={"breaker_seconds": 0.05})
    with Load(address) as load:
        for number in range(4):
            killed = models[number % 2]
            grows(load, wait_until)
            killed.stop()
            grows(load, wait_until)
            seen = killed.num_calls
            killed.start()
            wait_until(lambda killed=killed, seen=seen: killed.num_calls > seen + 5)
    server.stop()
    assert (load.failures, load.count()) == ({}, load.num_sent)
    check_log(tmp_path / "exposures", load)


def test_a_replica_that_hangs_costs_no_answer(start, models, wait_until, tmp_path):
    server, address = start(2, ranker={"attempt_ms": 100, "breaker_failures": 2})
    with Load(address) as load:
        grows(load, wait_until)
        models[1].may_answer.clear()
        grows(load, wait_until)
        models[1].may_answer.set()
        grows(load, wait_until)
    server.stop()
    assert (load.failures, load.count()) == ({}, load.num_sent)
    check_log(tmp_path / "exposures", load)


def test_backends_slower_than_the_deadline_give_fallbacks_in_time(start, models, wait_until, tmp_path):
    server, address = start(2, deadline_ms=500, ranker={"breaker_seconds": 0.05})
    with Load(address) as load:
        grows(load, wait_until)
        for model in models:
            model.may_answer.clear()
        # Each takes as long as it may: three callers get some seven a second.
        grows(load, wait_until, num_more=20, degradations=(POPULARITY,))
        for model in models:
            model.may_answer.set()
        grows(load, wait_until)
    server.stop()
    assert load.failures == {}
    # Half a second, and what a busy machine adds: an answer must not wait for its model.
    assert load.longest_seconds < 3
    check_log(tmp_path / "exposures", load)


def test_redis_killed_restarted_empty_and_filled_again(start, wait_until, tmp_path):
    from serving.features.redis_store import publish_to_redis

    (tmp_path / "redis").mkdir()
    with running_redis(tmp_path / "redis") as redis_server:
        keys = {"store": "redis", "redis_url": redis_server.url}
        config = FeaturesConfig.model_validate(FEATURES.model_dump() | keys)
        publish_to_redis(publication(), config)
        server, address = start(features=keys)
        with Load(address) as load:
            grows(load, wait_until)
            redis_server.kill()
            grows(load, wait_until, degradations=(UNKNOWN_USER,))
            # An empty one does not make unknown users of all: it is as if there were none.
            redis_server.start()
            grows(load, wait_until, degradations=(UNKNOWN_USER,))
            publish_to_redis(publication(), config)
            grows(load, wait_until)
        server.stop()
    assert load.failures == {}
    check_log(tmp_path / "exposures", load)


@pytest.mark.parametrize("sync_seconds", [0.0, 0.01])
@pytest.mark.parametrize("when_full", ["wait", "refuse"])
def test_what_a_full_disk_does_not_take_is_not_given(start, wait_until, tmp_path, monkeypatch, when_full, sync_seconds):
    disk = FullDisk(monkeypatch)
    exposure = {"sync_seconds": sync_seconds, "when_full": when_full, "queue_records": 5, "retry_seconds": 0.01}
    server, address = start(deadline_ms=300, exposure=exposure)
    with Load(address) as load:
        wait_until(lambda: load.count() > 100)
        disk.num_free = 100
        wait_until(lambda: len(load.failures) > 10)
        disk.num_free = math.inf
        seen = load.count()
        wait_until(lambda: load.count() > seen + 100)
    server.stop()
    assert load.statuses == {"RESOURCE_EXHAUSTED"}
    assert {details for _, details in load.failures.values()} <= {
        "an answer must be logged before it is given. Received: the disk refuses: No space left on device",
        "an answer must be logged before it is given. Received: answers come faster than they are written",
    }
    check_log(tmp_path / "exposures", load)


_SERVE = """
import pathlib, sys
from tests.unit.serving.ranker_calls import started_ranker

folder, backend = pathlib.Path(sys.argv[1]), sys.argv[2]
exposure = {"sync_seconds": 0.05, "queue_records": 5, "retry_seconds": 0.01}
server, port = started_ranker(folder, [backend], deadline_ms=1_000, exposure=exposure)
print(port, flush=True)
sys.stdin.readline()
server.stop()
"""


def test_a_file_that_the_system_lets_grow_no_further_is_a_full_disk(models, wait_until, tmp_path):
    """A limit of the process's own, which needs no rights: the system refuses, and takes part of a write, as a disk does."""
    command = [sys.executable, "-c", _SERVE, str(tmp_path), models[0].address]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, cwd=PROJECT, stdin=pipe, stdout=pipe, stderr=pipe, text=True) as process:
        with Load(f"127.0.0.1:{int(process.stdout.readline())}") as load:
            wait_until(lambda: load.count() > 100)
            soft, hard = resource.prlimit(process.pid, resource.RLIMIT_FSIZE)
            resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (50_000, hard))
            wait_until(lambda: len(load.failures) > 10)
            resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (soft, hard))
            seen = load.count()
            wait_until(lambda: load.count() > seen + 100)
        _, errors = process.communicate("end\n", timeout=60)
    assert (process.returncode, "Traceback" in errors) == (0, False)
    assert load.statuses == {"RESOURCE_EXHAUSTED"}
    check_log(tmp_path / "exposures", load)


def test_answers_for_clients_that_left_are_neither_logged_nor_in_the_way(start, models, taken, wait_until, tmp_path):
    server, address = start(ranker={"max_workers": 2}, deadline_ms=20_000)
    models[0].may_answer.clear()
    with grpc.insecure_channel(address) as channel:
        stub = ranker_pb2_grpc.RankerStub(channel)
        requests = [ranker_pb2.RankRequest(user_id="u1", candidates=ITEM_IDS, request_id=f"left {n}") for n in range(6)]
        calls = [stub.Rank.future(request, timeout=20) for request in requests]
        wait_until(lambda: len(taken.contexts) == len(calls))
        for call in calls:
            call.cancel()
        wait_until(lambda: not any(context.is_active() for context in taken.contexts))
    models[0].may_answer.set()
    with Load(address) as load:
        grows(load, wait_until)
    server.stop()
    assert load.failures == {}
    assert server.answering.counts()["answered"] == load.num_sent
    check_log(tmp_path / "exposures", load)


def test_clients_that_leave_under_load_cost_the_others_nothing(start, wait_until, tmp_path):
    server, address = start(deadline_ms=20_000)
    left = {f"left {number}" for number in range(200)}
    with Load(address) as load:
        for names in zip(*[iter(left)] * 5, strict=True):
            with grpc.insecure_channel(address) as channel:
                stub = ranker_pb2_grpc.RankerStub(channel)
                for name in names:
                    stub.Rank.future(ranker_pb2.RankRequest(user_id="u1", candidates=ITEM_IDS, request_id=name), timeout=20)
        grows(load, wait_until)
    server.stop()
    assert load.failures == {}
    # Who leaves while the answer is on its way to the log or to the client may stand in it: nobody can know.
    check_log(tmp_path / "exposures", load, may_be_logged=left)


def test_ten_times_the_load_is_refused_at_once_and_the_rest_is_right_and_in_time(start, models, wait_until, tmp_path):
    server, address = start(ranker={"max_workers": 1}, deadline_ms=20_000)
    models[0].may_answer.clear()
    with Load(address, num_callers=80) as load:
        wait_until(lambda: len(load.failures) > 200)
        assert load.answers == {}
        models[0].may_answer.set()
        wait_until(lambda: load.count() > 200)
    server.stop()
    assert set(load.failures.values()) == {REFUSAL}
    assert load.count() == len(load.answers)
    assert max(load.longest_seconds, load.longest_refusal_seconds) < 10
    check_log(tmp_path / "exposures", load)


def test_stopping_under_load_logs_all_that_was_given(start, wait_until, tmp_path):
    server, address = start()
    with Load(address) as load:
        grows(load, wait_until)
        server.stop(10)
        wait_until(lambda: load.failures)
    assert (load.statuses <= AFTER_THE_END, load.count()) == (True, len(load.answers))
    check_log(tmp_path / "exposures", load)


def test_calls_that_outlast_the_end_are_typed_and_not_logged(start, models, taken, wait_until, tmp_path, caplog):
    server, address = start(2, ranker={"attempt_ms": 19_000}, deadline_ms=20_000)
    for model in models:
        model.may_answer.clear()
    with Load(address, num_callers=4) as load:
        wait_until(lambda: sum(model.num_calls for model in models) == 4)
        server.stop(0.1)
        wait_until(lambda: taken.num_ended == len(taken.contexts) == 4)
    assert load.statuses <= AFTER_THE_END
    assert load.answers == {}
    check_log(tmp_path / "exposures", load)
    assert "Traceback" not in caplog.text
