"""TF Serving's ModelService: what became of the versions, and another configuration while serving."""

import grpc
from tensorflow_serving.apis import get_model_status_pb2, model_management_pb2, model_service_pb2_grpc

from serving.errors import RequestError
from serving.model_server.answers import answers_errors
from serving.model_server.config_files import models_of


class ModelServicer(model_service_pb2_grpc.ModelServiceServicer):
    """Answers for all models of a catalog."""

    def __init__(self, catalog):
        """A servicer over a catalog.

        Args:
            catalog: `ModelCatalog`.
        """
        self._catalog = catalog

    @answers_errors
    def GetModelStatus(self, request, context):  # noqa: N802, the stub's name
        """State of one version, or of all.

        Args:
            request: `GetModelStatusRequest`.
            context: of the call.

        Returns:
            `GetModelStatusResponse`; a version that could not be loaded has state END and the reason.

        Raises:
            RequestError: If the named model or version was never seen.
        """
        if not request.HasField("model_spec"):
            raise RequestError("INVALID_ARGUMENT", "Missing ModelSpec")
        spec = request.model_spec
        statuses = self._catalog.statuses(spec.name)
        if spec.HasField("version"):
            statuses = [status for status in statuses if status.number == spec.version.value]
        if not statuses:
            wanted = f"version {spec.version.value}" if spec.HasField("version") else "any versions"
            raise RequestError("NOT_FOUND", f"Could not find {wanted} of model {spec.name}")
        response = get_model_status_pb2.GetModelStatusResponse()
        for status in statuses:
            entry = response.model_version_status.add(version=status.number)
            entry.state = get_model_status_pb2.ModelVersionStatus.State.Value(status.state.value)
            if status.error is not None:
                entry.status.error_code = grpc.StatusCode.UNKNOWN.value[0]
                entry.status.error_message = status.error
        return response

    @answers_errors
    def HandleReloadConfigRequest(self, request, context):  # noqa: N802, the stub's name
        """Serves other models, versions or labels; answers when they have been loaded.

        Args:
            request: `ReloadConfigRequest`.
            context: of the call.

        Returns:
            `ReloadConfigResponse` with status OK.
        """
        self._catalog.reload(models_of(request.config))
        return model_management_pb2.ReloadConfigResponse()
