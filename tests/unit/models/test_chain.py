"""Chained tasks: the product of probabilities, by its logit."""

import math

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from models.chain import joint_logits
from models.config import ModelConfig
from models.ranker import MultiTaskRanker

LOGITS = st.floats(-30, 30, width=32)


def sigmoid(logit):
    return 1 / (1 + math.exp(-logit))


def joint(parent, child):
    return float(joint_logits(tf.constant([parent]), tf.constant([child]))[0])


@given(LOGITS, LOGITS)
@settings(deadline=None)
def test_is_the_logit_of_the_product(parent, child):
    # The complement 1 - pq = (1 - p) + p (1 - q), whose parts are exact where p and q round to 1.
    product = sigmoid(parent) * sigmoid(child)
    complement = sigmoid(-parent) + sigmoid(parent) * sigmoid(-child)
    assert joint(parent, child) == pytest.approx(math.log(product / complement), rel=1e-5, abs=1e-5)


@given(LOGITS, LOGITS)
@settings(deadline=None)
def test_is_symmetric_and_below_both(parent, child):
    assert joint(parent, child) == pytest.approx(joint(child, parent), rel=1e-6, abs=1e-6)
    assert joint(parent, child) <= min(parent, child) + 1e-5


@pytest.mark.parametrize("parent", [-500.0, 0.0, 500.0])
@pytest.mark.parametrize("child", [-500.0, 0.0, 500.0])
def test_stays_finite_where_probabilities_round(parent, child):
    logits = tf.constant([parent]), tf.constant([child])
    with tf.GradientTape() as tape:
        tape.watch(logits)
        loss = tf.nn.sigmoid_cross_entropy_with_logits(tf.constant([1.0]), joint_logits(*logits))
    assert np.isfinite(loss).all()
    assert np.isfinite(tape.gradient(loss, logits)).all()


BATCH = {
    "x": tf.constant([1.0, -2.0, 0.5]),
    "click": tf.constant([1.0, 0.0, 1.0]),
    "satisfaction": tf.constant([1.0, 0.0, 0.0]),
    "click_mask": tf.ones(3),
    "satisfaction_mask": tf.constant([1.0, 1.0, 0.0]),
}


TASKS = [{"label": "click", "head": "binary"}, {"label": "satisfaction", "head": "binary", "given": "click"}]


def chained(small_tower=None, batch=BATCH, tasks=TASKS):
    fields = {
        "features": [{"kind": "numeric", "name": "x"}],
        "body": {"kind": "shared_bottom", "units": [6]},
        "tower_units": [4],
        "small_tower": small_tower,
        "tasks": tasks,
    }
    ranker = MultiTaskRanker(ModelConfig(**fields), {}, seed=4)
    ranker.compute_loss(batch, training=True)
    return ranker


def test_serves_and_trains_the_product():
    ranker = chained()
    hidden = ranker.represent(BATCH)[0]
    parent, child = (ranker.members[0].tower_by_label[label](hidden.tasks[0]).numpy() for label in ("click", "satisfaction"))
    product = [sigmoid(a) * sigmoid(b) for a, b in zip(parent, child, strict=True)]
    served = ranker(BATCH)
    np.testing.assert_allclose(served["satisfaction"], product, rtol=1e-5)
    np.testing.assert_allclose(served["click"], [sigmoid(a) for a in parent], rtol=1e-5)
    losses = ranker.batch_losses(BATCH)
    assert float(losses.main[1]) == pytest.approx(-(math.log(product[0]) + math.log(1 - product[1])) / 2, rel=1e-5)


def test_the_childs_loss_moves_the_parents_tower():
    ranker = chained()
    with tf.GradientTape(persistent=True) as tape:
        losses_T = ranker.task_losses(BATCH, training=True)
        of_click, of_satisfaction = losses_T[0], losses_T[1]
    towers = {label: ranker.members[0].tower_by_label[label].trainable_variables for label in ("click", "satisfaction")}
    assert all(np.abs(gradient).max() > 0 for gradient in tape.gradient(of_satisfaction, towers["click"]))
    assert not any(np.abs(gradient).max() for gradient in tape.gradient(of_click, towers["satisfaction"]))


def test_a_chain_of_three():
    batch = BATCH | {"bought": tf.zeros(3), "bought_mask": tf.ones(3)}
    ranker = chained(batch=batch, tasks=[*TASKS, {"label": "bought", "head": "binary", "given": "satisfaction"}])
    hidden = ranker.represent(batch)[0].tasks[0]
    product = np.prod([tf.sigmoid(tower(hidden)) for tower in ranker.members[0].tower_by_label.values()], axis=0)
    np.testing.assert_allclose(ranker(batch)["bought"], product, rtol=1e-5)


@pytest.mark.parametrize("tasks", [None, ["satisfaction", "click"]])
def test_small_towers_are_chained_alike(tasks):
    ranker = chained({"gamma": 0.5, "tasks": tasks})
    hidden = ranker.represent(BATCH)[0].tasks[0]
    parent, child = (ranker.members[0].small_tower_by_label[label](hidden) for label in ("click", "satisfaction"))
    product = [sigmoid(a) * sigmoid(b) for a, b in zip(parent.numpy(), child.numpy(), strict=True)]
    losses = ranker.batch_losses(BATCH, training=True)
    auxiliary = (float(losses.tasks[1]) - float(losses.main[1])) / 0.5
    assert auxiliary == pytest.approx(-(math.log(product[0]) + math.log(1 - product[1])) / 2, rel=1e-4)


def test_auxiliary_losses_of_a_chain_leave_all_main_towers_alone():
    """Main and auxiliary predictions are not tied: a small tower's loss reaches the body and small towers, and no other."""
    ranker = chained({"gamma": 0.5})
    member = ranker.members[0]
    with tf.GradientTape() as tape:
        losses = ranker.batch_losses(BATCH, training=True)
        auxiliary = tf.reduce_sum(losses.tasks - losses.main)
    of_main = [tower.trainable_variables for tower in member.tower_by_label.values()]
    of_small = [tower.trainable_variables for tower in member.small_tower_by_label.values()]
    main_gradients, small_gradients = tape.gradient(auxiliary, [of_main, of_small])
    assert all(np.abs(gradient).max() < 1e-6 for gradients in main_gradients for gradient in gradients)
    assert all(np.abs(gradient).max() > 1e-4 for gradients in small_gradients for gradient in gradients)


def test_a_small_tower_without_its_parents_is_refused():
    with pytest.raises(
        ValueError, match=r"small_tower\.tasks must name click beside satisfaction, which is given it\. Received: satisfaction"
    ):
        chained({"gamma": 0.5, "tasks": ["satisfaction"]})
    assert not chained({"gamma": 0.0, "tasks": ["satisfaction"]}).members[0].small_tower_by_label
