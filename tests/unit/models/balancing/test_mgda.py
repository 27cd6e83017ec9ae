import numpy as np
import pytest
import scipy.optimize
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from models.balancing.mgda import MGDA
from tests.unit.models.balancing.problems import Quadratics, gram

STEPS_OF_TWO = [
    np.array([[1.0, 0.0], [0.0, 3.0]]),
    np.array([[2.0, 1.0], [-1.0, 0.5]]),
    np.array([[1.0, 0.2], [5.0, 0.1]]),  # Cut: the first gradient alone is the shortest.
    np.array([[4.0, 0.0], [1.0, 0.1]]),
]


def direction(gradients, losses=None, **options):
    """Convex combination of the gradients that the weights stand for."""
    num_tasks = len(gradients)
    weights = MGDA(num_tasks, **options).weights(np.ones(num_tasks) if losses is None else losses, gram(gradients)).numpy()
    np.testing.assert_allclose(weights.sum(), num_tasks, rtol=1e-5)
    return weights @ gradients / num_tasks


def check_two_tasks(method_class):
    """Sener and Koltun 2018, eq. 3 for two tasks."""
    for first, second in STEPS_OF_TWO:
        share = np.clip((second - first) @ second / ((first - second) @ (first - second)), 0, 1)
        weights = method_class(2).weights(np.ones(2), gram(np.array([first, second]))).numpy()
        np.testing.assert_allclose(weights, [2 * share, 2 - 2 * share], rtol=1e-4, atol=1e-6)


def test_two_tasks_have_a_closed_form():
    check_two_tasks(MGDA)


def test_weights_swapped_between_the_tasks_would_be_found():
    class SwappedMGDA(MGDA):
        def _weights(self, losses_T, gram_TT):
            return tf.reverse(super()._weights(losses_T, gram_TT), [0])

    with pytest.raises(AssertionError, match="Not equal to tolerance"):
        check_two_tasks(SwappedMGDA)


@pytest.mark.parametrize("theta", [(0.3, 2.0), (4.0, -1.0), (-7.0, 0.5)])
def test_a_step_on_two_quadratics_lands_on_the_nearest_point_of_the_segment(theta):
    start, end, theta = np.array([-1.0, 0.5]), np.array([2.0, 1.0]), np.array(theta)
    along = np.clip((theta - start) @ (end - start) / ((end - start) @ (end - start)), 0, 1)
    problem = Quadratics(np.array([start, end]))
    np.testing.assert_allclose(theta - direction(problem.gradients(theta)), start + along * (end - start), atol=1e-4)


def test_points_of_the_segment_are_stationary():
    problem = Quadratics(np.array([[-1.0, 0.5], [2.0, 1.0]]))
    np.testing.assert_allclose(direction(problem.gradients(np.array([0.5, 0.75]))), 0, atol=1e-5)


@pytest.mark.parametrize("seed", range(5))
def test_more_tasks_are_solved_as_by_quadratic_programming(seed):
    generator = np.random.default_rng(seed)
    num_tasks = 3 + seed % 4
    gradients = generator.normal(size=(num_tasks, 8)) * generator.uniform(0.2, 4, (num_tasks, 1)) + 0.3
    solved = scipy.optimize.minimize(
        lambda shares: np.sum((shares @ gradients) ** 2),
        np.full(num_tasks, 1 / num_tasks),
        bounds=[(0, 1)] * num_tasks,
        constraints={"type": "eq", "fun": lambda shares: shares.sum() - 1},
        method="SLSQP",
        options={"ftol": 1e-12, "maxiter": 500},
    )
    np.testing.assert_allclose(direction(gradients), solved.x @ gradients, atol=1e-3)


@given(st.integers(2, 6), st.data())
@settings(deadline=None, max_examples=80)
def test_no_gradient_points_away_from_the_shortest_combination(num_tasks, data):
    """d is the shortest point of a hull if and only if g . d >= d . d for every g; small integers give degenerate hulls."""
    entries = data.draw(st.lists(st.integers(-2, 2), min_size=3 * num_tasks, max_size=3 * num_tasks))
    gradients = np.array(entries, float).reshape(num_tasks, 3)
    present = gradients[(gradients != 0).any(axis=1)]
    if len(present):
        shortest = MGDA(num_tasks).weights(np.ones(num_tasks), gram(gradients)).numpy() @ gradients / len(present)
        assert (present @ shortest >= shortest @ shortest - 1e-3).all()


@pytest.mark.parametrize("normalize", ["l2", "loss+"])
def test_normalized_gradients_have_the_shortest_combination(normalize):
    generator = np.random.default_rng(3)
    gradients = generator.normal(size=(3, 5)) * np.array([[100.0], [1.0], [0.01]])
    losses = np.array([3.0, 0.5, 1.0])
    divisors = np.linalg.norm(gradients, axis=1) * (losses if normalize == "loss+" else 1)
    normalized = gradients / divisors[:, None]
    found = direction(gradients, losses, normalize=normalize)
    shortest = direction(normalized)
    np.testing.assert_allclose(found / np.linalg.norm(found), shortest / np.linalg.norm(shortest), atol=1e-4)
    # Every task descends, also in its own units.
    assert (gradients @ found > 0).all()


def test_gradients_of_very_different_size_keep_their_exact_weights():
    weights = MGDA(2).weights(np.ones(2), np.diag([1e6, 1e-6])).numpy()
    np.testing.assert_allclose(weights, [2e-12, 2.0], rtol=1e-4)
