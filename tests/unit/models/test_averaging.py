import numpy as np
import pytest
import tensorflow as tf

from models.averaging import AveragedWeights


def test_averages_of_a_hand_worked_case():
    """Updates 1, 2, 3 with decays 2/11, 3/12 and, at last, the configured 0.3."""
    variable = tf.Variable([1.0, 10.0])
    averaged = AveragedWeights([variable], decay=0.3)
    expected = np.array([1.0, 10.0])
    for value, decay in (([2.0, 20.0], 2 / 11), ([4.0, 0.0], 3 / 12), ([0.0, 5.0], 0.3)):
        variable.assign(value)
        averaged.update()
        expected = decay * expected + (1 - decay) * np.array(value)
    np.testing.assert_allclose(averaged.averages[0], expected, rtol=1e-6)


def test_averages_are_lent_and_taken_back():
    variable = tf.Variable(1.0)
    averaged = AveragedWeights([variable], decay=0.9)
    variable.assign(5.0)
    seen = []

    def look_and_fail():
        with averaged.in_place():
            seen.append(float(variable))
            raise ValueError("on purpose")

    with pytest.raises(ValueError, match="on purpose"):
        look_and_fail()
    assert (seen, float(variable)) == ([1.0], 5.0)


def test_state_is_saved_and_restored(tmp_path):
    def train(averaged, variable, values):
        for value in values:
            variable.assign(value)
            averaged.update()

    variable, other = tf.Variable(0.0), tf.Variable(0.0)
    first, second = AveragedWeights([variable], 0.8), AveragedWeights([other], 0.8)
    train(first, variable, [1.0, 2.0, 3.0])
    path = tf.train.Checkpoint(averaged=first).save(str(tmp_path / "state"))
    tf.train.Checkpoint(averaged=second).restore(path)
    train(first, variable, [4.0])
    train(second, other, [4.0])
    assert float(first.averages[0]) == float(second.averages[0])
