import numpy as np
import pytest
import tensorflow as tf
from tensorflow_serving.apis import prediction_log_pb2

from models.config import ModelConfig
from models.export import export
from models.inputs import table_sizes
from models.ranker import MultiTaskRanker
from models.signatures import ServedColumns
from models.warmup import WARMUP_FILE, write_warmup_requests
from tests.unit.models.conftest import MODEL

CANDIDATE_COLUMNS = ("category", "tab", "fans", "duration_seconds", "item_history", "author_history")


@pytest.fixture(scope="module")
def folder(transformed, tmp_path_factory):
    config = ModelConfig(**MODEL)
    ranker = MultiTaskRanker(config, table_sizes(config, transformed.output))
    ranker(transformed.batch)
    path = tmp_path_factory.mktemp("served") / "1"
    export(ranker, transformed.output, str(path), candidate_columns=CANDIDATE_COLUMNS)
    return path


@pytest.fixture(scope="module")
def requests(folder):
    records = tf.data.TFRecordDataset(str(folder / WARMUP_FILE)).as_numpy_iterator()
    return [prediction_log_pb2.PredictionLog.FromString(record).predict_log.request for record in records]


def test_every_signature_is_asked_with_one_and_with_a_hundred_rows(folder, requests):
    signatures = tf.saved_model.load(str(folder)).signatures
    rows = {}
    for request in requests:
        name = request.model_spec.signature_name
        outputs = signatures[name](**{key: tf.constant(tf.make_ndarray(proto)) for key, proto in request.inputs.items()})
        assert all(np.isfinite(values).all() for values in outputs.values())
        rows.setdefault(name, []).append(len(outputs["click"]))
    assert rows == {"serving_default": [1, 100], "transformed": [1, 100], "rank": [1, 100]}


def test_what_is_asked_is_known_to_the_model(requests, transformed):
    ranked = next(request for request in requests if request.model_spec.signature_name == "rank").inputs
    example = next(request for request in requests if request.model_spec.signature_name == "serving_default").inputs["examples"]
    columns = tf.train.Example.FromString(example.string_val[0]).features.feature
    for name in ("user_id", "category", "last_categories", "last_items"):
        owner = "category" if name == "last_categories" else name
        first = transformed.output.vocabulary_by_name(owner)[0]
        assert tf.make_ndarray(ranked[name]).ravel().tolist() == [first]
        assert list(columns[name].bytes_list.value) == [first]
    assert tf.make_ndarray(ranked["tab"]).tolist() == [int(transformed.output.vocabulary_by_name("tab")[0])]
    assert tf.make_ndarray(ranked["item_history"]).tolist() == [[5.0, 5.0]]
    assert columns["age"].float_list.value[:] == [30.0]


def test_without_columns_of_candidates_the_two_other_signatures_are_asked(transformed, folder, tmp_path):
    ranker = MultiTaskRanker(ModelConfig(**MODEL), table_sizes(ModelConfig(**MODEL), transformed.output))
    write_warmup_requests(str(tmp_path), ServedColumns(ranker, transformed.output), transformed.output)
    records = list(tf.data.TFRecordDataset(str(tmp_path / WARMUP_FILE)).as_numpy_iterator())
    assert len(records) == 4
