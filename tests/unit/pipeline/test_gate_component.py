"""The gate as a component: from artifacts to a blessing and `metrics.json`."""

import json

import numpy as np
import pytest
import tensorflow_data_validation as tfdv
from tfx.components.evaluator import constants
from tfx.types import Channel, standard_artifacts

from models.config import ModelConfig
from pipeline.components.artifacts import TaskMetrics
from pipeline.components.gate import Executor, Gate
from pipeline.config import CONFIG_FILE
from pipeline.evaluation_config import EvaluationConfig
from pipeline.gate import read_evaluation
from pipeline.scoring import score
from pipeline.skew.predictions import PREDICTIONS_FILE
from tests.unit.pipeline.saved_models import LABELS, made_up_rows, save_model, write_rows

TASKS = ModelConfig.model_fields["tasks"].default


@pytest.fixture(scope="module")
def artifacts(tmp_path_factory):
    """Rows and two models on disk, the second one worse on watch time alone."""
    folder = tmp_path_factory.mktemp("gate")
    write_rows(folder / "examples" / "Split-eval", made_up_rows(2_000, 300))
    for prefix in ("first", "second"):
        save_model(folder / prefix / "Format-Serving", prefix)
    return folder


def artifact(type_, folder, id_=0):
    made = type_()
    made.uri, made.id = str(folder), id_
    return made


def run_gate(artifacts, tmp_path, model, in_service=None, version=None, eval_from=None):
    examples = artifact(standard_artifacts.Examples, artifacts / "examples")
    examples.split_names = '["train", "eval"]'
    push = artifact(standard_artifacts.PushedModel, tmp_path / "push")
    push.set_string_custom_property("pushed_version", version or "")
    if eval_from:
        file = tmp_path / "push" / CONFIG_FILE
        file.parent.mkdir(parents=True)
        file.write_text(json.dumps({"data": {"split": {"eval_from": eval_from}}, "key": "of other sources"}))
    inputs = {
        "examples": [examples],
        "model": [artifact(standard_artifacts.Model, artifacts / model, 5)],
        "in_service": [artifact(standard_artifacts.Model, artifacts / in_service, 3)] if in_service else [],
        "pushed_model": [push] if version else [],
    }
    outputs = {
        "metrics": [artifact(TaskMetrics, tmp_path / "metrics")],
        "blessing": [artifact(standard_artifacts.ModelBlessing, tmp_path / "blessing")],
    }
    (tmp_path / "metrics").mkdir()
    channels = [Channel(type=type_) for type_ in (standard_artifacts.Examples, standard_artifacts.Model)]
    gate = Gate(*channels, TASKS, EvaluationConfig(replicates=100, ndcg_at=5))
    Executor().Do(inputs, outputs, gate.exec_properties)
    return outputs["blessing"][0], read_evaluation(tmp_path / "metrics")


def test_component_blesses_the_first_model(artifacts, tmp_path):
    blessing, evaluation = run_gate(artifacts, tmp_path, "second")
    assert blessing.get_int_custom_property(constants.ARTIFACT_PROPERTY_BLESSED_KEY) == 1
    assert blessing.get_int_custom_property(constants.ARTIFACT_PROPERTY_CURRENT_MODEL_ID_KEY) == 5
    assert [path.name for path in (tmp_path / "blessing").iterdir()] == ["BLESSED"]
    assert (evaluation.num_rows, evaluation.num_replicates, evaluation.ndcg_at, evaluation.in_service) == (2_000, 100, 5, "")


@pytest.mark.parametrize(("version", "name"), [("17", "version 17"), (None, "model 3")])
def test_component_holds_back_what_is_worse_than_the_model_in_service(artifacts, tmp_path, version, name):
    blessing, evaluation = run_gate(artifacts, tmp_path, "second", "first", version)
    assert blessing.get_int_custom_property(constants.ARTIFACT_PROPERTY_BLESSED_KEY) == 0
    assert blessing.get_int_custom_property(constants.ARTIFACT_PROPERTY_BASELINE_MODEL_ID_KEY) == 3
    assert [path.name for path in (tmp_path / "blessing").iterdir()] == ["NOT_BLESSED"]
    [line] = evaluation.blocks
    assert line.startswith("watch_seconds XAUC fell by 0.")
    assert line.endswith(f"against the model in service, {name}")


def test_component_learns_from_the_push_what_the_model_in_service_has_seen(artifacts, tmp_path):
    """The second model is worse, but no row is of a day that the first one was not trained on."""
    days = sorted(set(made_up_rows(2_000, 300)["day"]))
    blessing, evaluation = run_gate(artifacts, tmp_path, "second", "first", "17", eval_from="2099-01-01")
    assert blessing.get_int_custom_property(constants.ARTIFACT_PROPERTY_BLESSED_KEY) == 1
    assert evaluation.notes[0].startswith("no comparison with version 17: all these rows are of days before 2099-01-01")
    (tmp_path / "again").mkdir()
    _, evaluation = run_gate(artifacts, tmp_path / "again", "second", "first", "17", eval_from=days[0])
    assert (evaluation.is_blessed, evaluation.caveat, evaluation.in_service) == (False, "", "version 17")


def test_component_tells_how_predictions_are_distributed(artifacts, tmp_path):
    run_gate(artifacts, tmp_path, "second", "first", "17")
    [data_set] = tfdv.load_stats_binary(str(tmp_path / "metrics" / PREDICTIONS_FILE)).datasets
    feature_by_name = {feature.path.step[0]: feature.num_stats for feature in data_set.features}
    assert sorted(feature_by_name) == sorted(f"predicted_{label}" for label in LABELS)
    columns = made_up_rows(2_000, 300)
    for label in LABELS:
        wanted = np.asarray(columns[f"second_{label}"], np.float32)
        found = feature_by_name[f"predicted_{label}"]
        assert found.common_stats.num_non_missing == 2_000
        assert (found.min, found.max) == (wanted.min(), wanted.max())
        assert found.mean == pytest.approx(wanted.mean(dtype=float))


def test_both_models_score_the_same_rows(artifacts):
    first, second = (
        score(artifacts / name / "Format-Serving", artifacts / "examples" / "Split-eval", LABELS)
        for name in ("first", "second")
    )
    columns = made_up_rows(2_000, 300)
    assert [user.decode() for user in first.keys["user_id"]] == columns["user_id"]
    assert np.array_equal(first.predictions["click"], second.predictions["click"])
    assert not np.array_equal(first.predictions["watch_seconds"], second.predictions["watch_seconds"])
