import math

import numpy as np
import pytest

from models.balancing.dwa import DWA


def paper_weights(last, before_last, temperature):
    """Liu et al. 2019, eq. 7."""
    exponentials = [math.exp(a / b / temperature) for a, b in zip(last, before_last, strict=True)]
    return [len(last) * exponential / sum(exponentials) for exponential in exponentials]


@pytest.mark.parametrize("temperature", [0.5, 2.0])
def test_weights_follow_the_ratio_of_the_last_two_epochs(temperature):
    epochs = np.random.default_rng(0).uniform(0.1, 4, (5, 3))
    method = DWA(3, temperature=temperature)
    for number, losses in enumerate(epochs):
        expected = [1.0] * 3 if number < 2 else paper_weights(epochs[number - 1], epochs[number - 2], temperature)
        for batch_losses in (np.ones(3), np.array([5.0, 0.0, 2.0])):
            np.testing.assert_allclose(method.weights(batch_losses), expected, rtol=1e-5)
        method.end_epoch(losses)


def test_the_task_that_fell_less_weighs_more():
    method = DWA(2)
    method.end_epoch([1.0, 100.0])
    method.end_epoch([0.5, 90.0])
    halved, stuck = method.weights(np.ones(2)).numpy()
    np.testing.assert_allclose(stuck / halved, math.exp((0.9 - 0.5) / 2), rtol=1e-5)


def test_an_epoch_without_labels_keeps_the_loss_before_it():
    method = DWA(2)
    for losses in ([2.0, 4.0], [1.0, 0.0]):
        method.end_epoch(losses)
    np.testing.assert_allclose(method.weights(np.ones(2)), paper_weights([1.0, 1.0], [2.0, 1.0], 2.0), rtol=1e-5)
    method.end_epoch([1.0, 1.0])
    np.testing.assert_allclose(method.weights(np.ones(2)), paper_weights([1.0, 1.0], [1.0, 4.0], 2.0), rtol=1e-5)


def test_wrong_number_of_losses_is_refused():
    with pytest.raises(ValueError, match=r"mean_losses must have the shape \(2,\)\. Received: \(3,\)"):
        DWA(2).end_epoch([1.0, 2.0, 3.0])
