import numpy as np
import pytest

from serving.errors import DeadlineError, FeatureValueError, PredictionError, ServerUnreachableError
from serving.ranker.backend import Predicted
from serving.ranker.breaker import CircuitBreaker
from serving.ranker.config import RankerConfig
from serving.ranker.replicas import Replicas


class Clock:
    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


class FakeBackend:
    """Takes some seconds and then answers with its version, or raises."""

    def __init__(self, clock, version=1, error=None, seconds=0.0):
        self.clock, self.version, self.error, self.seconds = clock, version, error, seconds
        self.address = f"host{version}:8500"
        self.asked = []

    def predict(self, encoders, asked, timeout_seconds, label=None):
        self.asked.append((timeout_seconds, label))
        self.clock.now += min(self.seconds, timeout_seconds)
        if self.seconds > timeout_seconds:
            raise DeadlineError("DEADLINE_EXCEEDED", "slow")
        if self.error:
            raise self.error
        return Predicted(self.version, {"click": np.zeros(1)})

    def close(self):
        self.asked = None


def failing(status):
    return PredictionError(status, f"fails with {status}")


def test_breaker_opens_after_failures_in_a_row_and_tries_one_at_a_time():
    clock = Clock()
    breaker = CircuitBreaker(2, 5.0, clock)
    breaker.failed()
    breaker.succeeded()
    breaker.failed()
    assert breaker.may_ask()
    breaker.failed()
    assert (breaker.may_ask(), breaker.is_open) == (False, True)
    clock.now += 5.0
    assert [breaker.may_ask() for _ in range(3)] == [True, False, False]
    breaker.failed()
    clock.now += 4.9
    assert not breaker.may_ask()
    clock.now += 0.1
    assert breaker.may_ask()
    breaker.succeeded()
    assert [breaker.may_ask() for _ in range(3)] == [True, True, True]
    assert not breaker.is_open


def test_a_trial_that_tells_nothing_is_followed_by_another():
    clock = Clock()
    breaker = CircuitBreaker(1, 5.0, clock)
    breaker.failed()
    clock.now += 5.0
    assert [breaker.may_ask(), breaker.may_ask()] == [True, False]
    clock.now += 5.0
    assert breaker.may_ask()


def test_a_trial_of_which_nothing_was_learned_leaves_its_turn_to_the_next():
    clock = Clock()
    breaker = CircuitBreaker(2, 5.0, clock)
    breaker.failed()
    breaker.abandoned()
    breaker.failed()
    assert (breaker.may_ask(), breaker.is_open) == (False, True)
    clock.now += 5.0
    assert breaker.may_ask()
    breaker.abandoned()
    assert breaker.is_open
    assert [breaker.may_ask(), breaker.may_ask()] == [True, False]


def test_replicas_take_turns():
    clock = Clock()
    replicas = Replicas([FakeBackend(clock, version) for version in (1, 2, 3)], RankerConfig(), clock)
    assert [replicas.predict(None, None, 101.0).model_version for _ in range(6)] == [1, 2, 3, 1, 2, 3]
    assert replicas.num_retries == 0


@pytest.mark.parametrize("status", ["UNAVAILABLE", "INTERNAL", "RESOURCE_EXHAUSTED", "NOT_FOUND", "OK", "UNKNOWN"])
def test_a_failure_is_tried_on_another_replica(status):
    clock = Clock()
    broken, well = FakeBackend(clock, 1, failing(status)), FakeBackend(clock, 2)
    replicas = Replicas([broken, well], RankerConfig(), clock)
    assert replicas.predict(None, None, 101.0, "stable").model_version == 2
    assert (broken.asked, well.asked) == ([(0.5, "stable")], [(1.0, "stable")])
    assert replicas.num_retries == 1


def test_a_slow_replica_leaves_time_for_another():
    clock = Clock()
    slow, well = FakeBackend(clock, 1, seconds=9.0), FakeBackend(clock, 2)
    assert Replicas([slow, well], RankerConfig(attempt_ms=200), clock).predict(None, None, 101.0).model_version == 2
    assert (slow.asked, well.asked) == ([(0.2, None)], [(pytest.approx(0.8), None)])


def test_a_wrong_request_is_asked_once():
    clock = Clock()
    backends = [FakeBackend(clock, version, failing("INVALID_ARGUMENT")) for version in (1, 2)]
    with pytest.raises(PredictionError, match="fails with INVALID_ARGUMENT"):
        Replicas(backends, RankerConfig(), clock).predict(None, None, 101.0)
    assert sum(len(backend.asked) for backend in backends) == 1


def test_a_wrong_value_is_no_replicas_fault():
    clock = Clock()
    backend = FakeBackend(clock, 1, FeatureValueError("a wrong value"))
    replicas = Replicas([backend], RankerConfig(breaker_failures=1), clock)
    for _ in range(3):
        with pytest.raises(FeatureValueError, match="a wrong value"):
            replicas.predict(None, None, 101.0)
    assert len(backend.asked) == 3


def test_a_broken_replica_is_left_alone_and_comes_back():
    clock = Clock()
    broken, well = FakeBackend(clock, 1, failing("UNAVAILABLE")), FakeBackend(clock, 2)
    replicas = Replicas([broken, well], RankerConfig(breaker_failures=3, breaker_seconds=5), clock)
    for _ in range(20):
        assert replicas.predict(None, None, clock.now + 1).model_version == 2
    assert len(broken.asked) == 3
    # Without another to leave time for, the one that is well gets all of it.
    assert well.asked[-1] == (1.0, None)
    broken.error = None
    clock.now += 5.0
    assert {replicas.predict(None, None, clock.now + 1).model_version for _ in range(4)} == {1, 2}


def test_an_overloaded_replica_is_not_left_alone():
    clock = Clock()
    busy = FakeBackend(clock, 1, failing("RESOURCE_EXHAUSTED"))
    replicas = Replicas([busy], RankerConfig(breaker_failures=1), clock)
    for _ in range(3):
        with pytest.raises(PredictionError, match="RESOURCE_EXHAUSTED"):
            replicas.predict(None, None, 101.0)
    assert len(busy.asked) == 3


def test_when_all_are_left_alone_the_answer_comes_at_once():
    clock = Clock()
    backends = [FakeBackend(clock, version, failing("UNAVAILABLE")) for version in (1, 2)]
    replicas = Replicas(backends, RankerConfig(breaker_failures=1), clock)
    with pytest.raises(PredictionError, match="fails with UNAVAILABLE"):
        replicas.predict(None, None, 101.0)
    with pytest.raises(ServerUnreachableError, match=r"Received: host1:8500, host2:8500 failed lately"):
        replicas.predict(None, None, 101.0)
    assert [len(backend.asked) for backend in backends] == [1, 1]


def test_an_expired_request_is_asked_of_nobody():
    clock = Clock()
    backend = FakeBackend(clock)
    with pytest.raises(DeadlineError, match="a request that came too late"):
        Replicas([backend], RankerConfig(), clock).predict(None, None, 100.0)
    assert backend.asked == []


def test_time_runs_out_between_two_replicas():
    clock = Clock()
    slow = [FakeBackend(clock, version, seconds=9.0) for version in (1, 2, 3)]
    with pytest.raises(DeadlineError, match="slow"):
        Replicas(slow, RankerConfig(), clock).predict(None, None, 101.0)
    assert clock.now == pytest.approx(101.0)


def test_a_request_in_a_hurry_says_nothing_of_a_replica():
    clock = Clock()
    backend = FakeBackend(clock, 1, seconds=0.1)
    replicas = Replicas([backend], RankerConfig(breaker_failures=2), clock, fair_seconds=0.25)
    for _ in range(5):
        with pytest.raises(DeadlineError, match="slow"):
            replicas.predict(None, None, clock.now + 0.001)
    assert replicas.predict(None, None, clock.now + 1).model_version == 1
    backend.seconds = 9.0
    for _ in range(2):
        with pytest.raises(DeadlineError, match="slow"):
            replicas.predict(None, None, clock.now + 0.25)
    with pytest.raises(ServerUnreachableError, match="failed lately"):
        replicas.predict(None, None, clock.now + 1)
