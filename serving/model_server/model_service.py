"""TF Serving's ModelService: GetModelStatus."""

import grpc
from tensorflow_serving.apis import get_model_status_pb2, model_service_pb2_grpc

from serving.errors import RequestError
from serving.model_server.answers import answers_errors


class ModelServicer(model_service_pb2_grpc.ModelServiceServicer):
    """Answers for one model; HandleReloadConfigRequest stays unimplemented."""

    def __init__(self, versions):
        """A servicer over the versions of one model.

        Args:
            versions: `ModelVersions`.
        """
        self._versions = versions

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
        spec = request.model_spec
        statuses = self._versions.statuses() if spec.name == self._versions.model_name else []
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
