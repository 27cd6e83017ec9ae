import threading
from concurrent import futures

import grpc
import pytest
import tensorflow as tf
from tensorflow_serving.apis import get_model_metadata_pb2, predict_pb2, prediction_service_pb2_grpc

from serving.config import BlendConfig
from serving.errors import (
    CandidateError,
    DeadlineError,
    FeatureValueError,
    PredictionError,
    ServerUnreachableError,
)
from serving.model_server.server import ModelServer
from serving.ranker.client import Ranker
from tests.conformance.tiny_model import expected, write_version

VERSION = 40


def rank(config, tables, *arguments, **keys):
    with Ranker(config, tables) as ranker:
        return ranker.rank(*arguments, **keys)


@pytest.fixture(scope="module", params=[True, False], ids=["columns", "examples"])
def base_path(request, tmp_path_factory):
    """A model that takes columns, and one from before that."""
    base_path = tmp_path_factory.mktemp("models")
    write_version(base_path, VERSION, has_rank=request.param)
    return base_path


@pytest.fixture
def serving(config, base_path):
    server = ModelServer(config, base_path)
    yield config.model_copy(update={"port": server.start()})
    server.stop(grace_seconds=0)


def score(predictions, weights):
    return (
        predictions["click"] ** weights.click_weight
        * (1 + predictions["watch_seconds"]) ** weights.watch_weight
        * predictions["satisfaction"] ** weights.satisfaction_weight
    )


def check_ranking(ranking, predictions_by_item, weights):
    wanted = sorted(predictions_by_item, key=lambda item_id: -score(predictions_by_item[item_id], weights))
    assert [item.item_id for item in ranking.items] == wanted
    for item in ranking.items:
        predictions = predictions_by_item[item.item_id]
        assert item.click == pytest.approx(predictions["click"], rel=1e-6)
        assert item.watch_seconds == pytest.approx(predictions["watch_seconds"], rel=1e-6)
        assert item.satisfaction == pytest.approx(predictions["satisfaction"], rel=1e-6)
        assert item.score == pytest.approx(score(predictions, weights), rel=1e-6)


@pytest.mark.parametrize("weights", [BlendConfig(), BlendConfig(click_weight=0, watch_weight=-1)])
def test_ranking_is_the_blend_of_the_models_predictions(serving, tables, weights):
    ranking = rank(serving.model_copy(update={"blend": weights}), tables, "u1", ["i1", "i3", "unheard"])

    items = ("i1", "i3", "unheard")
    check_ranking(ranking, {item_id: expected(VERSION, "u1", item_id, age=30.0) for item_id in items}, weights)
    assert (ranking.user_id, ranking.model_version, ranking.is_known_user) == ("u1", VERSION, True)
    assert {item.item_id: item.is_known for item in ranking.items} == {"i1": True, "i3": True, "unheard": False}
    assert (ranking.num_unknown, ranking.num_left_out) == (1, 0)


def test_unknown_user_is_served(serving, tables):
    ranking = rank(serving, tables, "nobody", ["i1", "i2"])
    check_ranking(ranking, {i: expected(VERSION, "nobody", i) for i in ("i1", "i2")}, serving.blend)
    assert not ranking.is_known_user


def test_request_overrides_tables_and_configuration(serving, tables):
    serving = serving.model_copy(update={"context": {"surface": "feed"}})
    with Ranker(serving, tables) as ranker:
        plain = ranker.rank("u1", ["i1", "i2"])
        search = ranker.rank("u1", ["i1", "i2"], context={"surface": "search"})
        aged = ranker.rank("u1", ["i1", "i2"], features={"age": {"i1": 500.0}, "surface": "search"})
    weights = serving.blend
    check_ranking(plain, {i: expected(VERSION, "u1", i, age=30.0, surface="feed") for i in ("i1", "i2")}, weights)
    check_ranking(search, {i: expected(VERSION, "u1", i, age=30.0) for i in ("i1", "i2")}, weights)
    ages = {"i1": 500.0, "i2": 30.0}
    check_ranking(aged, {i: expected(VERSION, "u1", i, age=age) for i, age in ages.items()}, weights)


def test_all_items_up_to_the_limit(serving, tables):
    serving = serving.model_copy(update={"max_candidates": 2})
    ranking = rank(serving, tables, "u1")
    assert {item.item_id for item in ranking.items} == {"i1", "i2"}
    assert ranking.num_left_out == 1


@pytest.mark.parametrize(
    ("candidates", "message"),
    [
        ([], "must hold at least one item"),
        (["i1", "i2", "i1"], "must be different items. Received twice or more: i1"),
        (["a", "b", "c", "d"], "at most serving.max_candidates=3 items. Received: 4"),
    ],
)
def test_wrong_candidates_are_refused_before_a_call(config, tables, candidates, message):
    with pytest.raises(CandidateError, match=message):
        rank(config.model_copy(update={"max_candidates": 3}), tables, "u1", candidates)


def test_wrong_feature_is_refused(serving, tables):
    with pytest.raises(FeatureValueError, match=r"feature age must (be|hold) a (string or a )?number"):
        rank(serving, tables, "u1", ["i1"], features={"age": object()})


def test_a_feature_of_another_type_is_named(serving, tables):
    message = r"feature age must hold a number. Received: 'thirty'|INVALID_ARGUMENT: Key: age, .* Data types don't match"
    with pytest.raises((FeatureValueError, PredictionError), match=message):
        rank(serving, tables, "u1", ["i1"], features={"age": "thirty"})


@pytest.mark.parametrize("has_rank", [[True, False], [False, True], [True, True]], ids=str)
def test_a_version_of_another_form_takes_over_between_two_rankings(has_rank, config, tables, tmp_path, wait_until):
    write_version(tmp_path, 1, has_rank[0])
    server = ModelServer(config, tmp_path)
    try:
        with Ranker(config.model_copy(update={"port": server.start()}), tables) as ranker:
            assert ranker.rank("u1", ["i1"]).model_version == 1
            write_version(tmp_path, 2, has_rank[1])
            wait_until(lambda: ranker.rank("u1", ["i1"]).model_version == 2)
            ranking = ranker.rank("u1", ["i1", "i3"])
    finally:
        server.stop(grace_seconds=0)
    check_ranking(ranking, {i: expected(2, "u1", i, age=30.0) for i in ("i1", "i3")}, config.blend)


def test_another_models_name_is_not_found(serving, tables):
    with pytest.raises(PredictionError, match=r"NOT_FOUND: Servable not found for request: Latest\(other\)"):
        rank(serving.model_copy(update={"model_name": "other"}), tables, "u1", ["i1"])


def test_nobody_at_the_address_says_how_to_start_a_server(config, tables, serving, base_path):
    server = ModelServer(config, base_path)
    port = server.start()
    server.stop(grace_seconds=0)
    with pytest.raises(ServerUnreachableError, match=f"at 127.0.0.1:{port}. .* Start it with `smalltowers serve`"):
        rank(config.model_copy(update={"port": port}), tables, "u1", ["i1"])


class FakePredictions(prediction_service_pb2_grpc.PredictionServiceServicer):
    """Answers with given outputs, once it is let go."""

    def __init__(self, outputs):
        self.outputs = outputs
        self.may_answer = threading.Event()

    def GetModelMetadata(self, request, context):  # noqa: N802
        response = get_model_metadata_pb2.GetModelMetadataResponse()
        response.metadata["signature_def"].Pack(get_model_metadata_pb2.SignatureDefMap())
        return response

    def Predict(self, request, context):  # noqa: N802
        self.may_answer.wait(30)
        response = predict_pb2.PredictResponse()
        for name, values in self.outputs.items():
            response.outputs[name].CopyFrom(tf.make_tensor_proto(values))
        return response


@pytest.fixture
def fake(config):
    servicer = FakePredictions({name: [0.5] for name in ("click", "watch_seconds", "satisfaction")})
    server = grpc.server(futures.ThreadPoolExecutor(1))
    prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(servicer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield servicer, config.model_copy(update={"port": port})
    servicer.may_answer.set()
    server.stop(grace=None).wait()


def test_answer_after_the_deadline_is_an_error(fake, tables):
    _, config = fake
    with pytest.raises(DeadlineError, match=r"at 127.0.0.1:\d+ must answer within 50 ms"):
        rank(config.model_copy(update={"deadline_ms": 50}), tables, "u1", ["i1"])


@pytest.mark.parametrize(
    ("outputs", "message"),
    [
        ({"click": [0.5]}, "must have the output \"watch_seconds\". Received: \\['click'\\]"),
        ({"click": [0.5, 0.5]}, 'output "click" must hold 1 floats. Received: float32 of shape \\[2\\]'),
        ({"click": ["yes"]}, 'output "click" must hold 1 floats. Received: object'),
    ],
)
def test_answer_that_does_not_fit_is_an_error(fake, tables, outputs, message):
    servicer, config = fake
    servicer.outputs = outputs
    servicer.may_answer.set()
    with pytest.raises(PredictionError, match=message):
        rank(config, tables, "u1", ["i1"])
