import math

import numpy as np
import pytest
import tensorflow as tf

from models.heads import HEADS, seconds_from_log1p
from models.losses import masked_binary_cross_entropy, masked_log1p_squared_error


def weighted_mean(losses, weights):
    return sum(weight * loss for weight, loss in zip(weights, losses, strict=True)) / sum(weights) if any(weights) else 0.0


def binary_oracle(labels, logits, weights):
    probabilities = [1 / (1 + math.exp(-logit)) for logit in logits]
    losses = [-math.log(p if label == 1 else 1 - p) for label, p in zip(labels, probabilities, strict=True)]
    return weighted_mean(losses, weights)


def log1p_oracle(labels, outputs, weights):
    return weighted_mean([(math.log(1 + y) - z) ** 2 for y, z in zip(labels, outputs, strict=True)], weights)


@pytest.mark.parametrize(
    ("loss_fn", "oracle"), [(masked_binary_cross_entropy, binary_oracle), (masked_log1p_squared_error, log1p_oracle)]
)
@pytest.mark.parametrize("known", [0.0, 0.1, 0.5, 1.0])
@pytest.mark.parametrize("is_weighted", [False, True])
def test_is_the_weighted_mean_over_known_rows(loss_fn, oracle, known, is_weighted):
    generator = np.random.default_rng(3)
    labels, outputs = generator.integers(2, size=50).astype("f4"), generator.normal(size=50).astype("f4")
    weights = (generator.random(50) < known).astype("f4")
    if is_weighted:
        weights *= generator.uniform(0.2, 3, size=50).astype("f4")
    assert float(loss_fn(labels, outputs, weights)) == pytest.approx(oracle(labels, outputs, weights), abs=1e-6)


@pytest.mark.parametrize("loss_fn", [masked_binary_cross_entropy, masked_log1p_squared_error])
def test_unknown_labels_reach_neither_loss_nor_gradient(loss_fn):
    outputs = tf.Variable([0.3, -0.2])
    with tf.GradientTape() as tape:
        loss = loss_fn(tf.constant([1.0, float("nan")]), outputs, tf.constant([1.0, 0.0]))
    gradient = tape.gradient(loss, outputs).numpy()
    assert np.isfinite(loss.numpy())
    assert gradient[0] != 0
    assert gradient[1] == 0


def test_losses_are_float32_for_half_precision_outputs():
    outputs = tf.constant([0.5], tf.float16)
    assert masked_binary_cross_entropy(tf.constant([1.0]), outputs, tf.constant([1.0])).dtype == tf.float32


def test_served_seconds_are_never_negative():
    np.testing.assert_allclose(seconds_from_log1p(tf.constant([-1.0, 0.0, math.log(11)])), [0, 0, 10], rtol=1e-6)
    assert HEADS["log1p"].served_fn is seconds_from_log1p
