"""Asking the model server for predictions, and the ranking that comes of it."""

import collections
import dataclasses
import time

import grpc
import numpy as np
import tensorflow as tf
from tensorflow.core.framework import tensor_pb2, types_pb2
from tensorflow_serving.apis import get_model_metadata_pb2, predict_pb2, prediction_service_pb2_grpc

from data.schema import LABELS
from serving.errors import CandidateError, DeadlineError, PredictionError, ServerUnreachableError
from serving.ranker.blend import blended_score, ranked_order
from serving.ranker.columns import RANK_SIGNATURE, ColumnEncoder, rank_inputs
from serving.ranker.request import ExampleEncoder

EXAMPLES_INPUT = "examples"
EXAMPLES_SIGNATURE = "serving_default"
SIGNATURES_FIELD = "signature_def"
# What a server answers to a request in the form of another version.
_OTHER_FORM = ("FAILED_PRECONDITION", "INVALID_ARGUMENT")
MIB = 1 << 20


@dataclasses.dataclass(frozen=True)
class RankedItem:
    """One candidate with its predictions.

    Attributes:
        item_id: id of the item.
        click: click probability.
        watch_seconds: expected watch time.
        satisfaction: satisfaction probability.
        score: blend of the three.
        is_known: whether the item has a row in the item table.
    """

    item_id: str
    click: float
    watch_seconds: float
    satisfaction: float
    score: float
    is_known: bool


@dataclasses.dataclass(frozen=True)
class Ranking:
    """Candidates of one user from best to worst.

    Attributes:
        user_id: id of the user.
        items: tuple of `RankedItem`, best first.
        model_version: version that predicted.
        is_known_user: whether the user has a row in the user table.
        num_unknown: candidates without a row in the item table.
        num_left_out: items of the table beyond `max_candidates`, where all items were asked for.
    """

    user_id: str
    items: tuple
    model_version: int
    is_known_user: bool
    num_unknown: int
    num_left_out: int


@dataclasses.dataclass(frozen=True)
class _ServedForm:
    """How a version wants to be asked: `inputs` of the signature `rank`, None for one that takes tf.Examples alone."""

    version: int
    inputs: dict | None


class Ranker:
    """Ranks candidates over one connection to the model server; may be used from several threads.

    A model with the signature `rank` is sent the user's columns once and each candidate's beside each other, an older one a
    tf.Example for each candidate. Which it is, is asked of the server once a version.
    """

    def __init__(self, config, tables):
        """A ranker that connects with its first ranking.

        Args:
            config: `ServingConfig`.
            tables: `FeatureTables`.
        """
        self._config = config
        self._tables = tables
        self._example_encoder = ExampleEncoder(tables)
        self._column_encoder = ColumnEncoder(tables)
        self._form = None
        options = [
            ("grpc.max_receive_message_length", config.max_message_mib * MIB),
            ("grpc.max_send_message_length", config.max_message_mib * MIB),
            ("grpc.enable_http_proxy", 0),  # the server is a neighbour: a proxy of the environment is not meant for it
        ]
        self._channel = grpc.insecure_channel(self._address, options=options)
        self._stub = prediction_service_pb2_grpc.PredictionServiceStub(self._channel)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        """Closes the connection."""
        self._channel.close()

    def rank(self, user_id, candidates=None, context=None, features=None, now_ms=None):
        """Candidates of a user from best to worst.

        Args:
            user_id: id of the user; an unknown one is served too.
            candidates: ids of at most `max_candidates` different items; None for the first `max_candidates` items of
                the item table.
            context: value by column name, the same for every candidate; added to the configured context.
            features: columns that replace those of the tables: by name a value for every candidate, or a dict of values
                by item id. None as a value means absent.
            now_ms: time of the request, milliseconds since 1970, UTC, from which ages follow; None for the clock's.

        Returns:
            `Ranking`.

        Raises:
            CandidateError: If candidates are empty, repeated or too many.
            FeatureValueError: If a value cannot be a feature.
            ServerUnreachableError: If nobody answers.
            DeadlineError: If the answer takes longer than `deadline_ms`.
            PredictionError: If the server refuses, or its answer does not fit the candidates.
            BlendError: If a prediction is not finite.
        """
        item_ids = self._candidates(candidates)
        now_ms = time.time_ns() // 1_000_000 if now_ms is None else now_ms
        context = {**self._config.context, **(context or {})}
        response = self._predict(user_id, item_ids, context, features or {}, now_ms)
        clicks, watches, satisfactions = (_predictions(response, name, len(item_ids)) for name in LABELS)
        items = [
            RankedItem(
                item_id=item_id,
                click=click,
                watch_seconds=watch_seconds,
                satisfaction=satisfaction,
                score=blended_score(self._config.blend, click, watch_seconds, satisfaction),
                is_known=self._tables.has_item(item_id),
            )
            for item_id, click, watch_seconds, satisfaction in zip(item_ids, clicks, watches, satisfactions, strict=True)
        ]
        return Ranking(
            user_id=user_id,
            items=tuple(items[index] for index in ranked_order(item_ids, [item.score for item in items])),
            model_version=response.model_spec.version.value,
            is_known_user=self._tables.has_user(user_id),
            num_unknown=sum(not item.is_known for item in items),
            num_left_out=len(self._tables.item_ids) - len(item_ids) if candidates is None else 0,
        )

    @property
    def _address(self):
        return f"{self._config.host}:{self._config.port}"

    def _candidates(self, candidates):
        limit = self._config.max_candidates
        item_ids = self._tables.item_ids[:limit] if candidates is None else list(candidates)
        if not item_ids:
            raise CandidateError("candidates must hold at least one item. Received: none. Name candidates")
        if len(item_ids) > limit:
            raise CandidateError(
                f"candidates must be at most serving.max_candidates={limit} items. Received: {len(item_ids)}. "
                "Name fewer, or raise the limit"
            )
        repeated = sorted(item_id for item_id, count in collections.Counter(item_ids).items() if count > 1)
        if repeated:
            raise CandidateError(f"candidates must be different items. Received twice or more: {', '.join(repeated)}")
        return item_ids

    def _predict(self, *columns):
        """The answer to a request that the served version understands, even if versions change meanwhile."""
        form = self._form or self._served_form()
        try:
            response = self._ask(form, columns)
        except PredictionError as error:
            if error.status not in _OTHER_FORM:
                raise
            changed = self._served_form()
            if changed.inputs == form.inputs:
                raise
            form, response = changed, self._ask(changed, columns)
        is_same = response.model_spec.version.value == form.version
        self._form = form if is_same else None
        return response

    def _served_form(self):
        request = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=[SIGNATURES_FIELD])
        request.model_spec.name = self._config.model_name
        try:
            response = self._stub.GetModelMetadata(request, timeout=self._config.deadline_ms / 1_000)
        except grpc.RpcError as error:
            raise self._typed(error) from error
        signatures = get_model_metadata_pb2.SignatureDefMap()
        response.metadata[SIGNATURES_FIELD].Unpack(signatures)
        return _ServedForm(response.model_spec.version.value, rank_inputs(signatures.signature_def))

    def _ask(self, form, columns):
        request = predict_pb2.PredictRequest()
        request.model_spec.name = self._config.model_name
        inputs = form.inputs and self._column_encoder.encode(form.inputs, *columns)
        if inputs:
            request.model_spec.signature_name = RANK_SIGNATURE
            for name, tensor in inputs.items():
                request.inputs[name].CopyFrom(tensor)
        else:
            request.model_spec.signature_name = EXAMPLES_SIGNATURE
            examples = self._example_encoder.encode(*columns)
            # tf.make_tensor_proto takes ten times as long over 500 strings: it goes through NumPy objects.
            tensor = tensor_pb2.TensorProto(dtype=types_pb2.DT_STRING, string_val=examples)
            tensor.tensor_shape.dim.add(size=len(examples))
            request.inputs[EXAMPLES_INPUT].CopyFrom(tensor)
        try:
            return self._stub.Predict(request, timeout=self._config.deadline_ms / 1_000)
        except grpc.RpcError as error:
            raise self._typed(error) from error

    def _typed(self, error):
        status, details = error.code().name, " ".join((error.details() or "no details").split())
        if error.code() is grpc.StatusCode.UNAVAILABLE:
            return ServerUnreachableError(
                status,
                f"a model server must answer at {self._address}. Received: {details}. "
                "Start it with `smalltowers serve`, or set serving.host and serving.port",
            )
        if error.code() is grpc.StatusCode.DEADLINE_EXCEEDED:
            return DeadlineError(
                status,
                f"the model server must answer within serving.deadline_ms={self._config.deadline_ms}. "
                "Received: nothing yet. Name fewer candidates, or raise the deadline",
            )
        return PredictionError(status, f"the model server at {self._address} must predict. Received: {status}: {details}")


def _predictions(response, name, num_candidates):
    if name not in response.outputs:
        raise PredictionError("OK", f'the model must have the output "{name}". Received: {sorted(response.outputs)}')
    values = tf.make_ndarray(response.outputs[name])
    if values.size != num_candidates or not np.issubdtype(values.dtype, np.floating):
        raise PredictionError(
            "OK",
            f'the output "{name}" must hold {num_candidates} floats. Received: {values.dtype} of shape {list(values.shape)}',
        )
    return values.reshape(-1).tolist()
