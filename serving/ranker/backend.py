"""One model server: what it is asked, in the form that its version understands, and its answer as arrays."""

import collections.abc
import time
from typing import NamedTuple

import grpc
import numpy as np
import tensorflow as tf
from tensorflow.core.framework import tensor_pb2, types_pb2
from tensorflow_serving.apis import get_model_metadata_pb2, predict_pb2, prediction_service_pb2_grpc

from data.schema import LABELS
from serving.errors import DeadlineError, PredictionError, ServerUnreachableError
from serving.ranker.access import call_metadata, open_channel
from serving.ranker.columns import RANK_SIGNATURE, ColumnEncoder, rank_inputs
from serving.ranker.request import ExampleEncoder
from serving.ranker.tensors import serialized_inputs
from serving.runners import QUEUE_IS_FULL

EXAMPLES_INPUT = "examples"
EXAMPLES_SIGNATURE = "serving_default"
SIGNATURES_FIELD = "signature_def"
# What a server answers to a request in the form of another version.
_OTHER_FORM = ("FAILED_PRECONDITION", "INVALID_ARGUMENT")
_UNKNOWN_LABEL = "Unrecognized servable version label"
PREDICT_METHOD = "/tensorflow.serving.PredictionService/Predict"
MIB = 1 << 20


class Encoders:
    """Both forms of a request, over one publication of features."""

    def __init__(self, features):
        """Encoders that remember nothing yet.

        Args:
            features: `serving.features.store.Features`.
        """
        self.columns, self.examples = ColumnEncoder(features), ExampleEncoder(features)


class Asked(NamedTuple):
    """What a model is asked: one user with candidates.

    Attributes:
        user_id: id of the user.
        item_ids: ids of the candidates.
        context: value by name of columns that are the same for every candidate.
        features: by column name, a value for every candidate, or a dict of values by item id.
        now_ms: time of the request, milliseconds since 1970, UTC.
        user: `serving.features.store.UserFeatures`; None to look them up.
        item_rows: (candidates,) rows of the item table, `num_items` for an unknown item; None to look them up.
        is_wanted_fn: says whether somebody still waits for the answer.
    """

    user_id: str
    item_ids: list
    context: dict
    features: dict
    now_ms: int
    user: object = None
    item_rows: np.ndarray | None = None
    is_wanted_fn: collections.abc.Callable[[], bool] = lambda: True

    @property
    def to_encode(self):
        """What both encoders take, in their order."""
        return self.user_id, self.item_ids, self.context, self.features, self.now_ms, self.user


class Predicted(NamedTuple):
    """What a model answered.

    Attributes:
        model_version: version that predicted.
        by_name: (candidates,) float array by name of `data.schema.LABELS`.
    """

    model_version: int
    by_name: dict


class _ServedForm(NamedTuple):
    """How a version wants to be asked: `inputs` of the signature `rank`, None for one that takes tf.Examples alone."""

    version: int
    inputs: dict | None


class _Deadline(NamedTuple):
    """Of all calls of one question: `timeout_seconds` from its beginning, `at` as of `time.monotonic`."""

    timeout_seconds: float
    at: float


class Backend:
    """One model server over one connection; may be asked from several threads.

    A model with the signature `rank` is sent the user's columns once and each candidate's beside each other, an older one a
    tf.Example for each candidate. Which it is, is asked of the server once a version.

    Attributes:
        address: `host:port`.
    """

    def __init__(self, address, model_name, max_message_mib, access):
        """A backend that connects with its first question.

        Args:
            address: `host:port`.
            model_name: name under which the versions are served.
            max_message_mib: largest message in mebibytes, in both directions.
            access: `BackendAccessConfig`.

        Raises:
            ServerFileError: If a file of certificates or tokens cannot be used.
        """
        self.address = address
        self._model_name = model_name
        self._form_by_label = {}
        options = [
            ("grpc.max_receive_message_length", max_message_mib * MIB),
            ("grpc.max_send_message_length", max_message_mib * MIB),
            # A server that comes back is found within a second, not within the two minutes of the default.
            ("grpc.initial_reconnect_backoff_ms", 100),
            ("grpc.max_reconnect_backoff_ms", 1_000),
            ("grpc.enable_http_proxy", 0),  # the server is a neighbour: a proxy of the environment is not meant for it
        ]
        self._channel, self._metadata = open_channel(address, access, options), call_metadata(access)
        self._stub = prediction_service_pb2_grpc.PredictionServiceStub(self._channel)
        # Columns come as bytes of their messages; to parse them for the stub would cost as much as to encode them.
        self._predict_serialized = self._channel.unary_unary(
            PREDICT_METHOD, response_deserializer=predict_pb2.PredictResponse.FromString
        )

    def close(self):
        """Closes the connection."""
        self._channel.close()

    def predict(self, encoders, asked, timeout_seconds, label=None):
        """Predictions for candidates, even if versions change meanwhile.

        Args:
            encoders: `Encoders`.
            asked: `Asked`.
            timeout_seconds: of all calls to the server together: mostly one, up to four when versions change.
            label: version label; None for the newest version.

        Returns:
            `Predicted`.

        Raises:
            FeatureValueError: If a value cannot be a feature.
            ServerUnreachableError: If nobody answers.
            DeadlineError: If the answer takes longer.
            PredictionError: If the server refuses, or its answer does not fit the candidates.
        """
        deadline = _Deadline(timeout_seconds, time.monotonic() + timeout_seconds)
        form = self._form_by_label.get(label) or self._served_form(deadline, label)
        try:
            response = self._ask(form, encoders, asked, deadline, label)
        except PredictionError as error:
            if error.status not in _OTHER_FORM:
                raise
            changed = self._served_form(deadline, label)
            if changed == form:
                raise
            form, response = changed, self._ask(changed, encoders, asked, deadline, label)
        version = response.model_spec.version.value
        self._form_by_label[label] = form if version == form.version else None
        outputs = {name: tf.make_ndarray(tensor) for name, tensor in response.outputs.items()}
        return Predicted(version, checked_predictions(outputs, len(asked.item_ids)))

    def _served_form(self, deadline, label):
        request = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=[SIGNATURES_FIELD])
        self._specify(request.model_spec, label)
        response = self._called(self._stub.GetModelMetadata, request, deadline)
        signatures = get_model_metadata_pb2.SignatureDefMap()
        response.metadata[SIGNATURES_FIELD].Unpack(signatures)
        return _ServedForm(response.model_spec.version.value, rank_inputs(signatures.signature_def))

    def _ask(self, form, encoders, asked, deadline, label):
        request = predict_pb2.PredictRequest()
        self._specify(request.model_spec, label)
        inputs = form.inputs and encoders.columns.encode_serialized(form.inputs, *asked.to_encode, asked.item_rows)
        if inputs:
            request.model_spec.signature_name = RANK_SIGNATURE
            content = request.SerializeToString() + serialized_inputs(inputs)
        else:
            request.model_spec.signature_name = EXAMPLES_SIGNATURE
            examples = encoders.examples.encode(*asked.to_encode)
            # tf.make_tensor_proto takes ten times as long over 500 strings: it goes through NumPy objects.
            tensor = tensor_pb2.TensorProto(dtype=types_pb2.DT_STRING, string_val=examples)
            tensor.tensor_shape.dim.add(size=len(examples))
            request.inputs[EXAMPLES_INPUT].CopyFrom(tensor)
            content = request.SerializeToString()
        return self._called(self._predict_serialized, content, deadline)

    def _called(self, method, request, deadline):
        try:
            return method(request, timeout=max(deadline.at - time.monotonic(), 0), metadata=self._metadata)
        except grpc.RpcError as error:
            raise self._typed(error, deadline.timeout_seconds) from error
        except ValueError as error:
            # How gRPC names a connection that was closed, as this one is when calls outlast the end of the service.
            raise self._unreachable("the connection is closed") from error

    def _specify(self, model_spec, label):
        model_spec.name = self._model_name
        if label is not None:
            model_spec.version_label = label

    def _typed(self, error, timeout_seconds):
        details = " ".join((error.details() or "no details").split())
        status = usable_status(error.code().name, details)
        # Nobody cancels a call here: CANCELLED comes of a server that ends while it answers.
        if status in ("UNAVAILABLE", "CANCELLED"):
            return self._unreachable(details)
        if status == "DEADLINE_EXCEEDED":
            return DeadlineError(
                status,
                f"the model server at {self.address} must answer within {1_000 * timeout_seconds:.0f} ms. "
                "Received: nothing yet. Name fewer candidates, or raise serving.deadline_ms",
            )
        return PredictionError(status, f"the model server at {self.address} must predict. Received: {status}: {details}")

    def _unreachable(self, details):
        return ServerUnreachableError(
            "UNAVAILABLE",
            f"a model server must answer at {self.address}. Received: {details}. "
            "Start it with `smalltowers serve`, or set serving.host and serving.port",
        )


def usable_status(status, details):
    """Status by which replicas and fallbacks are chosen.

    TF Serving says INVALID_ARGUMENT of a label that it does not have, though another server or label may answer, and
    UNAVAILABLE of a full queue, though it is well.

    Args:
        status: name of the gRPC status.
        details: message of the error.

    Returns:
        Name of a gRPC status.
    """
    if status == "INVALID_ARGUMENT" and _UNKNOWN_LABEL in details:
        return "FAILED_PRECONDITION"
    if status == "UNAVAILABLE" and QUEUE_IS_FULL in details:
        return "RESOURCE_EXHAUSTED"
    return status


def checked_predictions(outputs, num_candidates):
    """Outputs of a model as predictions.

    Args:
        outputs: array by output name.
        num_candidates: as many as were asked for.

    Returns:
        (candidates,) float array by name of `data.schema.LABELS`.

    Raises:
        PredictionError: If an output is missing, or does not hold a float for each candidate.
    """
    predictions = {}
    for name in LABELS:
        if name not in outputs:
            raise PredictionError("OK", f'the model must have the output "{name}". Received: {sorted(outputs)}')
        values = outputs[name]
        if values.size != num_candidates or not np.issubdtype(values.dtype, np.floating):
            raise PredictionError(
                "OK",
                f'the output "{name}" must hold {num_candidates} floats. '
                f"Received: {values.dtype} of shape {list(values.shape)}",
            )
        predictions[name] = values.reshape(-1)
    return predictions
