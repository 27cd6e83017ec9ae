"""How work gets to the model: at once in the thread of the call, within bounds and deadlines.

The other way, several calls as one, is `batching.BatchingRunner`.
"""

import collections.abc
import dataclasses
import threading
import time

from serving.errors import RequestError

QUEUE_IS_FULL = "The batch scheduling queue to which this task was submitted is full"

_TOO_LATE = "the deadline passed before the call could run"


@dataclasses.dataclass(frozen=True)
class Caller:
    """Who waits for an answer, and how long.

    Attributes:
        deadline: `time.monotonic()` in seconds after which nobody wants it; None for never.
        is_active_fn: says whether somebody still waits.
    """

    deadline: float | None = None
    is_active_fn: collections.abc.Callable[[], bool] = lambda: True

    @property
    def remaining_seconds(self):
        """Time until the deadline, below 0 when it has passed; None without one."""
        return None if self.deadline is None else self.deadline - time.monotonic()

    def require_wanted(self):
        """Makes sure that the work is still wanted.

        Raises:
            RequestError: If the deadline has passed, or the client has gone.
        """
        remaining_seconds = self.remaining_seconds
        if remaining_seconds is not None and remaining_seconds <= 0:
            raise RequestError("DEADLINE_EXCEEDED", _TOO_LATE)
        if not self.is_active_fn():
            raise RequestError("CANCELLED", "the client left before the call could run")


@dataclasses.dataclass(frozen=True, eq=False)
class Work:
    """One run of a model.

    Attributes:
        model: with a method `run(feeds, arrays, fetches)`.
        feeds: names of the input tensors.
        arrays: their values, in this order.
        fetches: names of the output tensors.
        is_batchable: whether rows of other work may be put below these.
    """

    model: object
    feeds: tuple
    arrays: list
    fetches: tuple
    is_batchable: bool


class Admission:
    """A room for so many calls; `with` one more than that is refused at once."""

    def __init__(self, max_calls, refusal=("UNAVAILABLE", QUEUE_IS_FULL)):
        """An empty room.

        Args:
            max_calls: that may be inside.
            refusal: status and message of the error of one more.
        """
        self._max_calls, self._refusal = max_calls, refusal
        self._lock = threading.Lock()
        self.num_calls = 0

    def __enter__(self):
        with self._lock:
            if self.num_calls >= self._max_calls:
                raise RequestError(*self._refusal)
            self.num_calls += 1

    def __exit__(self, *_):
        with self._lock:
            self.num_calls -= 1


class DirectRunner:
    """Runs work in the thread that brings it, so many at a time; a few wait, one more is refused at once.

    Attributes:
        joins_rows: whether rows of several calls may run as one.
    """

    joins_rows = False

    def __init__(self, max_running, max_waiting, refusal=("UNAVAILABLE", QUEUE_IS_FULL)):
        """A runner that is free.

        Args:
            max_running: runs at the same time.
            max_waiting: calls that may wait for one of them to end.
            refusal: as of `Admission`.
        """
        self.admission = Admission(max_running + max_waiting, refusal)
        self._running = threading.BoundedSemaphore(max_running)

    def run(self, work, caller):
        """Outputs of the work.

        Args:
            work: `Work`.
            caller: `Caller`.

        Returns:
            List of `numpy.ndarray` in the order of `work.fetches`.

        Raises:
            RequestError: If too many wait, if nobody wants the answer any more, or if the model refuses.
        """
        return self.call(lambda: work.model.run(work.feeds, work.arrays, work.fetches), caller)

    def call(self, call_fn, caller):
        """Result of a function that takes its turn as the work does.

        Args:
            call_fn: function without arguments.
            caller: `Caller`.

        Returns:
            What it returns.

        Raises:
            RequestError: If too many wait, or if nobody wants the answer any more.
        """
        with self.admission:
            if not self._running.acquire(blocking=False) and not self._running.acquire(timeout=caller.remaining_seconds):
                caller.require_wanted()
                raise RequestError("DEADLINE_EXCEEDED", _TOO_LATE)
            try:
                caller.require_wanted()
                return call_fn()
            finally:
                self._running.release()

    def close(self):
        """Nothing to end: no thread is the runner's own."""
