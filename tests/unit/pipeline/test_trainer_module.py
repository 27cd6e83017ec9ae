import json
import types

import pytest

from models.history import Course, Epoch, History
from models.part_sizes import PartSize
from models.train_config import TrainConfig
from models.warm_start_report import CopiedRows, WarmStartReport
from pipeline import trainer_module
from pipeline.summary import _trained
from pipeline.trainer_module import run_fn, training_digest
from pipeline.training_history import read_history, write_history


def arguments(tmp_path, **changes):
    custom_config = {
        "model": json.dumps({"features": [{"kind": "numeric", "name": "x"}]}),
        "train": TrainConfig(batch_size=7).model_dump_json(),
        "has_validation": "true",
        "candidate_columns": '["item_id"]',
        "unfinished": str(tmp_path / "unfinished"),
    }
    fields = {
        "custom_config": custom_config,
        "hyperparameters": None,
        "train_files": ["/rows/Split-train/*"],
        "eval_files": ["/rows/Split-validation/*"],
        "transform_output": str(tmp_path / "transform"),
        "base_model": None,
        "serving_model_dir": str(tmp_path / "1" / "serving"),
        "model_run_dir": str(tmp_path / "1" / "run"),
    }
    return types.SimpleNamespace(**fields | changes)


def epoch(rows=600, seconds=2.0, **losses):
    return Epoch(losses or {"click": 0.5}, {"click": 0.6}, {"click": {"auc": None}}, None, 0.1, 3, rows, seconds, 0.5)


def history(**changes):
    fields = {
        "parts": (PartSize("inputs", 3, None),),
        "training": Course((epoch(click=0.7), epoch(click=0.4)), (), 2, False),
        "refit": None,
        "warm_start": None,
    }
    return History(**fields | changes)


@pytest.fixture
def trained(monkeypatch):
    """What run_fn hands to fit and to export, which do not run here; fit leaves curves behind as it would."""
    seen = {}

    def fit(*positional, **named):
        seen["fit"] = (positional, named)
        curves = trainer_module.tf.io.gfile.join(named["folder"], "tensorboard", "training")
        trainer_module.tf.io.gfile.makedirs(curves)
        trainer_module.tf.io.gfile.GFile(f"{curves}/events", "w").write("curve")
        return types.SimpleNamespace(ranker="ranker", history=history(), calibrators={"click": "line"})

    monkeypatch.setattr(trainer_module, "fit", fit)
    monkeypatch.setattr(trainer_module, "export", lambda *given: seen.update(export=given))
    monkeypatch.setattr(trainer_module, "save_inputs", lambda *given: seen.update(save_inputs=given))
    return seen


def test_run_fn_trains_on_what_the_graph_says(tmp_path, trained):
    run_fn(arguments(tmp_path, base_model="/models/17"))
    (model, train, tft_output, train_files, validation_files), named = trained["fit"]
    assert [feature.name for feature in model.features] == ["x"]
    assert train.batch_size == 7
    assert (train_files, validation_files) == (["/rows/Split-train/*"], ["/rows/Split-validation/*"])
    assert named["warm_start"] == "/models/17"
    serving = str(tmp_path / "1" / "serving")
    assert trained["export"] == ("ranker", tft_output, serving, {"click": "line"}, ("item_id",))
    assert trained["save_inputs"] == ("ranker", tft_output, serving)


def test_tuned_values_count_features_as_they_are_configured(tmp_path, trained):
    """What differs by candidate is read last, but by keys of the configuration it stays where it stands there."""
    features = [{"kind": "categorical", "name": name, "dimension": 8} for name in ("item_id", "surface")]
    given = arguments(tmp_path, hyperparameters={"values": {"model.features.0.dimension": 4}, "space": []})
    given.custom_config["model"] = json.dumps({"features": features})
    run_fn(given)
    model = trained["fit"][0][0]
    assert [(feature.name, feature.dimension) for feature in model.features] == [("surface", 8), ("item_id", 4)]


def test_without_a_validation_split_there_are_no_validation_files(tmp_path, trained):
    given = arguments(tmp_path)
    given.custom_config["has_validation"] = "false"
    run_fn(given)
    assert trained["fit"][0][4] == ()


def test_history_and_curves_are_kept_and_what_was_unfinished_is_removed(tmp_path, trained):
    abandoned = tmp_path / "unfinished" / "another"
    abandoned.mkdir(parents=True)
    run_fn(arguments(tmp_path))
    assert read_history(tmp_path / "1" / "run") == history()
    assert (tmp_path / "1" / "run" / "tensorboard" / "training" / "events").read_text() == "curve"
    assert not (tmp_path / "unfinished").exists()


def test_an_attempt_finds_the_checkpoints_of_the_one_before(tmp_path, trained):
    """TFX gives every attempt folders of its own; all that goes in is the same."""
    folders = []
    for attempt in ("1", "2"):
        run_fn(arguments(tmp_path, serving_model_dir=str(tmp_path / attempt / "serving")))
        folders.append(trained["fit"][1]["folder"])
    assert folders[0] == folders[1]
    assert folders[0].startswith(str(tmp_path / "unfinished"))


@pytest.mark.parametrize(
    "changes",
    [
        {"train_files": ["/other"]},
        {"eval_files": ["/other"]},
        {"transform_output": "/other"},
        {"base_model": "/other"},
        {"hyperparameters": {"values": {"train.learning_rate": 1}}},
        {"custom_config": {"train": "{}"}},
    ],
)
def test_another_training_has_other_checkpoints(tmp_path, changes):
    assert training_digest(arguments(tmp_path)) != training_digest(arguments(tmp_path, **changes))


REPORT = WarmStartReport("/models/17", {"x": CopiedRows(1, 2, 3)}, 4, {"y": "absent before"})


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({}, "2 epochs; 300 rows/s; loss: click 0.4000"),
        ({"training": Course((epoch(click=0.25),), (), 1, False)}, "1 epoch; 300 rows/s; loss: click 0.2500"),
        (
            {"training": Course((epoch(click=0.7), epoch(click=0.4), epoch(click=0.3)), (), 2, True), "warm_start": REPORT},
            "3 epochs, epoch 2 kept, from the model in service; 300 rows/s; loss: click 0.4000",
        ),
        (
            {"warm_start": WarmStartReport("/models/17", {}, 0, {}, "it has no inputs.json")},
            "2 epochs, anew and not from the model in service, as it has no inputs.json; 300 rows/s; loss: click 0.4000",
        ),
        (
            {"refit": Course((epoch(rows=900, click=0.35),), (), 1, False)},
            "1 epoch, on validation rows too; 450 rows/s; loss: click 0.3500",
        ),
    ],
)
def test_a_training_in_a_line(tmp_path, changes, line):
    write_history(history(**changes), tmp_path)
    assert read_history(tmp_path) == history(**changes)
    assert _trained({"model_run": [types.SimpleNamespace(uri=str(tmp_path))]}) == line
