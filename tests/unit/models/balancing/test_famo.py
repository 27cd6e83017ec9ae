import numpy as np
import pytest
import tensorflow as tf

from models.balancing.famo import FAMO
from models.balancing.static import Static


def papers_weights(steps, learning_rate, decay):
    """Liu et al. 2023, algorithm 1; the step of xi by Adam with decay in its gradient, as `torch.optim.Adam` has it."""
    logits = np.zeros(len(steps[0][0]))
    mean, square = np.zeros_like(logits), np.zeros_like(logits)
    all_weights = []
    for number, (before, after) in enumerate(steps, 1):
        shares = np.exp(logits) / np.exp(logits).sum()
        weights = shares / before
        all_weights.append(len(logits) * weights / weights.sum())
        jacobian = np.diag(shares) - np.outer(shares, shares)
        gradient = jacobian @ (np.log(before) - np.log(after)) + decay * logits
        mean, square = 0.9 * mean + 0.1 * gradient, 0.999 * square + 0.001 * gradient**2
        logits = logits - learning_rate * (mean / (1 - 0.9**number)) / (np.sqrt(square / (1 - 0.999**number)) + 1e-8)
    return np.array(all_weights)


@pytest.mark.parametrize(("learning_rate", "decay"), [(0.025, 0.001), (0.3, 0.5)])
def test_weights_follow_the_algorithm(learning_rate, decay):
    generator = np.random.default_rng(0)
    losses_before = generator.uniform(0.1, 5, (8, 3))
    steps = [(before, before * generator.uniform(0.8, 1.05, 3)) for before in losses_before]
    method = FAMO(3, learning_rate=learning_rate, decay=decay)
    weights = []
    for before, after in steps:
        weights.append(method.weights(before).numpy())
        method.observe(before, after)
    np.testing.assert_allclose(weights, papers_weights(steps, learning_rate, decay), rtol=1e-3)


def falls(method, num_steps):
    """Falls of the logarithms of two losses, one of which is 30 times as steep, over the last third of the steps."""
    scales, theta = np.array([30.0, 1.0]), np.array([1.0, 1.0])
    weights_of, observe = (tf.function(call, autograph=False) for call in (method.weights, method.observe))
    logs = []
    for _ in range(num_steps):
        # Each task has a parameter of its own, so that nothing but the weights couples them.
        losses = scales * theta**2 / 2
        theta = theta - 0.002 * weights_of(tf.constant(losses)).numpy() * scales * theta
        if method.needs_losses_after:
            observe(tf.constant(losses), tf.constant(scales * theta**2 / 2))
        logs.append(np.log(losses))
    return logs[2 * num_steps // 3] - logs[-1]


def test_losses_fall_in_proportion():
    steep, flat = falls(FAMO(2, decay=0.0), 600)
    np.testing.assert_allclose(steep, flat, rtol=0.1)
    steep, flat = falls(Static(2), 600)
    assert steep > 10 * flat


def test_the_task_that_fell_less_gains_weight():
    method = FAMO(2)
    method.observe([1.0, 1.0], [0.9, 0.99])
    fell_more, fell_less = method.weights(np.ones(2)).numpy()
    assert fell_less > fell_more


def test_a_loss_that_vanishes_stays_finite():
    method = FAMO(2)
    method.observe([1.0, 1.0], [0.0, 0.99])
    assert np.isfinite(method.weights(np.ones(2))).all()


def test_losses_of_the_wrong_shape_are_refused():
    with pytest.raises(ValueError, match=r"losses_after must have the shape \(2,\)\. Received: \(1,\)"):
        FAMO(2).observe([1.0, 1.0], [1.0])
