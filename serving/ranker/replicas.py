"""Model servers that stand for each other: whom to ask, for how long, and whom next."""

import itertools
import time

from serving.errors import DeadlineError, PredictionError, ServerUnreachableError
from serving.ranker.breaker import CircuitBreaker

# The request itself is wrong: every replica would say so.
_WRONG_REQUEST = ("INVALID_ARGUMENT", "UNIMPLEMENTED", "OUT_OF_RANGE", "UNAUTHENTICATED", "PERMISSION_DENIED")
# Another replica may answer, but this one is well: it is busy, or has not loaded the version yet.
_WELL = ("RESOURCE_EXHAUSTED", "NOT_FOUND", "FAILED_PRECONDITION")


class Replicas:
    """Model servers of the same models; may be asked from several threads.

    Attributes:
        num_retries: how often another replica was asked after one had failed.
    """

    def __init__(self, backends, config, clock_fn=time.monotonic, fair_seconds=0.0):
        """Replicas of which none has failed yet.

        Args:
            backends: objects with `address`, `predict` and `close`, as `serving.ranker.backend.Backend`.
            config: `RankerConfig`.
            clock_fn: returns seconds that only grow.
            fair_seconds: not to have answered in less is no failure: the request was in a hurry.
        """
        self._fair_seconds = fair_seconds
        self._replicas = [
            (each, CircuitBreaker(config.breaker_failures, config.breaker_seconds, clock_fn)) for each in backends
        ]
        self._attempt_ms, self._clock_fn = config.attempt_ms, clock_fn
        self._turn = itertools.count()
        self.num_retries = 0

    def close(self):
        """Closes all connections."""
        for backend, _ in self._replicas:
            backend.close()

    def is_open_by_address(self):
        """Which replicas are left alone now.

        Returns:
            Dict of bool by address.
        """
        return {backend.address: breaker.is_open for backend, breaker in self._replicas}

    def predict(self, encoders, asked, deadline, label=None):
        """Predictions of the first replica that answers.

        Args:
            encoders: `serving.ranker.backend.Encoders`.
            asked: `serving.ranker.backend.Asked`.
            deadline: moment of the clock until which an answer is of use.
            label: version label; None for the newest version.

        Returns:
            `serving.ranker.backend.Predicted`.

        Raises:
            FeatureValueError: If a value cannot be a feature.
            PredictionError: If the request is refused, or no replica answers in time; that of the last one asked.
        """
        start = next(self._turn) % len(self._replicas)
        turns = self._replicas[start:] + self._replicas[:start]
        failure = None
        for place, (backend, breaker) in enumerate(turns):
            left = deadline - self._clock_fn()
            if left <= 0:
                break
            if not breaker.may_ask():
                continue
            self.num_retries += failure is not None
            has_others = any(not other.is_open for _, other in turns[place + 1 :])
            seconds = self._attempt_seconds(left, has_others)
            try:
                predicted = backend.predict(encoders, asked, seconds, label)
            except PredictionError as error:
                if error.status in (*_WRONG_REQUEST, *_WELL):
                    breaker.succeeded()
                elif error.status != "DEADLINE_EXCEEDED" or seconds >= self._fair_seconds:
                    breaker.failed()
                if error.status in _WRONG_REQUEST:
                    raise
                failure = error
            except BaseException:
                # Not its fault, and not its answer either, as when the client has left.
                breaker.abandoned()
                raise
            else:
                breaker.succeeded()
                return predicted
        raise failure or self._nobody(deadline)

    def _attempt_seconds(self, left, has_others):
        if not has_others:
            return left
        return left / 2 if self._attempt_ms is None else min(self._attempt_ms / 1_000, left)

    def _nobody(self, deadline):
        if deadline <= self._clock_fn():
            return DeadlineError(
                "DEADLINE_EXCEEDED", "a model server must be asked before the deadline. Received: a request that came too late"
            )
        addresses = ", ".join(backend.address for backend, _ in self._replicas)
        return ServerUnreachableError(
            "UNAVAILABLE",
            f"one of serving.ranker.backends must answer. Received: {addresses} failed lately and are left alone for a while",
        )
