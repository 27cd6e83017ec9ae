import logging
import math

import numpy as np
import pytest
import tensorflow as tf

from models import training
from models.config import ModelConfig, TaskConfig
from models.errors import DivergedError, TrainingError
from models.history import from_json, to_json
from models.keras import keras
from models.metrics import auc
from models.rows import TransformedRows
from models.training import CURVES_FOLDER, fit
from models.validation import Validated, Validator, stopping_value
from tests.unit.models.conftest import MODEL

LABELS = ("click", "watch_seconds", "satisfaction")

# Few features: a training is mostly the making of its graph.
FEATURES = ("user_id", "age", "fans")


@pytest.fixture(scope="module")
def small_config():
    return ModelConfig(**MODEL | {"features": [feature for feature in MODEL["features"] if feature["name"] in FEATURES]})


def changed(config, **changes):
    return config.model_validate({**config.model_dump(), **changes})


@pytest.fixture
def run(transformed, train_files, small_config, train_config):
    """Trains on the fixture's rows; validation, where wanted, on the same ones."""

    def run(validate=False, model=small_config, on_progress=None, folder=None, **changes):
        return fit(
            model,
            changed(train_config, **{"learning_rate": 0.02, **changes}),
            transformed.output,
            train_files,
            train_files if validate else (),
            on_progress=on_progress,
            folder=folder,
        )

    return run


def weights_of(fitted):
    return [variable.numpy() for variable in fitted.ranker.served_variables]


def test_fit_learns_and_reports(transformed, run):
    seen = []
    fitted = run(validate=True, epochs=3, on_progress=seen.append)
    course = fitted.history.training
    assert fitted.epochs == course.epochs
    assert [(epoch.num_steps, epoch.num_rows) for epoch in course.epochs] == [(5, 320)] * 3
    assert (course.best_epoch, course.is_stopped_early, course.num_rows) == (3, False, 960)
    for label in ("click", "watch_seconds"):
        assert course.epochs[2].train_losses[label] < course.epochs[0].train_losses[label]
    batch, last = transformed.batch, course.epochs[2]
    weights, labels = batch["click_mask"].numpy(), batch["click"].numpy()
    probabilities = fitted.ranker(batch)["click"].numpy()
    expected = np.average([-math.log(p if y else 1 - p) for p, y in zip(probabilities, labels, strict=True)], weights=weights)
    assert last.validation_losses["click"] == pytest.approx(expected, rel=1e-4)
    assert last.validation_measures["click"]["auc"] == pytest.approx(auc(labels, probabilities, weights), abs=1e-5)
    assert [(progress.epoch, progress.num_rows) for progress in seen] == [(1, 0), (2, 0), (3, 0)]
    assert seen[0].parts == fitted.history.parts == fitted.ranker.describe()
    assert from_json(to_json(fitted.history)) == fitted.history


def test_a_seed_names_one_run(run):
    first, again, other = run(), run(), run(seed=5)
    for mine, same, different in zip(weights_of(first), weights_of(again), weights_of(other), strict=True):
        np.testing.assert_array_equal(mine, same)
        if mine.ndim == 2:
            assert np.abs(mine - different).max() > 1e-3


def test_stretches_of_steps_add_up_to_the_losses_of_the_epoch(run, small_config, monkeypatch):
    """Curves and running means come by different ways; without small towers and task weights they are one loss."""
    monkeypatch.setattr("models.course.STEPS_AT_ONCE", 2)
    tasks = [TaskConfig(label="click", head="binary")]
    seen = []
    model = changed(small_config, small_tower=None, tasks=tasks)
    fitted = run(model=model, batch_size=80, on_progress=seen.append)
    points = fitted.history.training.points
    assert [point.step for point in points] == [2, 4]
    assert [(progress.num_rows, progress.total_rows) for progress in seen] == [
        (0, pytest.approx(320, rel=0.05)),
        (160, 320),
        (320, 320),
    ]
    assert points[1].weights == {"click": 1.0}
    assert points[1].losses["click"] == points[1].total_loss
    mean = (points[0].losses["click"] + points[1].losses["click"]) / 2
    # Batches of equal size, whose weights differ a little.
    assert mean == pytest.approx(fitted.epochs[0].train_losses["click"], rel=0.02)


def test_curves_stay_short(run, monkeypatch):
    monkeypatch.setattr("models.course.STEPS_AT_ONCE", 1)
    monkeypatch.setattr("models.course.MAX_POINTS", 8)
    points = run(epochs=5).history.training.points
    assert [point.step for point in points] == [4, 8, 12, 16, 20, 24]


def test_learning_rates_follow_the_schedule(run):
    fitted = run(epochs=2, schedule="linear", warmup_steps=2, learning_rate=0.01)
    # Step n of 10 in all, 2 of them to warm up: 1 - (n - 1 - 2) / 8.
    assert [epoch.learning_rate for epoch in fitted.epochs] == pytest.approx([0.01 * 6 / 8, 0.01 / 8], rel=1e-5)


def test_the_best_epoch_is_kept(run):
    """A learning rate that spoils what was learned: the weights kept are those of the best epoch, not the last."""
    fitted = run(validate=True, epochs=8, learning_rate=0.3, early_stopping={"measure": "click log_loss", "patience": 1})
    course = fitted.history.training
    values = [epoch.stopping_value for epoch in course.epochs]
    assert values == [epoch.validation_measures["click"]["log_loss"] for epoch in course.epochs]
    assert course.best_epoch == values.index(min(values)) + 1 < len(values)
    assert course.is_stopped_early
    assert len(values) == course.best_epoch + 2
    alone = run(validate=True, epochs=course.best_epoch, learning_rate=0.3)
    for kept, best in zip(weights_of(fitted), weights_of(alone), strict=True):
        np.testing.assert_array_equal(kept, best)


def test_averaged_weights_are_validated_and_kept(transformed, run):
    fitted = run(validate=True, epochs=2, ema_decay=0.9)
    plain = run(validate=True, epochs=2)
    assert fitted.epochs[1].train_losses == plain.epochs[1].train_losses
    assert fitted.epochs[1].validation_losses["click"] != plain.epochs[1].validation_losses["click"]
    labels, weights = (transformed.batch[name].numpy() for name in ("click", "click_mask"))
    served = fitted.ranker(transformed.batch)["click"].numpy()
    assert fitted.epochs[1].validation_measures["click"]["auc"] == pytest.approx(auc(labels, served, weights), abs=1e-5)


def test_refit_trains_on_all_rows_for_the_best_number_of_epochs(transformed, run, small_config):
    """The validation files are the training files here, and a file counts once: the refit repeats the first training."""
    tasks = [task.model_copy(update={"calibration": "isotonic"}) for task in small_config.tasks[:2]]
    model = changed(small_config, tasks=[task.model_dump() for task in (*tasks, small_config.tasks[2])])
    seen = []
    fitted = run(
        validate=True, model=model, epochs=4, learning_rate=0.3, refit=True, schedule="cosine",
        early_stopping={"measure": "click log_loss", "patience": 0}, on_progress=seen.append,
    )  # fmt: skip
    first, refit = fitted.history.training, fitted.history.refit
    assert fitted.history.served is refit
    assert len(refit.epochs) == first.best_epoch
    assert refit.epochs[0].validation_losses == {}
    for before, after in zip(first.epochs, refit.epochs, strict=False):
        assert (before.train_losses, before.learning_rate) == (after.train_losses, after.learning_rate)
    assert [progress.is_refit for progress in seen] == [False] * len(first.epochs) + [True] * len(refit.epochs)
    assert set(fitted.calibrators) == {"click", "watch_seconds"}
    served, labels = fitted.ranker(transformed.batch)["click"], transformed.batch["click"].numpy()
    weights = transformed.batch["click_mask"].numpy()
    calibrated = fitted.calibrators["click"](served).numpy()
    assert np.average(calibrated, weights=weights) == pytest.approx(np.average(labels, weights=weights), abs=0.01)


def test_heads_learn_from_all_rows_before_the_first_step(transformed, run, small_config):
    seconds = np.array([row["watch_seconds"] for row in transformed.rows])
    is_known = np.array([row["watch_seconds_mask"] for row in transformed.rows]) > 0
    tasks = [{"label": "watch_seconds", "head": {"kind": "ordinal", "num_thresholds": 4}}]
    fitted = run(model=changed(small_config, tasks=tasks, small_tower=None))
    thresholds = fitted.ranker.heads["watch_seconds"].state
    values = np.concatenate([variable.numpy().ravel() for variable in thresholds])
    for quantile in np.quantile(seconds[is_known], [0.25, 0.5, 0.75]):
        assert np.abs(values - quantile).min() < 0.1 * quantile


@pytest.mark.parametrize(
    "body", [{"kind": "shared_bottom", "units": [8, 6]}, {"kind": "mmoe", "num_experts": 2, "expert_units": [6]}]
)
def test_other_bodies_and_methods_train(run, small_config, body):
    """A method that compares gradients reports how they conflict, and one with an epoch's end is told of it."""
    model = changed(small_config, body=body, balancing={"kind": "pcgrad"})
    fitted = run(model=model, epochs=3)
    assert fitted.epochs[2].train_losses["click"] < fitted.epochs[0].train_losses["click"]
    [*_, point] = fitted.history.training.points
    assert set(point.conflict) == {"gradient_cosine", "gradient_dominance", "gradient_reciprocal_condition"}
    assert -1 <= point.conflict["gradient_cosine"] <= 1 <= point.conflict["gradient_dominance"]
    assert 0 < point.conflict["gradient_reciprocal_condition"] < 1


def test_the_end_of_an_epoch_reaches_the_balancing_method(run, small_config):
    fitted = run(model=changed(small_config, balancing={"kind": "dwa"}), epochs=4)
    weights = [point.weights for point in fitted.history.training.points]
    assert weights[0] == weights[1] == dict.fromkeys(LABELS, 1.0)
    assert len(set(weights[3].values())) == 3


def test_a_diverging_loss_names_task_epoch_and_batch(run):
    with pytest.raises(
        DivergedError, match=r"lower train.learning_rate. Received: loss=.* of the task .* in epoch 1, batch 2$"
    ):
        run(learning_rate=1e30, epochs=50)


@pytest.mark.parametrize(("label", "bad_batch"), [("click", 1), ("satisfaction", 7), ("watch_seconds", 10)])
def test_the_first_bad_batch_is_named_though_it_is_looked_for_later(run, label, bad_batch, monkeypatch):
    """The eleventh batch is bad too, for another task: it is not the one to be named."""
    count = tf.Variable(0)
    columns_fn = TransformedRows.columns

    def spoiled(self, packed):
        columns = columns_fn(self, packed)
        number = count.assign_add(1)
        for name, bad in ((label, bad_batch), ("click" if label != "click" else "satisfaction", bad_batch + 1)):
            columns[name] = tf.where(number == bad, math.nan, columns[name])
        return columns

    monkeypatch.setattr(TransformedRows, "columns", spoiled)
    epoch, batch = (bad_batch - 1) // 5 + 1, (bad_batch - 1) % 5 + 1
    with pytest.raises(DivergedError, match=rf"loss=nan of the task {label} in epoch {epoch}, batch {batch}$"):
        run_without_building(run, count, epochs=3)


def run_without_building(run, count, **changes):
    """What is read to make variables does not count as a batch."""
    build, made = training._build, []

    def counted(*arguments):
        build(*arguments)
        count.assign(0)
        made.append(True)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training, "_build", counted)
        run(**changes)
    assert made


def test_curves_are_written(run, tmp_path):
    run(validate=True, epochs=2, folder=str(tmp_path))
    [events] = (tmp_path / CURVES_FOLDER / "training").glob("events*")
    tags = {value.tag for event in tf.compat.v1.train.summary_iterator(str(events)) for value in event.summary.value}
    assert {"steps/loss/click", "steps/learning_rate", "steps/balancing_weight/click", "steps/total_loss"} <= tags
    assert {"train/loss/click", "validation/loss/watch_seconds", "validation/auc/click", "train/rows_per_second"} <= tags


def test_without_curves_none_are_written(run, tmp_path):
    run(folder=str(tmp_path), tensorboard=False)
    assert not (tmp_path / CURVES_FOLDER).exists()


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"early_stopping": {}}, "train.early_stopping"),
        ({"refit": True}, "train.refit"),
    ],
)
def test_what_needs_validation_rows_says_so(run, changes, key):
    with pytest.raises(TrainingError, match=f"{key} needs validation rows; set data.split.validation_days. Received: none"):
        run(**changes)


def test_calibration_needs_validation_rows(run, small_config):
    tasks = [{"label": "click", "head": "binary", "calibration": "platt"}]
    with pytest.raises(TrainingError, match=r"model.tasks.0.calibration needs validation rows"):
        run(model=changed(small_config, tasks=tasks))


@pytest.mark.parametrize("measure", ["click", "click mae", "nothing auc", "watch_seconds auc"])
def test_a_measure_of_early_stopping_must_exist(run, measure):
    with pytest.raises(TrainingError, match=rf"must be one of loss, click auc, .* Received: {measure}$"):
        run(validate=True, early_stopping={"measure": measure})


@pytest.mark.parametrize("measure", ["click gauc", "satisfaction ndcg"])
def test_no_training_is_stopped_by_groups_of_transformed_users(run, measure):
    """GAUC goes by user and day, NDCG by request: user_id is a feature of this ranker, and still neither is to be had."""
    with pytest.raises(TrainingError, match=rf"must be one of loss, click auc, .*gauc and ndcg.* Received: {measure}$"):
        run(validate=True, early_stopping={"measure": measure})


def test_validation_measures_know_no_groups(run):
    measures = run(validate=True).epochs[-1].validation_measures
    assert {label: set(by_name) for label, by_name in measures.items()} == {
        "click": {"auc", "log_loss", "normalised_entropy", "expected_calibration_error"},
        "watch_seconds": {"mean_absolute_error_seconds", "xauc"},
        "satisfaction": {"auc", "log_loss", "normalised_entropy", "expected_calibration_error"},
    }


class CountingValidator(Validator):
    num_traces = 0

    def _judge(self, packed):
        self.num_traces += 1
        return super()._judge(packed)


def test_every_validator_traces_once_and_many_of_them_warn_of_nothing(run, transformed, train_files, caplog, monkeypatch):
    """The last batch is a smaller one; TensorFlow warns of the fifth trace of the same code within sixteen calls."""
    ranker = run().ranker
    monkeypatch.setattr("models.validation.BATCH_ROWS", 256)
    rows = TransformedRows(train_files, transformed.output.transformed_feature_spec())
    logging.getLogger("tensorflow").addHandler(caplog.handler)
    try:
        validators = [CountingValidator(rows, ranker) for _ in range(6)]
        values = [validator.validate().losses for validator in validators for _ in range(2)]
    finally:
        logging.getLogger("tensorflow").removeHandler(caplog.handler)
    assert [validator.num_traces for validator in validators] == [1] * 6
    assert all(losses == values[0] for losses in values)
    assert "retracing" not in caplog.text


@pytest.mark.parametrize(
    ("measure", "value"),
    [("loss", 0.5 + 0.2 * 3.0 + 0.25), ("click auc", -0.75), ("watch_seconds mean_absolute_error_seconds", 4.0)],
)
def test_what_early_stopping_looks_at_is_the_lower_the_better(small_config, measure, value):
    measures = {"click": {"auc": 0.75}, "watch_seconds": {"mean_absolute_error_seconds": 4.0}}
    validated = Validated({"click": 0.5, "watch_seconds": 3.0, "satisfaction": 0.25}, measures, {}, {}, {})
    assert stopping_value(measure, validated, small_config.tasks) == pytest.approx(value)


def test_a_measure_that_the_rows_do_not_define_is_an_error(small_config):
    validated = Validated({}, {"click": {"auc": None}}, {}, {}, {})
    with pytest.raises(TrainingError, match=r"must be defined on the validation rows. Received: click auc"):
        stopping_value("click auc", validated, small_config.tasks)


def test_xla_with_several_devices_is_refused(run):
    with pytest.raises(TrainingError, match=r"train.xla needs train.strategy none. Received: mirrored"):
        run(xla=True, strategy="mirrored")


def test_mixed_precision_is_set_for_the_training_alone(run, transformed):
    fitted, plain = run(mixed_precision=True, epochs=3), run(epochs=3)
    assert keras.mixed_precision.global_policy().name == "float32"
    served = fitted.ranker(transformed.batch)["click"]
    assert served.dtype == tf.float32
    assert all(variable.dtype == tf.float32 for variable in fitted.ranker.trainable_variables)
    assert fitted.epochs[2].train_losses["click"] == pytest.approx(plain.epochs[2].train_losses["click"], rel=0.02)
    assert fitted.epochs[2].train_losses != plain.epochs[2].train_losses


def test_losses_are_scaled_in_the_16_bits_of_a_gpu(run):
    """Small gradients would be 0 in float16; a GPU's policy, on this processor."""
    keras.mixed_precision.set_global_policy("mixed_float16")
    try:
        fitted = run(epochs=3, clip_norm=1.0)
    finally:
        keras.mixed_precision.set_global_policy("float32")
    plain = run(epochs=3, clip_norm=1.0)
    assert isinstance(fitted.ranker.optimizer, keras.mixed_precision.LossScaleOptimizer)
    assert fitted.epochs[2].train_losses["click"] == pytest.approx(plain.epochs[2].train_losses["click"], rel=0.02)


def test_a_failed_training_leaves_the_precision_as_it_was(run):
    with pytest.raises(DivergedError, match="must stay finite"):
        run(mixed_precision=True, learning_rate=1e30)
    assert keras.mixed_precision.global_policy().name == "float32"


def test_xla_trains_as_without(run):
    compiled, plain = run(xla=True), run()
    for mine, theirs in zip(weights_of(compiled), weights_of(plain), strict=True):
        np.testing.assert_allclose(mine, theirs, atol=1e-4)
