"""Dropout: its rate, its draws, and that they go on after a checkpoint."""

import numpy as np
import pytest
import tensorflow as tf

from models.layers.dropout import CountedDropout
from models.layers.experts import Experts
from models.layers.hidden import HiddenLayers

X = np.random.default_rng(0).normal(size=(4, 6)).astype("f4")


@pytest.mark.parametrize("make", [lambda: HiddenLayers((200,), dropout=0.5), lambda: Experts(2, (100,), dropout=0.5)])
def test_dropout_acts_in_training_only(make):
    layer = make()
    dropped = layer(X, training=True).numpy()
    kept = layer(X).numpy()
    assert 0.35 < np.mean(dropped[kept > 0] == 0) < 0.65


def test_dropout_keeps_the_mean_and_draws_anew():
    ones = np.ones((400, 50), "f4")
    layer = CountedDropout(0.3, seed=1)
    first, second = (layer(ones, training=True).numpy() for _ in range(2))
    assert set(np.unique(first)) == {0, np.float32(1 / 0.7)}
    assert first.mean() == pytest.approx(1, abs=0.02)
    assert 0.35 < np.mean((first == 0) != (second == 0)) < 0.49
    other = CountedDropout(0.3, seed=2)(ones, training=True).numpy()
    assert 0.35 < np.mean((first == 0) != (other == 0)) < 0.49


def test_dropout_goes_on_where_a_checkpoint_was_made(tmp_path):
    """Its random state is a variable: a training that is resumed draws what it would have drawn."""

    def draws(layer, num):
        return [layer(X, training=True).numpy() for _ in range(num)]

    first, second = (HiddenLayers((50,), dropout=0.5, seed=4) for _ in range(2))
    draws(first, 3)
    checkpoint = tf.train.Checkpoint(layer=first).write(str(tmp_path / "state"))
    expected = draws(first, 2)
    draws(second, 1)
    tf.train.Checkpoint(layer=second).read(checkpoint).assert_consumed()
    np.testing.assert_array_equal(draws(second, 2), expected)
    assert np.abs(expected[0] - expected[1]).max() > 0
