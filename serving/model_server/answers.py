"""How a gRPC method answers: expired calls are not run, and typed errors become statuses."""

import functools

import grpc

from serving.errors import RequestError


def answers_errors(method):
    """Servicer method that answers a `RequestError` with its status, and an expired deadline without running.

    Args:
        method: function of (servicer, request, context) that returns a response.

    Returns:
        Function of the same signature.
    """

    @functools.wraps(method)
    def answer(self, request, context):
        remaining_seconds = context.time_remaining()
        if remaining_seconds is not None and remaining_seconds <= 0:
            context.abort(grpc.StatusCode.DEADLINE_EXCEEDED, "the deadline had passed before a thread was free")
        try:
            return method(self, request, context)
        except RequestError as error:
            return context.abort(grpc.StatusCode[error.status], str(error))

    return answer
