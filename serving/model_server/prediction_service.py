"""TF Serving's PredictionService."""

import grpc
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    model_pb2,
    predict_pb2,
    prediction_service_pb2,
    prediction_service_pb2_grpc,
)

from serving.errors import RequestError
from serving.model_server.answers import answers_errors, caller_of, counted
from serving.model_server.predict_call import PredictCall

SERVICE_NAME = prediction_service_pb2.DESCRIPTOR.services_by_name["PredictionService"].full_name
SIGNATURE_DEF_FIELD = "signature_def"


def _spec_of_tasks(request):
    return request.tasks[0].model_spec if request.tasks else model_pb2.ModelSpec()


class PredictionServicer(prediction_service_pb2_grpc.PredictionServiceServicer):
    """Answers for all models of a catalog.

    Attributes:
        metrics: `ServerMetrics`.
    """

    def __init__(self, catalog, inference, metrics):
        """A servicer over a catalog.

        Args:
            catalog: `ModelCatalog`.
            inference: `Inference`.
            metrics: `ServerMetrics`.
        """
        self._catalog = catalog
        self._inference = inference
        self.metrics = metrics

    @answers_errors
    @counted(lambda request: request.model_spec)
    def Predict(self, request, context):  # noqa: N802, the stub's name
        """Outputs of one signature.

        Args:
            request: `PredictCall`.
            context: of the call.

        Returns:
            `PredictResponse`.
        """
        caller = caller_of(context)
        _require_spec(request.has_model_spec)
        with self._catalog.use(request.model_spec) as model:
            return self._inference.predict(model, request, caller)

    @answers_errors
    @counted(lambda request: request.model_spec)
    def Classify(self, request, context):  # noqa: N802, the stub's name
        """Classes of every example.

        Args:
            request: `ClassificationRequest`.
            context: of the call.

        Returns:
            `ClassificationResponse`.
        """
        caller = caller_of(context)
        _require_spec(request.HasField("model_spec"))
        with self._catalog.use(request.model_spec) as model:
            return self._inference.classify(model, request, caller)

    @answers_errors
    @counted(lambda request: request.model_spec)
    def Regress(self, request, context):  # noqa: N802, the stub's name
        """Value of every example.

        Args:
            request: `RegressionRequest`.
            context: of the call.

        Returns:
            `RegressionResponse`.
        """
        caller = caller_of(context)
        _require_spec(request.HasField("model_spec"))
        with self._catalog.use(request.model_spec) as model:
            return self._inference.regress(model, request, caller)

    @answers_errors
    @counted(_spec_of_tasks)
    def MultiInference(self, request, context):  # noqa: N802, the stub's name
        """Classes and values of the same examples by several signatures.

        Args:
            request: `MultiInferenceRequest`; the first task says which version answers.
            context: of the call.

        Returns:
            `MultiInferenceResponse`.
        """
        caller = caller_of(context)
        with self._catalog.use(_spec_of_tasks(request)) as model:
            return self._inference.multi_inference(model, request, caller)

    @answers_errors
    def GetModelMetadata(self, request, context):  # noqa: N802, the stub's name
        """Signatures of a version as they were exported.

        Args:
            request: `GetModelMetadataRequest`.
            context: of the call.

        Returns:
            `GetModelMetadataResponse`.

        Raises:
            RequestError: If no metadata field is asked for, or another than "signature_def".
        """
        _require_spec(request.HasField("model_spec"))
        if set(request.metadata_field) != {SIGNATURE_DEF_FIELD}:
            raise RequestError(
                "INVALID_ARGUMENT",
                f'metadata_field must be "{SIGNATURE_DEF_FIELD}". Received: {list(request.metadata_field)}',
            )
        with self._catalog.use(request.model_spec) as model:
            signatures = get_model_metadata_pb2.SignatureDefMap(signature_def=model.signature_defs)
            response = get_model_metadata_pb2.GetModelMetadataResponse()
            response.model_spec.name = request.model_spec.name
            response.model_spec.version.value = model.number
            response.metadata[SIGNATURE_DEF_FIELD].Pack(signatures)
        return response


def add_to_server(servicer, server):
    """Lets a server answer by a servicer.

    Args:
        servicer: `PredictionServicer`.
        server: `grpc.Server`.
    """
    predict = grpc.unary_unary_rpc_method_handler(
        servicer.Predict,
        request_deserializer=PredictCall.from_bytes,
        response_serializer=predict_pb2.PredictResponse.SerializeToString,
    )
    # gRPC takes the first handler that knows a method; that of the stubs would read every value of every tensor.
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE_NAME, {"Predict": predict}),))
    prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(servicer, server)


def _require_spec(is_given):
    if not is_given:
        raise RequestError("INVALID_ARGUMENT", "Missing ModelSpec")
