"""Measures of conflict on two quadratics, whose gradients at a point are known exactly."""

import numpy as np
import pytest
import tensorflow as tf

from models.balancing.conflict import cosines_of, dominance_of, reciprocal_condition_of
from tests.unit.models.balancing.problems import Quadratics, gram

# At the origin the gradients are (-3, 0) and 2 (2, -2) = (4, -4): 135 degrees apart.
PROBLEM = Quadratics(np.array([[3.0, 0.0], [-2.0, 2.0]]), np.array([1.0, 2.0]))
ORIGIN = np.zeros(2)


def test_cosines():
    cosines = cosines_of(PROBLEM.gram(ORIGIN)).numpy()
    np.testing.assert_allclose(cosines, [[1, -np.sqrt(0.5)], [-np.sqrt(0.5), 1]], rtol=1e-6)


def test_dominance():
    np.testing.assert_allclose(dominance_of(PROBLEM.gram(ORIGIN)), np.sqrt(32) / 3, rtol=1e-6)


def test_reciprocal_condition():
    """Squared singular values of [[-3, 0], [4, -4]] solve x^2 - 41 x + 144 = 0."""
    largest, smallest = np.sort(np.roots([1, -41, 144]))[::-1]
    np.testing.assert_allclose(reciprocal_condition_of(PROBLEM.gram(ORIGIN)), np.sqrt(smallest / largest), rtol=1e-5)


def test_more_tasks_agree_with_numpy():
    gradients = np.random.default_rng(0).normal(size=(4, 30))
    norms = np.linalg.norm(gradients, axis=1)
    np.testing.assert_allclose(cosines_of(gram(gradients)), gradients @ gradients.T / np.outer(norms, norms), atol=1e-6)
    np.testing.assert_allclose(dominance_of(gram(gradients)), norms.max() / norms.min(), rtol=1e-5)
    np.testing.assert_allclose(reciprocal_condition_of(gram(gradients)), 1 / np.linalg.cond(gradients), rtol=1e-4)


def test_orthogonal_gradients_of_one_norm_are_the_best_case():
    assert float(dominance_of(np.eye(3))) == 1
    np.testing.assert_allclose(reciprocal_condition_of(np.eye(3)), 1, rtol=1e-6)
    np.testing.assert_array_equal(cosines_of(np.eye(3)), np.eye(3))


@pytest.mark.parametrize("gradients", [[[1.0, 2.0], [2.0, 4.0]], [[1.0, 2.0], [0.0, 0.0]], [[0.0, 0.0], [0.0, 0.0]]])
def test_dependent_gradients_are_the_worst_case(gradients):
    assert 0 <= float(reciprocal_condition_of(gram(np.array(gradients)))) < 1e-6


def test_reciprocal_condition_is_compiled_with_the_step():
    gradients = np.random.default_rng(1).normal(size=(3, 30)) * [[1.0], [5.0], [0.2]]
    compiled_fn = tf.function(reciprocal_condition_of, jit_compile=True)
    found = compiled_fn(tf.constant(gram(gradients), tf.float32))
    np.testing.assert_allclose(found, 1 / np.linalg.cond(gradients), rtol=1e-3)


@pytest.mark.parametrize("broken", [np.nan, np.inf])
def test_gradients_that_overflowed_have_no_condition_and_stop_nothing(broken):
    assert np.isnan(reciprocal_condition_of(np.array([[broken, 1.0], [1.0, 2.0]])))


def test_a_gradient_of_zero_has_no_direction():
    cosines = cosines_of(np.diag([4.0, 0.0])).numpy()
    assert cosines[0, 0] == 1
    assert np.isnan(cosines[1]).all()
    assert np.isinf(dominance_of(np.diag([4.0, 0.0])))
