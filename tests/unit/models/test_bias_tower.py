"""The bias tower on clicks whose position bias is known."""

import numpy as np
import pytest
import tensorflow as tf

from models.config import ModelConfig
from models.keras import keras
from models.ranker import MultiTaskRanker

NUM_POSITIONS = 8
TRUE_BIAS = -0.4 * np.arange(NUM_POSITIONS)
SLOPE = 1.5


def clicks(num_rows=20_000, seed=0):
    """Impressions of an older ranker that put better items first: quality and position hang together."""
    generator = np.random.default_rng(seed)
    quality = generator.normal(size=(num_rows // NUM_POSITIONS, NUM_POSITIONS))
    belief = quality + generator.normal(size=quality.shape)
    position = np.argsort(np.argsort(-belief, axis=1), axis=1)
    logit = SLOPE * quality + TRUE_BIAS[position]
    columns = {
        "quality": quality.ravel().astype("f4"),
        "position": position.ravel(),
        "click": (generator.random(quality.shape) < 1 / (1 + np.exp(-logit))).ravel().astype("f4"),
        "click_mask": np.ones(quality.size, "f4"),
    }
    return {name: tf.constant(column) for name, column in columns.items()}


def config(bias_tower, **changes):
    fields = {
        "features": [{"kind": "numeric", "name": "quality"}]
        + ([{"kind": "categorical", "name": "position", "dimension": 4}] if bias_tower else []),
        "body": {"kind": "shared_bottom", "units": [8]},
        "tower_units": [4],
        "small_tower": {"kind": "linear"},
        "bias_tower": bias_tower,
        "tasks": [{"label": "click", "head": "binary"}],
    }
    return ModelConfig(**fields | changes)


def fitted(bias_tower, columns, steps=400):
    ranker = MultiTaskRanker(config(bias_tower), {"position": NUM_POSITIONS}, seed=1)
    ranker.compile(optimizer=keras.optimizers.legacy.Adam(0.02))
    ranker.compute_loss(columns, training=True)
    step = tf.function(ranker.train_step, autograph=False)
    for _ in range(steps):
        step(columns)
    return ranker


@pytest.fixture(scope="module")
def columns():
    return clicks()


@pytest.fixture(scope="module")
def ranker(columns):
    return fitted({"features": ["position"], "tasks": ["click"], "dropout": 0.0}, columns)


def slope(ranker):
    ends = {"quality": tf.constant([-1.0, 1.0]), "position": tf.zeros(2, tf.int64)}
    low, high = ranker.main_outputs(ends)[0]["click"].numpy()
    return (high - low) / 2


def test_the_served_score_reads_no_position(ranker, columns):
    outputs = ranker.main_outputs(columns)[0]["click"]
    moved = ranker.main_outputs(columns | {"position": NUM_POSITIONS - 1 - columns["position"]})[0]["click"]
    np.testing.assert_array_equal(outputs, moved)
    without = {name: column for name, column in columns.items() if name != "position"}
    np.testing.assert_array_equal(ranker.main_outputs(without)[0]["click"], outputs)
    assert not any("bias" in variable.name.split("/")[1] for variable in ranker.served_variables)


def test_the_bias_of_every_position_is_recovered(ranker):
    positions = {"position": tf.range(NUM_POSITIONS, dtype=tf.int64)}
    biases = ranker._bias_tower(ranker._bias_inputs(positions), tf.ones([NUM_POSITIONS, 1])).numpy()[:, 0]
    np.testing.assert_allclose(biases, TRUE_BIAS - TRUE_BIAS.mean(), atol=0.2)


def test_the_score_is_as_steep_in_quality_as_the_truth(ranker, columns):
    """Without the tower, quality is credited with what good positions earned."""
    assert slope(ranker) == pytest.approx(SLOPE, abs=0.1)
    assert slope(fitted(None, columns)) > SLOPE + 0.2


def test_leaving_the_bias_out_keeps_the_mean(ranker, columns):
    """Of the outputs: what a constant could explain is in the main tower."""
    biases = ranker._bias_tower(ranker._bias_inputs(columns), tf.ones([len(columns["click"]), 1]))
    assert float(tf.reduce_mean(biases)) == pytest.approx(0, abs=1e-5)


def test_it_is_added_to_main_and_small_outputs_of_its_tasks_in_training_only():
    batch = {
        "quality": tf.constant([1.0, -1.0]),
        "position": tf.constant([0, 5], tf.int64),
        **{label: tf.constant([1.0, 0.0]) for label in ("click", "satisfaction")},
        **{f"{label}_mask": tf.ones(2) for label in ("click", "satisfaction")},
    }
    tasks = [{"label": "click", "head": "binary"}, {"label": "satisfaction", "head": "binary"}]
    bias_tower = {"features": ["position"], "tasks": ["satisfaction"], "dropout": 0.0}
    ranker = MultiTaskRanker(config(bias_tower, tasks=tasks), {"position": NUM_POSITIONS}, seed=1)
    served, in_training = ranker.batch_losses(batch), ranker.batch_losses(batch, training=True)
    assert float(served.main[0]) == float(in_training.main[0])
    assert float(served.main[1]) != float(in_training.main[1])
    hidden = ranker.represent(batch)[0].tasks[1]
    bias = ranker._bias_tower(ranker._bias_inputs(batch), tf.ones([2, 1]))[:, 0]
    towers = ranker.members[0].tower_by_label["satisfaction"], ranker.members[0].small_tower_by_label["satisfaction"]
    losses = [
        float(tf.reduce_mean(tf.nn.sigmoid_cross_entropy_with_logits(batch["satisfaction"], tower(hidden) + bias)))
        for tower in towers
    ]
    assert float(in_training.main[1]) == pytest.approx(losses[0], rel=1e-5)
    assert float(in_training.tasks[1]) == pytest.approx(sum(losses), rel=1e-5)


def test_it_shifts_a_head_of_several_outputs_as_a_whole():
    """All probabilities of an ordinal head go up or down together: the other outputs are steps from the first."""
    batch = {
        "quality": tf.constant([1.0, -1.0, 0.5]),
        "position": tf.constant([0, 5, 2], tf.int64),
        "watch_seconds": tf.constant([3.0, 0.0, 9.0]),
        "watch_seconds_mask": tf.ones(3),
    }
    tasks = [{"label": "watch_seconds", "head": {"kind": "ordinal", "num_thresholds": 3}}]
    bias_tower = {"features": ["position"], "tasks": ["watch_seconds"], "dropout": 0.0}
    ranker = MultiTaskRanker(config(bias_tower, tasks=tasks, small_tower=None), {"position": NUM_POSITIONS}, seed=1)
    head = ranker.heads["watch_seconds"]
    ranker.adapt_heads({name: column.numpy() for name, column in batch.items()})
    loss = ranker.batch_losses(batch, training=True).main[0]
    bias = ranker._bias_tower(ranker._bias_inputs(batch), tf.ones([3, 1]))
    outputs = ranker.main_outputs(batch)[0]["watch_seconds"] + bias * [[1.0, 0.0, 0.0]]
    assert outputs.shape == (3, head.width)
    moved = head._logits(outputs) - head._logits(ranker.main_outputs(batch)[0]["watch_seconds"])
    np.testing.assert_allclose(moved, tf.repeat(bias, 3, axis=1), atol=1e-5)
    assert np.abs(bias).min() > 1e-3
    expected = head.loss(outputs, batch["watch_seconds"], batch["watch_seconds_mask"], batch)
    assert float(loss) == pytest.approx(float(expected), rel=1e-5)


def test_main_outputs_start_as_without_a_bias_tower():
    batch = {"quality": tf.constant([1.0, -1.0]), "position": tf.constant([0, 5], tf.int64)}
    with_tower, without = (
        MultiTaskRanker(config(bias), {"position": NUM_POSITIONS}, seed=1)
        for bias in ({"features": ["position"], "tasks": ["click"]}, None)
    )
    np.testing.assert_array_equal(with_tower.main_outputs(batch)[0]["click"], without.main_outputs(batch)[0]["click"])
