import itertools

import numpy as np
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from models.balancing.pcgrad import PCGrad
from tests.unit.models.balancing.problems import gram

GRADIENTS = np.array([[1.0, 0.0, 0.2], [-0.8, 0.6, 0.1], [-0.4, -0.9, 0.5]])


def papers_update(gradients, orders):
    """Yu et al. 2020, algorithm 1, in the space of the parameters."""
    update = np.zeros(gradients.shape[1])
    for task, others in enumerate(orders):
        projected = gradients[task].copy()
        for other in others:
            product = projected @ gradients[other]
            if product < 0:
                projected = projected - product / (gradients[other] @ gradients[other]) * gradients[other]
        update += projected
    return update


@given(st.lists(st.floats(-3, 3, width=16), min_size=6, max_size=6))
@settings(deadline=None, max_examples=60)
def test_two_tasks_are_projected_as_in_the_paper(values):
    gradients = np.array(values).reshape(2, 3)
    weights = PCGrad(2).weights(np.ones(2), gram(gradients)).numpy()
    assert (weights >= 1).all()
    expected = papers_update(gradients, [[1], [0]])
    np.testing.assert_allclose(weights @ gradients, expected, atol=2e-4 * max(1, np.abs(values).max()))


def test_two_conflicting_gradients_lose_the_part_against_each_other():
    """g = (1, 0) and (-1, 1): without their conflict (1/2, 1/2) and (0, 1)."""
    gradients = np.array([[1.0, 0.0], [-1.0, 1.0]])
    np.testing.assert_allclose(PCGrad(2).weights(np.ones(2), gram(gradients)).numpy() @ gradients, [0.5, 1.5], atol=1e-6)


def test_gradients_in_harmony_are_summed():
    np.testing.assert_array_equal(PCGrad(3).weights(np.ones(3), gram(np.abs(GRADIENTS))), np.ones(3))


def test_every_order_of_three_tasks_is_met_and_no_other_result():
    candidates = np.array(
        [
            papers_update(GRADIENTS, orders)
            for orders in itertools.product(*(itertools.permutations({0, 1, 2} - {task}) for task in range(3)))
        ]
    )
    distinct = np.unique(candidates.round(5), axis=0)
    assert len(distinct) >= 4
    method = PCGrad(3, seed=5)
    step = tf.function(method.weights, autograph=False)
    updates = np.array([step(tf.ones(3), tf.constant(gram(GRADIENTS))) for _ in range(100)]) @ GRADIENTS
    nearest = np.abs(updates[:, None] - distinct).max(axis=2)
    assert nearest.min(axis=1).max() < 1e-4
    counts = np.bincount(nearest.argmin(axis=1), minlength=len(distinct))
    assert (counts > 0).all()
