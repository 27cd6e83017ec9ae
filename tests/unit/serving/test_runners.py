import threading
import time
from concurrent import futures

import numpy as np
import pytest

from serving.errors import RequestError
from serving.runners import QUEUE_IS_FULL, Caller, DirectRunner, Work
from tests.unit.serving.model_server.fakes import FakeModel

ROWS = [np.array([1.0, 2.0])]


def work(model):
    return Work(model, ("in",), ROWS, ("out",), is_batchable=True)


@pytest.fixture
def pool():
    with futures.ThreadPoolExecutor(8) as pool:
        yield pool


def test_work_is_run():
    (output,) = DirectRunner(1, 0).run(work(FakeModel()), Caller())
    assert output.tolist() == [2.0, 4.0]


def test_so_many_run_so_many_wait_and_one_more_is_refused_at_once(pool, wait_until):
    model, runner = FakeModel(), DirectRunner(max_running=2, max_waiting=3)
    model.may_run.clear()
    answers = [pool.submit(runner.run, work(model), Caller()) for _ in range(5)]
    wait_until(lambda: runner.admission.num_calls == 5)
    with pytest.raises(RequestError, match=QUEUE_IS_FULL) as raised:
        runner.run(work(model), Caller())
    assert raised.value.status == "UNAVAILABLE"
    assert len(model.inputs) == 2
    model.may_run.set()
    assert all(answer.result(10)[0].tolist() == [2.0, 4.0] for answer in answers)
    assert runner.run(work(model), Caller())[0].tolist() == [2.0, 4.0]


def test_expired_work_is_not_run(pool):
    model, runner = FakeModel(), DirectRunner(1, 5)
    with pytest.raises(RequestError, match="the deadline passed"):
        runner.run(work(model), Caller(time.monotonic() - 1))
    model.may_run.clear()
    running = pool.submit(runner.run, work(model), Caller())
    assert model.is_running.acquire(timeout=10)
    with pytest.raises(RequestError, match="the deadline passed") as raised:
        runner.run(work(model), Caller(time.monotonic() + 0.05))
    assert raised.value.status == "DEADLINE_EXCEEDED"
    model.may_run.set()
    running.result(10)
    assert len(model.inputs) == 1


def test_work_of_a_client_that_left_is_not_run():
    model, has_left = FakeModel(), threading.Event()
    has_left.set()
    with pytest.raises(RequestError, match="the client left") as raised:
        DirectRunner(1, 0).run(work(model), Caller(is_active_fn=lambda: not has_left.is_set()))
    assert raised.value.status == "CANCELLED"
    assert model.inputs == []


def test_a_failing_model_leaves_the_place_free():
    class Failing(FakeModel):
        def run(self, *_):
            raise RequestError("INVALID_ARGUMENT", "no")

    runner = DirectRunner(1, 0)
    for _ in range(3):
        with pytest.raises(RequestError, match="no"):
            runner.run(work(Failing()), Caller())
    assert runner.run(work(FakeModel()), Caller())[0].tolist() == [2.0, 4.0]
