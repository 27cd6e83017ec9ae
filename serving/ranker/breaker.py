"""When a replica is left alone: after failures in a row, for a while, and then for all requests but one."""

import threading
import time


class CircuitBreaker:
    """Says whether a replica may be asked; told how that went. May be used from several threads.

    Reference:
        Nygard, "Release It!", 2007, section 5.2: closed, open after failures in a row, half-open for one trial.
    """

    def __init__(self, max_failures, open_seconds, clock_fn=time.monotonic):
        """A breaker that lets everything pass.

        Args:
            max_failures: failures in a row after which nothing passes.
            open_seconds: for so long; then one request tries.
            clock_fn: returns seconds that only grow.
        """
        self._max_failures, self._open_seconds, self._clock_fn = max_failures, open_seconds, clock_fn
        self._lock = threading.Lock()
        self._num_failures = 0
        self._closed_until = None

    @property
    def is_open(self):
        """Whether the replica is left alone, or only tried."""
        return self._closed_until is not None

    def may_ask(self):
        """Whether this request may ask; after True, `succeeded`, `failed` or `abandoned` must be told.

        Returns:
            True or False.
        """
        with self._lock:
            if self._closed_until is None:
                return True
            now = self._clock_fn()
            if now < self._closed_until:
                return False
            # The trial's turn; one that tells nothing is followed by another.
            self._closed_until = now + self._open_seconds
            return True

    def succeeded(self):
        """Notes an answer: everything passes."""
        with self._lock:
            self._num_failures, self._closed_until = 0, None

    def abandoned(self):
        """Notes that nothing was learned: the next request may try in the place of this one."""
        with self._lock:
            if self._closed_until is not None:
                self._closed_until = self._clock_fn()

    def failed(self):
        """Notes a failure."""
        with self._lock:
            self._num_failures += 1
            if self._num_failures >= self._max_failures:
                self._closed_until = self._clock_fn() + self._open_seconds
