import math

import numpy as np
import pytest
import scipy.special
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import mean_tweedie_deviance

from models.losses import cross_entropy, known_labels, log1p_error, tweedie_deviance, weighted_logistic_loss, weighted_mean

LOGITS = st.floats(-12, 12, width=32)
AMOUNTS = st.one_of(st.just(0.0), st.floats(2**-7, 512, width=32))


def value(loss_fn, label, output, *arguments):
    return float(loss_fn(tf.constant([label], tf.float32), tf.constant([output], tf.float32), *arguments)[0])


def sigmoid(logit):
    return 1 / (1 + math.exp(-logit))


@settings(deadline=None, max_examples=60)
@given(label=st.floats(0, 1, width=32), logit=LOGITS)
def test_cross_entropy(label, logit):
    expected = -label * math.log(sigmoid(logit)) - (1 - label) * math.log(sigmoid(-logit))
    assert value(cross_entropy, label, logit) == pytest.approx(expected, rel=1e-4, abs=1e-6)
    if 0 < label < 1:
        assert value(cross_entropy, label, logit) >= value(cross_entropy, label, scipy.special.logit(label)) - 1e-5


@settings(deadline=None, max_examples=60)
@given(seconds=AMOUNTS, output=st.floats(-3, 8, width=32), delta=st.sampled_from([0.1, 1.0, 5.0]))
def test_log1p_error(seconds, output, delta):
    error = math.log(1 + seconds) - output
    assert value(log1p_error, seconds, output) == pytest.approx(error**2, rel=1e-4, abs=1e-5)
    expected = 2 * scipy.special.huber(delta, error)
    assert value(log1p_error, seconds, output, delta) == pytest.approx(expected, rel=1e-4, abs=1e-5)


@settings(deadline=None, max_examples=60)
@given(seconds=AMOUNTS, logit=LOGITS)
def test_weighted_logistic_loss(seconds, logit):
    """One negative and `seconds` positives."""
    expected = -seconds * math.log(sigmoid(logit)) - math.log(sigmoid(-logit))
    assert value(weighted_logistic_loss, seconds, logit) == pytest.approx(expected, rel=1e-4, abs=1e-5)


@settings(deadline=None, max_examples=60)
@given(seconds=AMOUNTS, log_mean=st.floats(-5, 5, width=32), power=st.sampled_from([1.1, 1.5, 1.9]))
def test_tweedie_deviance(seconds, log_mean, power):
    expected = mean_tweedie_deviance([seconds], [math.exp(log_mean)], power=power)
    # Terms of about 1 / (2 - p) of the amount cancel near the minimum.
    tolerance = 1e-5 * (1 + seconds) / ((power - 1) * (2 - power))
    assert value(tweedie_deviance, seconds, log_mean, power, 10.0) == pytest.approx(expected, rel=1e-4, abs=tolerance)


@pytest.mark.parametrize("bound", [-2.0, 2.0])
def test_tweedie_deviance_goes_on_linearly_beyond_its_bound(bound):
    at, near, beyond = (value(tweedie_deviance, 3.0, bound * factor, 1.5, 2.0) for factor in (1, 1.001, 3))
    slope = 2 * (math.exp(0.5 * bound) - 3 * math.exp(-0.5 * bound))
    assert near - at == pytest.approx(slope * bound * 0.001, rel=0.05)
    assert beyond - at == pytest.approx(slope * bound * 2, rel=1e-4)
    outputs = tf.Variable([3 * bound])
    with tf.GradientTape() as tape:
        loss = tweedie_deviance(tf.constant([3.0]), outputs, 1.5, 2.0)
    assert float(tape.gradient(loss, outputs)[0]) == pytest.approx(slope, rel=1e-4)


def test_mean_of_the_rows_with_weight():
    assert float(weighted_mean(tf.constant([1.0, 4.0, 7.0]), tf.constant([2.0, 1.0, 0.0]))) == pytest.approx(2.0)
    assert float(weighted_mean(tf.constant([math.nan, math.inf, 7.0]), tf.constant([0.0, 0.0, 0.5]))) == 7.0
    assert float(weighted_mean(tf.constant([math.nan]), tf.constant([0.0]))) == 0.0


def test_unknown_labels_become_zero():
    labels, weights = known_labels(np.array([math.nan, 2.0]), np.array([0, 3]))
    assert labels.numpy().tolist() == [0.0, 2.0]
    assert (labels.dtype, weights.dtype) == (tf.float32, tf.float32)
