import numpy as np
import pytest
import tensorflow as tf

from models.balancing.gradnorm import GradNorm


def papers_goals(norms, losses, first_losses, alpha):
    """Norms that Chen et al. 2018 steer to: mean norm times the relative inverse training rate to the power of alpha."""
    rates = losses / first_losses
    return norms.mean() * (rates / rates.mean()) ** alpha


def gram_of_norms(norms):
    return np.diag(np.square(norms)).astype("f4")


@pytest.mark.parametrize("alpha", [0.0, 1.5])
def test_steps_follow_the_numerical_gradient(alpha):
    generator = np.random.default_rng(0)
    num_tasks, learning_rate = 3, 0.04
    method = GradNorm(num_tasks, alpha=alpha, learning_rate=learning_rate)
    weights, first_losses = np.ones(num_tasks), None
    for _ in range(6):
        losses, norms = generator.uniform(0.5, 2, num_tasks), generator.uniform(0.1, 5, num_tasks)
        first_losses = losses if first_losses is None else first_losses
        np.testing.assert_allclose(method.weights(losses, gram_of_norms(norms)), weights, rtol=1e-4)
        goals = papers_goals(weights * norms, losses, first_losses, alpha)

        def papers_loss(log_weights, norms=norms, goals=goals):
            return np.abs(np.exp(log_weights) * norms - goals).sum()

        steps = 1e-6 * np.eye(num_tasks)
        gradient = [(papers_loss(np.log(weights) + step) - papers_loss(np.log(weights) - step)) / 2e-6 for step in steps]
        moved = np.exp(np.log(weights) - learning_rate * np.array(gradient) / (weights * norms).mean())
        weights = num_tasks * moved / moved.sum()


@pytest.mark.parametrize("alpha", [0.0, 1.0])
def test_norms_settle_at_their_goals(alpha):
    """With alpha 0 or 1 the goals average to the mean norm, so that all of them can be met."""
    norms, first_losses, losses = np.array([30.0, 1.0]), np.array([1.0, 8.0]), np.array([0.9, 4.0])
    method = GradNorm(2, alpha=alpha, learning_rate=0.01)
    method.weights(first_losses, gram_of_norms(norms))
    step = tf.function(lambda: method.weights(losses, gram_of_norms(norms)), autograph=False)
    for _ in range(700):
        weights = step().numpy()
    expected = (losses / first_losses) ** alpha / norms
    np.testing.assert_allclose(weights, 2 * expected / expected.sum(), rtol=0.03)


def test_only_norms_are_read_of_the_gradients():
    generator = np.random.default_rng(1)
    gradients = generator.normal(size=(2, 3))
    methods = GradNorm(2), GradNorm(2)
    for _ in range(3):
        losses = generator.uniform(0.5, 2, 2)
        full = gradients @ gradients.T
        np.testing.assert_allclose(methods[0].weights(losses, full), methods[1].weights(losses, np.diag(np.diag(full))))


def test_progress_counts_from_the_first_batch_with_a_label():
    late, early = GradNorm(2), GradNorm(2)
    both, gram = np.array([1.0, 5.0]), gram_of_norms(np.array([2.0, 3.0]))
    late.weights(np.array([1.0, 0.0]), gram_of_norms(np.array([2.0, 0.0])))
    for losses in (both, np.array([0.9, 2.0]), np.array([0.8, 1.0])):
        weights = late.weights(losses, gram).numpy()
        np.testing.assert_allclose(weights, early.weights(losses, gram).numpy(), rtol=1e-5)
    assert weights[0] > weights[1]
