"""Requests of TF Serving's API in short, through the official stubs."""

import grpc
import pytest
import tensorflow as tf
from tensorflow_serving.apis import (
    classification_pb2,
    get_model_metadata_pb2,
    get_model_status_pb2,
    inference_pb2,
    input_pb2,
    model_management_pb2,
    model_service_pb2_grpc,
    prediction_service_pb2_grpc,
    regression_pb2,
)

from tests.conformance.tiny_model import MODEL_NAME

TIMEOUT_SECONDS = 10


def refusal(call, *args):
    """Status and message with which a call is refused."""
    with pytest.raises(grpc.RpcError) as raised:
        call(*args)
    return raised.value.code().name, raised.value.details()


def examples_input(*examples, context=None):
    """`Input` of serialized examples."""
    messages = [tf.train.Example.FromString(example) for example in examples]
    message = input_pb2.Input()
    if context is None:
        message.example_list.examples.extend(messages)
    else:
        message.example_list_with_context.context.ParseFromString(context)
        message.example_list_with_context.examples.extend(messages)
    return message


class Calls:
    """The methods of both services."""

    def __init__(self, channel):
        self.prediction = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        self.models = model_service_pb2_grpc.ModelServiceStub(channel)

    def predict(self, request):
        return self.prediction.Predict(request, timeout=TIMEOUT_SECONDS)

    def classify(self, message, signature_name="classify", model_name=MODEL_NAME):
        request = classification_pb2.ClassificationRequest(input=message)
        request.model_spec.name, request.model_spec.signature_name = model_name, signature_name
        return self.prediction.Classify(request, timeout=TIMEOUT_SECONDS)

    def regress(self, message, signature_name="regress", model_name=MODEL_NAME):
        request = regression_pb2.RegressionRequest(input=message)
        request.model_spec.name, request.model_spec.signature_name = model_name, signature_name
        return self.prediction.Regress(request, timeout=TIMEOUT_SECONDS)

    def multi_inference(self, message, *tasks):
        """`tasks` are (name of the model, name of the signature, name of the method)."""
        request = inference_pb2.MultiInferenceRequest(input=message)
        for model_name, signature_name, method_name in tasks:
            task = request.tasks.add(method_name=method_name)
            task.model_spec.name, task.model_spec.signature_name = model_name, signature_name
        return self.prediction.MultiInference(request, timeout=TIMEOUT_SECONDS)

    def metadata(self, fields=("signature_def",), model_name=MODEL_NAME):
        request = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=fields)
        request.model_spec.name = model_name
        return self.prediction.GetModelMetadata(request, timeout=TIMEOUT_SECONDS)

    def status(self, model_name=MODEL_NAME, version=None):
        request = get_model_status_pb2.GetModelStatusRequest()
        request.model_spec.name = model_name
        if version is not None:
            request.model_spec.version.value = version
        return self.models.GetModelStatus(request, timeout=TIMEOUT_SECONDS)

    def states(self, model_name=MODEL_NAME):
        """Name of the state by version."""
        name_fn = get_model_status_pb2.ModelVersionStatus.State.Name
        return {entry.version: name_fn(entry.state) for entry in self.status(model_name).model_version_status}

    def reload(self, config):
        request = model_management_pb2.ReloadConfigRequest(config=config)
        return self.models.HandleReloadConfigRequest(request, timeout=6 * TIMEOUT_SECONDS)
