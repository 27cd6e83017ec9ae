"""How a gRPC method answers: typed errors become statuses, and every answer is counted and timed."""

import functools
import logging
import time

import grpc

from serving.errors import RequestError
from serving.runners import Caller

_log = logging.getLogger(__name__)


def answers_errors(method):
    """Servicer method that answers an error with its status.

    Args:
        method: function of (servicer, request, context) that returns a response.

    Returns:
        Function of the same signature. A `RequestError` has its own status; anything else is INTERNAL, and its message stays in
        the log of the server.
    """

    @functools.wraps(method)
    def answer(self, request, context):
        try:
            return method(self, request, context)
        except RequestError as error:
            return context.abort(grpc.StatusCode[error.status], str(error))
        except Exception:
            _log.exception("%s failed", method.__name__)
            return context.abort(grpc.StatusCode.INTERNAL, "the server failed to answer; its log says why")

    return answer


def counted(spec_fn):
    """Decorator of servicer methods whose answers are counted by model and status and timed, as TF Serving does.

    Args:
        spec_fn: function of a request that gives its `ModelSpec`.

    Returns:
        Decorator; the servicer has `metrics`, a `ServerMetrics`.
    """

    def decorate(method):
        @functools.wraps(method)
        def count(self, request, context):
            started_at, status = time.perf_counter(), "INTERNAL"
            try:
                response = method(self, request, context)
                status = "OK"
            except RequestError as error:
                status = error.status
                raise
            finally:
                seconds = time.perf_counter() - started_at
                self.metrics.count_request(spec_fn(request).name, method.__name__, status, seconds)
            return response

        return count

    return decorate


def caller_of(context):
    """Who waits for the answer of a call.

    Args:
        context: of the call.

    Returns:
        `Caller`.

    Raises:
        RequestError: If the deadline has passed already.
    """
    remaining_seconds = context.time_remaining()
    deadline = None if remaining_seconds is None else time.monotonic() + remaining_seconds
    caller = Caller(deadline, context.is_active)
    caller.require_wanted()
    return caller
