"""The model server: a gRPC server over the versions of one model, with health."""

from concurrent import futures

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from tensorflow_serving.apis import model_service_pb2_grpc, prediction_service_pb2_grpc

from serving.errors import ListenError, ModelUnavailableError
from serving.model_server.model_service import ModelServicer
from serving.model_server.prediction_service import PredictionServicer
from serving.model_server.versions import ModelVersions

MIB = 1 << 20


class ModelServer:
    """Serves the newest version under a folder through TF Serving's gRPC API."""

    def __init__(self, config, base_path):
        """A server that does not listen yet.

        Args:
            config: `ServingConfig`.
            base_path: folder that holds a folder for each version.
        """
        self._config = config
        self._versions = ModelVersions(config.model_name, base_path, config.poll_seconds)
        self._health = health.HealthServicer()
        options = [
            ("grpc.max_receive_message_length", config.max_message_mib * MIB),
            ("grpc.max_send_message_length", config.max_message_mib * MIB),
            ("grpc.so_reuseport", 0),  # else a second server on the same port would take every other call
        ]
        workers = futures.ThreadPoolExecutor(config.max_workers, thread_name_prefix="predict")
        self._server = grpc.server(workers, options=options)
        prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(PredictionServicer(self._versions), self._server)
        model_service_pb2_grpc.add_ModelServiceServicer_to_server(ModelServicer(self._versions), self._server)
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)

    def start(self):
        """Listens, loads the newest version, and then reports itself as healthy.

        Returns:
            Port that the server listens on.

        Raises:
            ListenError: If the address cannot be listened on.
            ModelUnavailableError: If no version can be loaded.
            OSError: If the version folder exists and cannot be read.
        """
        port = self._listen()
        self._set_health(health_pb2.HealthCheckResponse.NOT_SERVING)
        self._server.start()
        try:
            self._versions.load_first()
        except (ModelUnavailableError, OSError):
            self._server.stop(grace=None).wait()
            raise
        self._set_health(health_pb2.HealthCheckResponse.SERVING)
        self._versions.start_polling()
        return port

    def stop(self, grace_seconds=5.0):
        """Reports itself as unhealthy, takes no new calls and ends those that run.

        Args:
            grace_seconds: how long running calls may still take.
        """
        self._health.enter_graceful_shutdown()
        self._versions.stop_polling()
        self._server.stop(grace_seconds).wait()

    def wait(self, timeout_seconds=None):
        """Blocks until the server has stopped.

        Args:
            timeout_seconds: longest time to wait; None for ever.

        Returns:
            Whether the server had stopped.
        """
        return not self._server.wait_for_termination(timeout_seconds)

    def _listen(self):
        address = f"{self._config.host}:{self._config.port}"
        try:
            port = self._server.add_insecure_port(address)
        except RuntimeError as error:
            raise ListenError(_listen_message(address)) from error
        if port == 0:
            raise ListenError(_listen_message(address))
        return port

    def _set_health(self, status):
        for service in ("", self._config.model_name):
            self._health.set(service, status)


def _listen_message(address):
    return (
        f"serving.host and serving.port must be an address that is free here. Received: {address}. "
        "Stop what listens there, or set another serving.port"
    )
