"""The ranker over gRPC: one server, its methods, and the status of every error."""

import collections.abc
import contextlib
import threading
import time
from concurrent import futures

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from serving.credentials import TokenInterceptor, read_tokens, server_credentials
from serving.errors import (
    BlendError,
    CallerLeftError,
    CandidateError,
    ExposureLogError,
    FeatureStoreError,
    FeatureValueError,
    ListenError,
    PredictionError,
    RequestError,
    ServingError,
)
from serving.exposure.log import ExposureLog
from serving.features.opening import open_store
from serving.grpc_log import quiet_decoding
from serving.metrics_page import MetricsPage
from serving.protos import ranker_pb2
from serving.ranker.answering import Answering
from serving.ranker.backend import MIB, Backend
from serving.ranker.local_backend import LocalBackend
from serving.ranker.messages import query_of, response_bytes
from serving.ranker.metrics import PATH, RankerMetrics
from serving.ranker.replicas import Replicas
from serving.runners import Admission, Caller, DirectRunner

SERVICE_NAME = "smalltowers.ranker.Ranker"
# Calls that run or wait for each thread; what comes beyond is refused at once rather than answered late.
_CALLS_PER_WORKER = 8
# Threads beyond those of the calls: they refuse at once, and tell how the service is.
_SPARE_THREADS = 8
# Of the configured time: who had less to answer was not too slow.
_FAIR_SHARE = 0.25
_FAR_BOUND = 10  # calls for each thread that gRPC itself takes at all
REFUSAL = ("RESOURCE_EXHAUSTED", "a request must find room in the queue. Received: more than the service can answer in time")
_STATUS_BY_ERROR = {
    CandidateError: grpc.StatusCode.INVALID_ARGUMENT,
    FeatureValueError: grpc.StatusCode.INVALID_ARGUMENT,
    ExposureLogError: grpc.StatusCode.RESOURCE_EXHAUSTED,
    FeatureStoreError: grpc.StatusCode.UNAVAILABLE,
    BlendError: grpc.StatusCode.INTERNAL,
    CallerLeftError: grpc.StatusCode.CANCELLED,
}
# Longer ones do not fit the header in which gRPC sends them: the client would see its own error instead.
_MAX_DETAILS = 500


def _status_of(error):
    if isinstance(error, RequestError):
        return grpc.StatusCode[error.status]
    if isinstance(error, PredictionError):
        # A usable status with an unusable answer, or none, is a defect behind this service.
        return grpc.StatusCode.INTERNAL if error.status in ("OK", "UNKNOWN") else grpc.StatusCode[error.status]
    return next((status for type_, status in _STATUS_BY_ERROR.items() if isinstance(error, type_)), grpc.StatusCode.INTERNAL)


class RankerServicer:
    """Answers `Rank` and `RankStream` with messages in bytes."""

    def __init__(self, config, answering, metrics):
        """A servicer.

        Args:
            config: `ServingConfig`.
            answering: `Answering`.
            metrics: `RankerMetrics`.
        """
        self._config, self._answering, self._metrics = config, answering, metrics
        num_workers = config.ranker.max_workers
        self._runner = DirectRunner(num_workers, (_CALLS_PER_WORKER - 1) * num_workers, REFUSAL)
        # Fewer than there are threads: to send takes as long as the client reads.
        self._streams = Admission(num_workers, REFUSAL)

    def Rank(self, request, context):  # noqa: N802, the stub's name
        """One ranking.

        Args:
            request: `RankRequest`.
            context: of the call.

        Returns:
            Bytes of a `RankResponse`.
        """
        return response_bytes(self._answer("Rank", request, context, self._config.max_candidates))

    def RankStream(self, request, context) -> collections.abc.Iterator[bytes]:  # noqa: N802, the stub's name
        """One ranking of more candidates, best first, in several messages.

        Args:
            request: `RankRequest`.
            context: of the call.

        Yields:
            Bytes of a `RankResponse` of at most `serving.max_candidates` items.
        """
        with contextlib.ExitStack() as stack:
            try:
                stack.enter_context(self._streams)
            except RequestError as error:
                context.abort(_status_of(error), str(error))
            answer = self._answer("RankStream", request, context, self._config.ranker.max_request_items)
            # A client that does not read would keep its thread: it has as long as a request has.
            timer = threading.Timer(self._config.deadline_ms / 1_000, context.cancel)
            stack.callback(timer.cancel)
            timer.start()
            size = self._config.max_candidates
            for start in range(0, len(answer.items), size):
                yield response_bytes(answer, start, start + size)

    def _answer(self, method, request, context, max_candidates):
        started_at, status = time.perf_counter(), grpc.StatusCode.UNKNOWN
        try:
            caller = Caller(time.monotonic() + self._seconds(request, context), context.is_active)

            def answered():
                return self._answering.answer(query_of(request, caller.remaining_seconds, max_candidates, context.is_active))

            answer = self._runner.call(answered, caller)
            status = grpc.StatusCode.OK
            return answer
        except ServingError as error:
            status = _status_of(error)
            return context.abort(status, " ".join(str(error).split())[:_MAX_DETAILS])
        finally:
            self._metrics.count_request(method, status.name, time.perf_counter() - started_at)

    def _seconds(self, request, context):
        """Until when an answer is of use, from now."""
        seconds = (request.deadline_ms if request.deadline_ms > 0 else self._config.deadline_ms) / 1_000
        remaining_seconds = context.time_remaining()
        return seconds if remaining_seconds is None else min(seconds, remaining_seconds)


def _backends(config, models):
    if models is not None:
        return [LocalBackend(models, config.model_name)]
    addresses = config.ranker.backends or (f"{config.host}:{config.port}",)
    access = config.ranker.access
    return [Backend(address, config.model_name, config.max_message_mib, access) for address in addresses]


def _handler(servicer):
    """The methods of the protocol, but for the making of their answers."""
    parse_fn = ranker_pb2.RankRequest.FromString
    methods = {
        "Rank": grpc.unary_unary_rpc_method_handler(servicer.Rank, request_deserializer=parse_fn),
        "RankStream": grpc.unary_stream_rpc_method_handler(servicer.RankStream, request_deserializer=parse_fn),
    }
    return grpc.method_handlers_generic_handler(SERVICE_NAME, methods)


class RankerServer:
    """The ranker service with all that it needs: feature store, connections to model servers, exposure log.

    Certificates and tokens of `serving.server` hold for its port as they do for the model server's.
    """

    def __init__(self, config, features_folder, exposures_folder, models=None):
        """A server that does not listen yet; the feature store is opened, and the log writes.

        Args:
            config: `ServingConfig`.
            features_folder: path that the pipeline publishes features to.
            exposures_folder: path of the exposure log's segments, where the configuration names none.
            models: `serving.model_server.local.LocalModels` of a model server in this process, which is asked then; None to ask
                those of `serving.ranker.backends`, or the one at `serving.port`.

        Raises:
            FeatureTableError: If tables are asked for and cannot be read.
            FeatureStoreError: If the store does not answer, or holds no publication.
            ServerFileError: If a file of certificates or tokens cannot be used.
            OSError: If the exposure log cannot be written.
        """
        self._config = config
        quiet_decoding()
        tokens = config.server.token_file and read_tokens(config.server.token_file)
        self._credentials = config.server.tls and server_credentials(config.server.tls)
        self._store = open_store(config.features, features_folder)
        self._has_local_models = models is not None
        fair_ms = _FAIR_SHARE * (config.ranker.attempt_ms or config.deadline_ms)
        self._replicas = Replicas(_backends(config, models), config.ranker, fair_seconds=fair_ms / 1_000)
        self.exposures = (
            ExposureLog(config.exposure, config.exposure.folder or exposures_folder) if config.exposure.enabled else None
        )
        self.answering = Answering(config, self._store, self._replicas, self.exposures)
        self._metrics, self._page = RankerMetrics(self.answering, self._replicas, self._store, self.exposures), None
        self._health = health.HealthServicer()
        num_threads = _CALLS_PER_WORKER * config.ranker.max_workers + _SPARE_THREADS
        workers = futures.ThreadPoolExecutor(num_threads, thread_name_prefix="rank")
        self._server = grpc.server(
            workers,
            interceptors=[TokenInterceptor(tokens)] if tokens else [],
            options=[
                ("grpc.max_receive_message_length", config.max_message_mib * MIB),
                # An answer may be longer than its request: what has been logged must be sent.
                ("grpc.max_send_message_length", -1),
                ("grpc.so_reuseport", 0),  # else a second server on the same port would take every other call
            ],
            maximum_concurrent_rpcs=_FAR_BOUND * num_threads,
        )
        self._server.add_generic_rpc_handlers((_handler(RankerServicer(config, self.answering, self._metrics)),))
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)

    def start(self):
        """Listens, and reports itself as healthy.

        Returns:
            Port that the server listens on.

        Raises:
            ListenError: If an address cannot be listened on.
        """
        self._serve_metrics()
        address = f"{self._config.host}:{self._config.ranker.port}"
        try:
            if self._credentials is None:
                port = self._server.add_insecure_port(address)
            else:
                port = self._server.add_secure_port(address, self._credentials)
        except RuntimeError:
            port = 0
        if port == 0:
            self._close()
            raise ListenError(
                f"serving.host and serving.ranker.port must be an address that is free here. Received: {address}. "
                "Stop what listens there, or set another serving.ranker.port"
            )
        if self._has_local_models:
            self.answering.warm_up(self._config.deadline_ms / 1_000)
        self._server.start()
        for service in ("", SERVICE_NAME):
            self._health.set(service, health_pb2.HealthCheckResponse.SERVING)
        return port

    @property
    def metrics_port(self):
        """Port of the page of metrics; None where there is none."""
        return self._page and self._page.port

    def stop(self, grace_seconds=5.0):
        """Reports itself as unhealthy, takes no new calls, ends those that run, and closes the log.

        Args:
            grace_seconds: how long running calls may still take.

        Raises:
            ExposureLogError: If answers could not be written.
        """
        self._health.enter_graceful_shutdown()
        self._server.stop(grace_seconds).wait()
        self._close()

    def wait(self, timeout_seconds=None):
        """Blocks until the server has stopped.

        Args:
            timeout_seconds: longest time to wait; None for ever.

        Returns:
            Whether the server had stopped.
        """
        return not self._server.wait_for_termination(timeout_seconds)

    def _serve_metrics(self):
        port = self._config.ranker.metrics_port
        if port is None:
            return
        try:
            self._page = MetricsPage(self._metrics, PATH, self._config.host, port)
        except OSError as error:
            self._close()
            raise ListenError(
                f"serving.ranker.metrics_port must be free here. Received: {self._config.host}:{port}: {error}"
            ) from error

    def _close(self):
        if self._page is not None:
            self._page.close()
        self._replicas.close()
        self._store.close()
        if self.exposures is not None:
            self.exposures.close()
