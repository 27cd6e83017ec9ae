"""The model server put together: gRPC services over a catalog of models, health, reflection, metrics."""

import pathlib
import time
from concurrent import futures

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection, reflection_pb2_grpc
from tensorflow_serving.apis import model_service_pb2, model_service_pb2_grpc

from serving.credentials import TokenInterceptor, read_tokens, server_credentials
from serving.errors import ListenError, ModelUnavailableError, RequestError, ServerFileError
from serving.grpc_log import quiet_decoding
from serving.metrics_page import MetricsPage
from serving.model_server import prediction_service
from serving.model_server.batching import BatchingRunner
from serving.model_server.catalog import ModelCatalog
from serving.model_server.config_files import ServedModel, read_batching, read_models
from serving.model_server.inference import Inference
from serving.model_server.loaded_model import LoadedModel
from serving.model_server.local import LocalModels
from serving.model_server.metrics import PATH, ServerMetrics
from serving.model_server.model_service import ModelServicer
from serving.model_server.policies import VersionPolicy
from serving.model_server.prediction_service import PredictionServicer
from serving.model_server.reflection import BoundedReflection
from serving.model_server.warmup import warm_up
from serving.runners import DirectRunner

MIB = 1 << 20
# Threads beyond those that run or wait: they refuse calls at once, tell states, and swap configurations.
_SPARE_THREADS = 8
_SERVICES = (
    prediction_service.SERVICE_NAME,
    model_service_pb2.DESCRIPTOR.services_by_name["ModelService"].full_name,
)


class ModelServer:
    """Serves versions of models through TF Serving's gRPC API.

    Attributes:
        local: `LocalModels`, the same models for who is in this process.
    """

    def __init__(self, config, base_path):
        """A server that does not listen yet.

        Args:
            config: `ServingConfig`.
            base_path: folder that holds a folder for each version of the one model; not looked at where
                `serving.server.model_config_file` names others.

        Raises:
            ServerFileError: If a file of the configuration cannot be used.
        """
        self._config = config
        self._server_config = config.server
        self._metrics = ServerMetrics()
        self._page = None
        self._health = health.HealthServicer()
        quiet_decoding()
        self._is_stopping = False
        batching_file = self._server_config.batching_parameters_file
        limits = read_batching(batching_file) if batching_file else None
        models = self._configured_models(base_path)
        self._catalog = ModelCatalog(models, self._load, self._server_config, config.poll_seconds, self._tell_health)
        self._metrics.know_models(lambda: self._catalog.is_available_by_name)
        credentials = self._server_config.tls and server_credentials(self._server_config.tls)
        max_calls = config.max_workers + self._server_config.max_waiting
        self._server, self._credentials = self._new_server(max_calls), credentials
        self._runner = (
            BatchingRunner(limits, max_calls, self._metrics)
            if limits
            else DirectRunner(config.max_workers, self._server_config.max_waiting)
        )
        inference = Inference(self._runner, self._server_config.max_rows, self._metrics)
        self.local = LocalModels(self._catalog, inference, self._metrics)
        self._add_services(inference)

    def start(self):
        """Listens, loads the models, and then reports itself as healthy.

        Returns:
            Port that the server listens on.

        Raises:
            ListenError: If an address cannot be listened on.
            ModelUnavailableError: If a model has no version that can be loaded.
            ServerFileError: If a label names a version that is not available.
            OSError: If a folder of versions exists and cannot be read.
        """
        port = self._listen()
        self._tell_health()
        self._server.start()
        try:
            self._serve_metrics()
            self._catalog.load_first()
        except RequestError as error:
            self.stop(grace_seconds=0)
            raise ServerFileError(f"{self._server_config.model_config_file}: {error}") from error
        except (ListenError, ModelUnavailableError, OSError):
            self.stop(grace_seconds=0)
            raise
        self._catalog.start_polling()
        return port

    @property
    def metrics_port(self):
        """Port of the page of metrics; None where there is none."""
        return self._page and self._page.port

    def stop(self, grace_seconds=None):
        """Reports itself as unhealthy, takes no new calls and ends those that run.

        Args:
            grace_seconds: how long running calls may still take; None for `serving.server.grace_seconds`.
        """
        grace_seconds = self._server_config.grace_seconds if grace_seconds is None else grace_seconds
        self._is_stopping = True
        self._health.enter_graceful_shutdown()
        has_stopped = self._server.stop(grace_seconds)
        self._catalog.stop_polling()
        has_stopped.wait()
        self._runner.close()
        self._catalog.unload()
        if self._page is not None:
            self._page.close()

    def wait(self, timeout_seconds=None):
        """Blocks until the server has stopped.

        Args:
            timeout_seconds: longest time to wait; None for ever.

        Returns:
            Whether the server had stopped.
        """
        return not self._server.wait_for_termination(timeout_seconds)

    def _configured_models(self, base_path):
        if self._server_config.model_config_file:
            return read_models(self._server_config.model_config_file)
        policy = VersionPolicy(num_latest=self._server_config.num_versions)
        return [ServedModel(self._config.model_name, pathlib.Path(base_path), policy)]

    def _new_server(self, max_calls):
        workers = futures.ThreadPoolExecutor(max_calls + _SPARE_THREADS, thread_name_prefix="answer")
        tokens = self._server_config.token_file and read_tokens(self._server_config.token_file)
        options = [
            ("grpc.max_receive_message_length", self._config.max_message_mib * MIB),
            ("grpc.max_send_message_length", self._config.max_message_mib * MIB),
            ("grpc.so_reuseport", 0),  # else a second server on the same port would take every other call
        ]
        return grpc.server(workers, interceptors=[TokenInterceptor(tokens)] if tokens else [], options=options)

    def _add_services(self, inference):
        prediction_service.add_to_server(PredictionServicer(self._catalog, inference, self._metrics), self._server)
        model_service_pb2_grpc.add_ModelServiceServicer_to_server(ModelServicer(self._catalog), self._server)
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        if self._server_config.has_reflection:
            names = (*_SERVICES, health.SERVICE_NAME, reflection.SERVICE_NAME)
            reflection_pb2_grpc.add_ServerReflectionServicer_to_server(BoundedReflection(names), self._server)

    def _load(self, folder, number):
        """A warm model; the attempt is counted whatever comes of it."""
        warmup_seconds, is_loaded = None, False
        try:
            config = self._server_config
            model = LoadedModel(folder, number, config.intra_op_threads, config.inter_op_threads)
            started_at = time.perf_counter()
            try:
                # Not through the queue of the calls: they could keep a new version from becoming ready.
                warm_up(model, folder, Inference(DirectRunner(1, 0), config.max_rows, ServerMetrics()))
                is_loaded = True
            finally:
                warmup_seconds = time.perf_counter() - started_at
                if not is_loaded:
                    model.close()
            return model
        finally:
            self._metrics.count_load(folder, is_loaded, warmup_seconds)

    def _listen(self):
        address = f"{self._config.host}:{self._config.port}"
        try:
            if self._credentials:
                port = self._server.add_secure_port(address, self._credentials)
            else:
                port = self._server.add_insecure_port(address)
        except RuntimeError as error:
            raise ListenError(_listen_message(address)) from error
        if port == 0:
            raise ListenError(_listen_message(address))
        return port

    def _serve_metrics(self):
        port = self._server_config.metrics_port
        if port is None:
            return
        try:
            self._page = MetricsPage(self._metrics, PATH, self._config.host, port)
        except OSError as error:
            raise ListenError(
                f"serving.server.metrics_port must be free here. Received: {self._config.host}:{port}: {error}"
            ) from error

    def _tell_health(self):
        """Health by model, by service, and of all together: serving once every model has a version."""
        if self._is_stopping:
            return
        states = self._catalog.is_available_by_name
        states |= dict.fromkeys(("", *_SERVICES), all(states.values()))
        for name, is_available in states.items():
            status = health_pb2.HealthCheckResponse.SERVING if is_available else health_pb2.HealthCheckResponse.NOT_SERVING
            self._health.set(name, status)


def _listen_message(address):
    return (
        f"serving.host and serving.port must be an address that is free here. Received: {address}. "
        "Stop what listens there, or set another serving.port"
    )
