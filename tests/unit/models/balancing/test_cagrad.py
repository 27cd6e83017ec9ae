import numpy as np
import pytest
import scipy.optimize

from models.balancing.cagrad import CAGrad
from tests.unit.models.balancing.problems import gram


def direction(gradients, c):
    """Update of the paper, which ours is a multiple of."""
    weights = CAGrad(len(gradients), c=c).weights(np.ones(len(gradients)), gram(gradients)).numpy()
    return weights @ gradients * (1 + c) / len(gradients)


@pytest.mark.parametrize("c", [0.2, 0.4, 0.9])
@pytest.mark.parametrize("seed", range(4))
def test_update_solves_the_problem_that_the_paper_starts_from(c, seed):
    """Eq. 1: the largest least improvement min_t g_t . d within |d - g_0| <= c |g_0|; the dual is not used."""
    generator = np.random.default_rng(seed)
    num_tasks = 2 + seed
    gradients = generator.normal(size=(num_tasks, 4)) * generator.uniform(0.3, 3, (num_tasks, 1)) + 0.5
    mean = gradients.mean(axis=0)
    solved = scipy.optimize.minimize(
        lambda point: -point[0],
        np.append((gradients @ mean).min(), mean),
        jac=lambda point: -np.eye(len(point))[0],
        constraints=[
            {"type": "ineq", "fun": lambda point: gradients @ point[1:] - point[0]},
            {"type": "ineq", "fun": lambda point: c**2 * mean @ mean - (point[1:] - mean) @ (point[1:] - mean)},
        ],
        method="SLSQP",
        options={"ftol": 1e-9, "maxiter": 1000},
    )
    assert solved.success
    update = direction(gradients, c)
    np.testing.assert_allclose((gradients @ update).min(), solved.x[0], atol=1e-4)
    np.testing.assert_allclose(update, solved.x[1:], atol=2e-3)


@pytest.mark.parametrize("gradients", [[[1.0, 0.3], [-0.7, 1.0]], [[3.0, 0.0], [-0.5, 0.4]], [[1.0, 0.0], [2.0, 0.5]]])
def test_two_tasks_by_trying_every_weight(gradients):
    """Algorithm 1 of Liu et al. 2021, its minimum over the simplex by brute force."""
    gradients, c = np.array(gradients), 0.4
    mean = gradients.mean(axis=0)
    radius = c * np.linalg.norm(mean)
    shares = np.linspace(0, 1, 200_001)[:, None]
    mixtures = shares * gradients[0] + (1 - shares) * gradients[1]
    best = mixtures[np.argmin(mixtures @ mean + radius * np.linalg.norm(mixtures, axis=1))]
    np.testing.assert_allclose(direction(gradients, c), mean + radius * best / np.linalg.norm(best), atol=1e-4)


def test_equal_norms_have_a_closed_form():
    """By symmetry g_w = g_0, so d = (1 + c) g_0: every weight is 1."""
    gradients = np.array([[1.0, 2.0], [2.0, 1.0]])
    np.testing.assert_allclose(CAGrad(2).weights(np.ones(2), gram(gradients)), 1.0, rtol=1e-5)


def test_no_radius_is_the_mean_gradient():
    gradients = np.random.default_rng(0).normal(size=(4, 6))
    np.testing.assert_allclose(direction(gradients, 0.0), gradients.mean(axis=0), atol=1e-6)


def test_the_worst_off_task_gains_more_than_along_the_mean():
    gradients = np.array([[4.0, 0.0], [-1.0, 1.0]])
    mean = gradients.mean(axis=0)
    assert (gradients @ mean).min() < 0
    assert (gradients @ direction(gradients, 0.9)).min() > 0


def test_opposite_gradients_of_one_size_leave_no_direction():
    assert np.abs(direction(np.array([[1.0, -2.0], [-1.0, 2.0]]), 0.4)).max() < 1e-5


def test_opposite_gradients_of_two_sizes_shorten_the_mean():
    """On a line the ball's end nearest to 0 hurts the smaller task least."""
    np.testing.assert_allclose(direction(np.array([[4.0], [-2.0]]), 0.4), [0.6], atol=1e-4)
