"""What befalls a server in service, over real sockets with counted requests: no wrong answer, and every error typed."""

import collections
import shutil
import signal
import statistics
import subprocess
import sys
import threading
import time
from pathlib import Path

import grpc
import pytest
import tensorflow as tf
from tensorflow_serving.apis import prediction_service_pb2_grpc

from serving.model_server.config import ModelServerConfig
from serving.model_server.loaded_model import LoadedModel
from serving.model_server.server import ModelServer
from serving.runners import QUEUE_IS_FULL
from tests.conformance.model_server.calls import Calls
from tests.conformance.tiny_model import example, predict_request

PROJECT = Path(__file__).parents[4]
# gRPC itself cancels a call that is on its way in the very moment of the end.
AFTER_THE_END = {"UNAVAILABLE", "CANCELLED"}


class Load:
    """Callers that ask without a pause until they are told to end, and what they were answered."""

    def __init__(self, address, num_callers, timeout_seconds=10):
        self.answers = collections.Counter()
        self.errors = []
        self._timeout_seconds = timeout_seconds
        self._has_ended = threading.Event()
        self._lock = threading.Lock()
        self._channel = grpc.insecure_channel(address)
        self._callers = [threading.Thread(target=self._ask) for _ in range(num_callers)]

    def __enter__(self):
        for caller in self._callers:
            caller.start()
        return self

    def __exit__(self, *_):
        self._has_ended.set()
        for caller in self._callers:
            caller.join()
        self._channel.close()

    @property
    def num_answers(self):
        return sum(self.answers.values())

    def _ask(self):
        stub = prediction_service_pb2_grpc.PredictionServiceStub(self._channel)
        while not self._has_ended.is_set():
            try:
                response = stub.Predict(predict_request(example(user_id="u1")), timeout=self._timeout_seconds)
            except grpc.RpcError as error:
                with self._lock:
                    self.errors.append((error.code().name, error.details()))
                continue
            satisfaction = tf.make_ndarray(response.outputs["satisfaction"]).item()
            with self._lock:
                self.answers[response.model_spec.version.value, round(100 * satisfaction)] += 1


@pytest.fixture
def start(config, saved_models, tmp_path):
    """Function of the server's configuration that starts one over a folder with version 1."""
    servers = []

    def start_server(max_workers=4, **settings):
        if not (tmp_path / "1").exists():
            shutil.copytree(saved_models / "1", tmp_path / "1")
        update = {"server": ModelServerConfig(settle_seconds=0, **settings), "max_workers": max_workers}
        servers.append(ModelServer(config.model_copy(update=update), tmp_path))
        return servers[-1], f"127.0.0.1:{servers[-1].start()}"

    yield start_server
    for server in servers:
        server.stop(grace_seconds=0)


@pytest.fixture
def slow(monkeypatch):
    """Event that holds back every run of a model until it is set."""
    may_run, run = threading.Event(), LoadedModel.run
    may_run.set()

    def held(*args):
        assert may_run.wait(10)
        return run(*args)

    monkeypatch.setattr(LoadedModel, "run", held)
    return may_run


def put_version(saved_models, folder, number):
    """A version that appears at once; what it answers tells even numbers from odd ones."""
    shutil.copytree(saved_models / str(1 + number % 2), folder / f"new-{number}")
    (folder / f"new-{number}").rename(folder / str(number))


@pytest.mark.parametrize(("num_swaps", "has_batching"), [(20, False), (5, True)])
def test_swaps_under_load_fail_no_call(start, saved_models, tmp_path, wait_until, num_swaps, has_batching):
    settings = {}
    if has_batching:
        settings["batching_parameters_file"] = str(tmp_path / "batching.config")
        (tmp_path / "batching.config").write_text("max_batch_size { value: 4 } num_batch_threads { value: 2 }")
    _, address = start(**settings)
    with grpc.insecure_channel(address) as channel, Load(address, num_callers=3) as load:
        calls = Calls(channel)
        for number in range(2, 2 + num_swaps):
            put_version(saved_models, tmp_path, number)
            wait_until(lambda number=number: load.errors or calls.states().get(number) == "AVAILABLE")
        seen = load.num_answers
        wait_until(lambda: load.errors or load.num_answers > seen + 20)
        wait_until(lambda: list(calls.states().values()).count("AVAILABLE") == 1)
    assert load.errors == []
    assert {number for number, _ in load.answers} >= {1, 1 + num_swaps}
    assert all(answer == (1 if number == 1 else 1 + number % 2) for number, answer in load.answers)


def test_a_corrupt_version_under_load_changes_nothing(start, saved_models, tmp_path, wait_until):
    _, address = start()
    with grpc.insecure_channel(address) as channel, Load(address, num_callers=2) as load:
        shutil.copytree(saved_models / "2", tmp_path / "new")
        for file in (tmp_path / "new" / "variables").iterdir():
            file.write_bytes(file.read_bytes()[:-7])
        (tmp_path / "new").rename(tmp_path / "2")
        wait_until(lambda: Calls(channel).states().get(2) == "END")
        seen = load.num_answers
        wait_until(lambda: load.num_answers > seen + 20)
        entry = Calls(channel).status(version=2).model_version_status[0]
    assert load.errors == []
    assert set(load.answers) == {(1, 1)}
    assert entry.status.error_message


def test_ten_times_the_load_is_refused_at_once_and_the_rest_is_right(start, slow, wait_until):
    _, address = start(max_workers=2, max_waiting=2)
    slow.clear()
    with Load(address, num_callers=40) as load:
        wait_until(lambda: len(load.errors) > 100)
        started_at = time.monotonic()
        seen = len(load.errors)
        wait_until(lambda: len(load.errors) > seen + 100)
        assert time.monotonic() - started_at < 5
        assert load.num_answers == 0
        slow.set()
        wait_until(lambda: load.num_answers > 50)
    assert set(load.errors) == {("UNAVAILABLE", QUEUE_IS_FULL)}
    assert set(load.answers) == {(1, 1)}


def test_calls_whose_clients_left_give_their_places_back(start, slow, wait_until):
    _, address = start(max_workers=1, max_waiting=8)
    slow.clear()
    with grpc.insecure_channel(address) as channel:
        stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        left = [stub.Predict.future(predict_request(example()), timeout=10) for _ in range(6)]
        for call in left:
            call.cancel()
    slow.set()
    with grpc.insecure_channel(address) as channel:
        assert Calls(channel).predict(predict_request(example())).model_spec.version.value == 1


def test_an_expired_call_is_answered_in_time_and_the_next_one_too(start, slow):
    _, address = start(max_workers=1, max_waiting=8)
    slow.clear()
    with grpc.insecure_channel(address) as channel:
        stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        for _ in range(3):
            with pytest.raises(grpc.RpcError) as raised:
                stub.Predict(predict_request(example()), timeout=0.1)
            assert raised.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        slow.set()
        assert Calls(channel).predict(predict_request(example())).model_spec.version.value == 1


def test_stopping_under_load_ends_what_runs_and_refuses_the_rest_by_status(start, slow, wait_until):
    server, address = start(max_workers=4, grace_seconds=10)
    with Load(address, num_callers=4) as load:
        wait_until(lambda: load.num_answers > 20)
        slow.clear()
        seen = load.num_answers
        wait_until(lambda: server._runner.admission.num_calls == 4)
        stopper = threading.Thread(target=server.stop)
        stopper.start()
        slow.set()
        stopper.join(10)
        assert not stopper.is_alive()
        wait_until(lambda: load.errors)
    assert load.num_answers >= seen + 4
    assert set(load.answers) == {(1, 1)}
    assert {status for status, _ in load.errors} <= AFTER_THE_END


_SERVE = """
import pathlib, signal, sys, threading
from serving.config import ServingConfig
from serving.model_server.server import ModelServer

server = ModelServer(ServingConfig(port=0), pathlib.Path(sys.argv[1]))
has_been_told = threading.Event()
signal.signal(signal.SIGTERM, lambda *_: has_been_told.set())
print(server.start(), flush=True)
has_been_told.wait()
server.stop()
"""


def test_a_process_told_to_end_under_load_ends_in_order(saved_models, wait_until):
    command = [sys.executable, "-c", _SERVE, str(saved_models)]
    with subprocess.Popen(command, cwd=PROJECT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        with Load(f"127.0.0.1:{int(process.stdout.readline())}", num_callers=3) as load:
            wait_until(lambda: load.num_answers > 50)
            process.send_signal(signal.SIGTERM)
            _, errors = process.communicate(timeout=60)
        assert (process.returncode, "Traceback" in errors) == (0, False)
    assert set(load.answers) == {(2, 2)}
    assert {status for status, _ in load.errors} <= AFTER_THE_END


def test_first_request_of_a_warm_version_is_not_slow(start, saved_models, tmp_path, wait_until):
    """A request of another shape costs a fresh function a trace; a session has none."""
    _, address = start()
    with grpc.insecure_channel(address) as channel:
        calls = Calls(channel)

        def seconds(number):
            started_at = time.perf_counter()
            response = calls.predict(predict_request(*[example(user_id="u1")] * 50))
            assert response.model_spec.version.value == number
            return time.perf_counter() - started_at

        ratios = []
        for number in range(2, 9):
            put_version(saved_models, tmp_path, number)
            wait_until(lambda number=number: calls.states().get(number) == "AVAILABLE")
            first = seconds(number)
            ratios.append(first / statistics.median(seconds(number) for _ in range(50)))
    # A trace slows a first request by 9 to 27 times, a busy machine a few of them by less.
    assert statistics.median(ratios) < 4, ratios
