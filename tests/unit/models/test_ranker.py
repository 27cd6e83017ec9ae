import math

import numpy as np
import pytest
import tensorflow as tf

from models.config import ModelConfig
from models.ranker import MultiTaskRanker
from tests.unit.models.conftest import MODEL

LABELS = ("click", "watch_seconds", "satisfaction")


def hand_config(**changes):
    fields = {
        "features": [{"kind": "numeric", "name": "x"}],
        "body": {"kind": "shared_bottom", "units": (1,)},
        "tower_units": (1,),
        "small_tower": {"gamma": 0.5},
        "tasks": [
            {"label": "click", "head": "binary", "weight": 2.0},
            {"label": "watch_seconds", "head": "log1p", "weight": 0.25},
            {"label": "satisfaction", "head": "binary", "weight": 3.0},
        ],
    }
    return ModelConfig(**{**fields, **changes})


HAND_BATCH = {
    "x": tf.constant([1.0, 2.0, 3.0]),
    "click": tf.constant([1.0, 0.0, 1.0]),
    "click_mask": tf.constant([1.0, 1.0, 0.0]),
    "watch_seconds": tf.constant([0.0, 9.0, 3.0]),
    "watch_seconds_mask": tf.constant([0.0, 1.0, 1.0]),
    "satisfaction": tf.constant([1.0, 0.0, 0.0]),
    "satisfaction_mask": tf.constant([0.0, 0.0, 0.0]),
}


def hand_ranker(config):
    """h = x; main towers 0.5h + 0.1 (click), 0.3h (watch time), h (satisfaction); small ones -0.2h + 0.4, 0.1h + 1, 7h."""
    ranker = MultiTaskRanker(config, {})
    ranker.compute_loss(HAND_BATCH, training=True)
    values = {"tower_click": (0.5, 0.1), "tower_watch_seconds": (0.3, 0.0), "tower_satisfaction": (1.0, 0.0)}
    small = {"small_tower_click": (-0.2, 0.4), "small_tower_watch_seconds": (0.1, 1.0), "small_tower_satisfaction": (7.0, 0.0)}
    for variable in ranker.trainable_variables:
        part, is_kernel = variable.name.split("/")[-3], "kernel" in variable.name
        kernel, bias = (values | small).get(part, (1.0, 0.0))
        variable.assign(tf.fill(variable.shape, kernel if is_kernel else bias))
    return ranker


def bce(label, logit):
    probability = 1 / (1 + math.exp(-logit))
    return -math.log(probability if label else 1 - probability)


MAIN_CLICK = (bce(1, 0.6) + bce(0, 1.1)) / 2
SMALL_CLICK = (bce(1, 0.2) + bce(0, 0.0)) / 2
MAIN_WATCH = ((math.log(10) - 0.6) ** 2 + (math.log(4) - 0.9) ** 2) / 2
SMALL_WATCH = ((math.log(10) - 1.2) ** 2 + (math.log(4) - 1.3) ** 2) / 2


@pytest.mark.parametrize(
    ("small_tower", "expected"),
    [
        ({"gamma": 0.5}, 2 * (MAIN_CLICK + 0.5 * SMALL_CLICK) + 0.25 * (MAIN_WATCH + 0.5 * SMALL_WATCH)),
        ({"gamma": 0.5, "tasks": ["watch_seconds"]}, 2 * MAIN_CLICK + 0.25 * (MAIN_WATCH + 0.5 * SMALL_WATCH)),
        ({"gamma": 0.0}, 2 * MAIN_CLICK + 0.25 * MAIN_WATCH),
        (None, 2 * MAIN_CLICK + 0.25 * MAIN_WATCH),
    ],
)
def test_loss_of_a_hand_worked_case(small_tower, expected):
    """Satisfaction is known on no row: its loss is 0, not NaN."""
    ranker = hand_ranker(hand_config(small_tower=small_tower))
    assert float(ranker.compute_loss(HAND_BATCH, training=True)) == pytest.approx(expected, abs=1e-6)
    assert float(ranker.compute_loss(HAND_BATCH)) == pytest.approx(2 * MAIN_CLICK + 0.25 * MAIN_WATCH, abs=1e-6)


def test_served_values_of_a_hand_worked_case():
    served = hand_ranker(hand_config())(HAND_BATCH)
    np.testing.assert_allclose(served["click"], [1 / (1 + math.exp(-z)) for z in (0.6, 1.1, 1.6)], rtol=1e-6)
    np.testing.assert_allclose(served["watch_seconds"], [math.exp(z) - 1 for z in (0.3, 0.6, 0.9)], rtol=1e-5)


def test_recorded_losses_belong_to_their_tasks():
    ranker = hand_ranker(hand_config())
    ranker.reset_metrics()
    ranker.test_step(HAND_BATCH)
    recorded = {name: float(loss) for name, loss in ranker.mean_losses().items()}
    assert recorded["click_loss"] == pytest.approx(MAIN_CLICK, abs=1e-6)
    assert recorded["watch_seconds_loss"] == pytest.approx(MAIN_WATCH, abs=1e-6)


def test_recorded_loss_weighs_batches_by_their_known_rows():
    ranker = hand_ranker(hand_config())
    ranker.reset_metrics()
    ranker.test_step(HAND_BATCH)
    ranker.test_step({name: column[:1] for name, column in HAND_BATCH.items()})
    recorded = {name: float(loss) for name, loss in ranker.mean_losses().items()}
    assert recorded["click_loss"] == pytest.approx((bce(1, 0.6) + bce(0, 1.1) + bce(1, 0.6)) / 3, abs=1e-6)


@pytest.mark.parametrize("label", LABELS)
def test_each_label_moves_its_own_towers_only(label, transformed, make_ranker, model_config):
    ranker = make_ranker(model_config)
    others = {name: tf.zeros_like(transformed.batch[f"{name}_mask"]) for name in LABELS if name != label}
    batch = transformed.batch | {f"{name}_mask": zeros for name, zeros in others.items()}
    with tf.GradientTape() as tape:
        loss = ranker.compute_loss(batch, training=True)
    gradients = tape.gradient(loss, ranker.trainable_variables)
    for variable, gradient in zip(ranker.trainable_variables, gradients, strict=True):
        if "tower_" in variable.name:
            moves = np.abs(gradient).max() > 0
            assert moves == (f"tower_{label}/" in variable.name), variable.name


def test_task_weights_scale_the_loss(transformed, model_config, make_ranker):
    def loss(weights):
        tasks = [task.model_copy(update={"weight": weight}) for task, weight in zip(model_config.tasks, weights, strict=True)]
        ranker = make_ranker(model_config.model_copy(update={"tasks": tuple(tasks)}))
        return float(ranker.compute_loss(transformed.batch, training=True))

    parts = [loss([1, 0, 0]), loss([0, 1, 0]), loss([0, 0, 1])]
    assert loss([3, 0.5, 2]) == pytest.approx(3 * parts[0] + 0.5 * parts[1] + 2 * parts[2], rel=1e-5)
    assert len({round(part, 4) for part in parts}) == 3


def test_towers_start_different(transformed, model_config, make_ranker):
    ranker = make_ranker(model_config)
    for prefix in ("tower_", "small_tower_"):
        kernels = [
            variable.numpy()
            for variable in ranker.trainable_variables
            if variable.shape.rank == 2 and variable.name.split("ranker/")[-1].startswith(prefix)
        ]
        for index, first in enumerate(kernels):
            for second in kernels[:index]:
                assert first.shape != second.shape or np.abs(first - second).max() > 0.05
    outputs = ranker.main_outputs(transformed.batch)
    assert np.abs(outputs["click"] - outputs["satisfaction"]).max() > 0.01


@pytest.mark.parametrize("small_tower", [{"kind": "linear"}, {"kind": "pooled", "width": 3}])
def test_small_towers_leave_the_main_outputs_alone(small_tower, transformed, make_ranker):
    with_towers = make_ranker(ModelConfig(**MODEL, small_tower=small_tower))
    without = make_ranker(ModelConfig(**MODEL, small_tower=None))
    assert len(with_towers.trainable_variables) == len(without.trainable_variables) + 6
    assert len(with_towers.served_variables) == len(without.trainable_variables)
    first, second = with_towers.main_outputs(transformed.batch), without.main_outputs(transformed.batch)
    for label in LABELS:
        np.testing.assert_array_equal(first[label], second[label])


def test_small_towers_push_on_the_representation(transformed, model_config, make_ranker):
    ranker = make_ranker(model_config)
    muted = model_config.model_copy(update={"small_tower": None})
    gradients = []
    for one in (ranker, make_ranker(muted)):
        with tf.GradientTape() as tape:
            loss = one.compute_loss(transformed.batch, training=True)
        body = [variable for variable in one.trainable_variables if "body/" in variable.name]
        gradients.append([gradient.numpy() for gradient in tape.gradient(loss, body)])
    assert all(np.abs(first - second).max() > 1e-4 for first, second in zip(*gradients, strict=True))


def test_half_of_a_small_tower_gradient_per_half_gamma(transformed, make_ranker):
    """The gradient on the body is affine in gamma: no stop-gradient, no other tie."""

    def gradient(gamma):
        ranker = make_ranker(ModelConfig(**MODEL, small_tower={"gamma": gamma}))
        with tf.GradientTape() as tape:
            loss = ranker.compute_loss(transformed.batch, training=True)
        kernel = next(variable for variable in ranker.trainable_variables if "body/hidden/dense_0/kernel" in variable.name)
        return tape.gradient(loss, kernel).numpy()

    np.testing.assert_allclose(gradient(0.5), (gradient(0.0) + gradient(1.0)) / 2, atol=1e-6)
