"""TF Serving's PredictionService: Predict and GetModelMetadata."""

from tensorflow_serving.apis import get_model_metadata_pb2, predict_pb2, prediction_service_pb2_grpc

from serving.errors import RequestError
from serving.model_server.answers import answers_errors
from serving.model_server.loaded_model import DEFAULT_SIGNATURE

SIGNATURE_DEF_FIELD = "signature_def"


class PredictionServicer(prediction_service_pb2_grpc.PredictionServiceServicer):
    """Answers for one model; Classify, Regress and MultiInference stay unimplemented."""

    def __init__(self, versions):
        """A servicer over the versions of one model.

        Args:
            versions: `ModelVersions`.
        """
        self._versions = versions

    @answers_errors
    def Predict(self, request, context):  # noqa: N802, the stub's name
        """Outputs of one signature.

        Args:
            request: `PredictRequest`.
            context: of the call.

        Returns:
            `PredictResponse` that names the version and signature that answered.
        """
        with self._versions.use(request.model_spec) as model:
            outputs = model.predict(request.model_spec.signature_name, request.inputs, request.output_filter)
            response = predict_pb2.PredictResponse(outputs=outputs)
            response.model_spec.CopyFrom(request.model_spec)
            response.model_spec.version.value = model.number
            response.model_spec.signature_name = request.model_spec.signature_name or DEFAULT_SIGNATURE
        return response

    @answers_errors
    def GetModelMetadata(self, request, context):  # noqa: N802, the stub's name
        """Signatures of a version as they were exported.

        Args:
            request: `GetModelMetadataRequest`.
            context: of the call.

        Returns:
            `GetModelMetadataResponse`.

        Raises:
            RequestError: If a metadata field other than "signature_def" is asked for.
        """
        if set(request.metadata_field) != {SIGNATURE_DEF_FIELD}:
            raise RequestError(
                "INVALID_ARGUMENT",
                f'metadata_field must be "{SIGNATURE_DEF_FIELD}". Received: {list(request.metadata_field)}',
            )
        with self._versions.use(request.model_spec) as model:
            signatures = get_model_metadata_pb2.SignatureDefMap(signature_def=model.signature_defs)
            response = get_model_metadata_pb2.GetModelMetadataResponse()
            response.model_spec.name = request.model_spec.name
            response.model_spec.version.value = model.number
        response.metadata[SIGNATURE_DEF_FIELD].Pack(signatures)
        return response
