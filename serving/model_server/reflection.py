"""Server reflection: what lets grpcurl and others call the services without their proto files."""

import collections.abc
import threading

import grpc
from grpc_reflection.v1alpha import reflection

# A stream holds a thread for as long as the client likes.
MAX_STREAMS = 4


class BoundedReflection(reflection.ReflectionServicer):
    """Reflection that cannot take the threads of predictions."""

    def __init__(self, service_names):
        """Reflection of some services.

        Args:
            service_names: full names of the services.
        """
        super().__init__(service_names)
        self._streams = threading.BoundedSemaphore(MAX_STREAMS)

    def ServerReflectionInfo(self, request_iterator, context) -> collections.abc.Iterator:  # noqa: N802, the stub's name
        """Answers to questions about services and messages.

        Args:
            request_iterator: of `ServerReflectionRequest`.
            context: of the call.

        Yields:
            `ServerReflectionResponse`.
        """
        if not self._streams.acquire(blocking=False):
            context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, f"at most {MAX_STREAMS} clients may ask for schemas at a time")
        try:
            yield from super().ServerReflectionInfo(request_iterator, context)
        finally:
            self._streams.release()
