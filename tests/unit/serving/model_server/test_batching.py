import time
from concurrent import futures

import numpy as np
import pytest

from serving.errors import RequestError
from serving.model_server.batching import BatchingRunner
from serving.model_server.config_files import BatchingLimits
from serving.model_server.metrics import ServerMetrics
from serving.runners import QUEUE_IS_FULL, Caller, Work
from tests.unit.serving.model_server.fakes import FakeModel

LONG_MICROS = 60_000_000


class PickyModel(FakeModel):
    """Refuses a batch with a negative number in it."""

    def run(self, feeds, arrays, fetches):
        if min(array.min() for array in arrays) < 0:
            raise RequestError("INVALID_ARGUMENT", "a negative number")
        return super().run(feeds, arrays, fetches)


def work(model, *values, feeds=("in",), is_batchable=True):
    return Work(model, feeds, [np.array(values, np.float32)], ("out",), is_batchable)


@pytest.fixture
def pool():
    with futures.ThreadPoolExecutor(16) as pool:
        yield pool


@pytest.fixture
def make():
    runners = []

    def runner(max_calls=100, **limits):
        runners.append(BatchingRunner(BatchingLimits(**{"num_batch_threads": 1, **limits}), max_calls, ServerMetrics()))
        return runners[-1]

    yield runner
    for each in runners:
        each.close()


@pytest.fixture
def busy(pool, wait_until):
    """Function that keeps the one thread of a runner at work until the model may go on."""

    def occupy(runner, model):
        model.may_run.clear()
        answer = pool.submit(runner.run, work(model, 0, feeds=("other",)), Caller())
        assert model.is_running.acquire(timeout=10)
        return answer

    return occupy


def enqueued(runner):
    return [sum(len(batch.tasks) for batch in batches) for batches in runner._queues.values()]


def results(answers):
    return [answer.result(10)[0].tolist() for answer in answers]


def test_calls_that_come_while_a_batch_runs_are_the_next_batch(make, pool, busy, wait_until):
    model, runner = FakeModel(), make(max_batch_size=8)
    first = busy(runner, model)
    answers = []
    for place in range(3):
        answers.append(pool.submit(runner.run, work(model, place, 10 + place), Caller()))
        wait_until(lambda place=place: enqueued(runner) == [place + 1])
    model.may_run.set()
    assert results([first, *answers]) == [[0], [0, 20], [2, 22], [4, 24]]
    assert [arrays[0].tolist() for arrays in model.inputs] == [[0], [0, 10, 1, 11, 2, 12]]


def test_a_full_batch_does_not_wait(make, pool):
    model, runner = FakeModel(), make(max_batch_size=4, batch_timeout_micros=LONG_MICROS)
    answers = [pool.submit(runner.run, work(model, place, place), Caller()) for place in range(2)]
    assert sorted(results(answers)) == [[0, 0], [2, 2]]
    assert len(model.inputs) == 1


def test_a_batch_that_is_not_full_waits_its_time(make):
    model, runner = FakeModel(), make(max_batch_size=4, batch_timeout_micros=50_000)
    started_at = time.monotonic()
    runner.run(work(model, 1), Caller())
    assert time.monotonic() - started_at >= 0.05


def test_batches_are_padded_to_an_allowed_size(make):
    model, runner = FakeModel(), make(max_batch_size=8, allowed_batch_sizes=(4, 8))
    assert runner.run(work(model, 1, 2, 3), Caller())[0].tolist() == [2, 4, 6]
    assert model.inputs[0][0].tolist() == [1, 2, 3, 1]


def test_a_full_queue_refuses_at_once(make, pool, busy, wait_until):
    model, runner = FakeModel(), make(max_batch_size=2, max_enqueued_batches=2)
    answers = [busy(runner, model)]
    for place in range(2):
        answers.append(pool.submit(runner.run, work(model, 1, 2), Caller()))
        wait_until(lambda place=place: enqueued(runner) == [place + 1])
    with pytest.raises(RequestError, match=QUEUE_IS_FULL) as raised:
        runner.run(work(model, 1), Caller())
    assert raised.value.status == "UNAVAILABLE"
    other = pool.submit(runner.run, work(model, 5, feeds=("third",)), Caller())
    model.may_run.set()
    assert results([*answers, other]) == [[0], [2, 4], [2, 4], [10]]


def test_more_calls_than_there_are_threads_for_are_refused_at_once(make, pool, busy, wait_until):
    model, runner = FakeModel(), make(max_calls=2)
    answers = [busy(runner, model), pool.submit(runner.run, work(model, 1), Caller())]
    wait_until(lambda: enqueued(runner) == [1])
    with pytest.raises(RequestError, match=QUEUE_IS_FULL):
        runner.run(work(model, 2), Caller())
    model.may_run.set()
    assert results(answers) == [[0], [2]]
    assert runner.run(work(model, 2), Caller())[0].tolist() == [4]


def test_work_larger_than_a_batch_is_refused(make):
    with pytest.raises(RequestError, match="Task size 3 is larger than maximum input batch size 2"):
        make(max_batch_size=2).run(work(FakeModel(), 1, 2, 3), Caller())


def test_what_cannot_be_put_together_runs_alone_through_the_same_queue(make, pool, busy, wait_until):
    model, runner = FakeModel(), make(max_batch_size=2, max_enqueued_batches=2, batch_timeout_micros=LONG_MICROS)
    # The timeout holds back what may be joined; nothing can join these.
    model.may_run.clear()
    answers = [pool.submit(runner.run, work(model, 1, 2, 3, is_batchable=False), Caller())]
    assert model.is_running.acquire(timeout=10)
    for place in range(2):
        answers.append(pool.submit(runner.run, work(model, place, is_batchable=False), Caller()))
        wait_until(lambda place=place: enqueued(runner) == [place + 1])
    with pytest.raises(RequestError, match=QUEUE_IS_FULL):
        runner.run(work(model, 1, is_batchable=False), Caller())
    model.may_run.set()
    assert results(answers) == [[2, 4, 6], [0], [2]]
    assert [len(arrays[0]) for arrays in model.inputs] == [3, 1, 1]


def test_rows_of_other_shapes_go_in_another_batch_or_are_filled_up(make, pool, busy, wait_until):
    for pads, batches in ((False, [(1, 2), (1, 3)]), (True, [(2, 3)])):
        model, runner = FakeModel(), make(max_batch_size=8, pad_variable_length_inputs=pads)
        first = busy(runner, model)
        answers = []
        for place, row in enumerate(([1, 2], [1, 2, 3])):
            answers.append(pool.submit(runner.run, work(model, row), Caller()))
            wait_until(lambda place=place, runner=runner: enqueued(runner) == [place + 1])
        model.may_run.set()
        results([first, *answers])
        assert [arrays[0].shape for arrays in model.inputs[1:]] == batches


def test_only_the_request_to_blame_fails(make, pool, busy, wait_until):
    model, runner = PickyModel(), make(max_batch_size=8)
    first = busy(runner, model)
    answers = []
    for place, value in enumerate((1, -1, 3)):
        answers.append(pool.submit(runner.run, work(model, value), Caller()))
        wait_until(lambda place=place: enqueued(runner) == [place + 1])
    model.may_run.set()
    assert results([first, answers[0], answers[2]]) == [[0], [2], [6]]
    with pytest.raises(RequestError, match="a negative number"):
        answers[1].result(10)


def test_an_unexpected_error_reaches_the_callers_and_the_thread_lives(make):
    class Broken(FakeModel):
        def run(self, *_):
            raise ZeroDivisionError("by nothing")

    runner = make()
    with pytest.raises(ZeroDivisionError, match="by nothing"):
        runner.run(work(Broken(), 1), Caller())
    assert runner.run(work(FakeModel(), 1), Caller())[0].tolist() == [2]


def test_expired_and_abandoned_work_is_not_run(make, pool, busy, wait_until):
    model, runner = FakeModel(), make(max_batch_size=8)
    first = busy(runner, model)
    expired = pool.submit(runner.run, work(model, 1), Caller(time.monotonic() + 0.05))
    abandoned = pool.submit(runner.run, work(model, 2), Caller(is_active_fn=lambda: False))
    wanted = pool.submit(runner.run, work(model, 3), Caller(time.monotonic() + 60))
    wait_until(lambda: enqueued(runner) == [3])
    with pytest.raises(RequestError, match="the deadline passed") as raised:
        expired.result(10)
    assert raised.value.status == "DEADLINE_EXCEEDED"
    model.may_run.set()
    with pytest.raises(RequestError, match="the client left"):
        abandoned.result(10)
    assert results([first, wanted]) == [[0], [6]]
    assert [arrays[0].tolist() for arrays in model.inputs] == [[0], [3]]


def test_empty_requests_are_answered(make):
    model = FakeModel()
    assert make(allowed_batch_sizes=(1_000,)).run(work(model), Caller())[0].tolist() == []


def test_closing_runs_what_is_enqueued(pool):
    model = FakeModel()
    runner = BatchingRunner(BatchingLimits(num_batch_threads=1, batch_timeout_micros=LONG_MICROS), 9, ServerMetrics())
    answer = pool.submit(runner.run, work(model, 1), Caller())
    while not enqueued(runner):
        pass
    runner.close()
    assert results([answer]) == [[2]]
