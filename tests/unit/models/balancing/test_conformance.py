"""What every balancing method promises."""

import numpy as np
import pytest
import tensorflow as tf

from models.balancing.config import (
    CAGradConfig,
    DWAConfig,
    FAMOConfig,
    GradNormConfig,
    MGDAConfig,
    PCGradConfig,
    StaticConfig,
    UncertaintyConfig,
)
from models.balancing.registry import METHOD_BY_KIND, make_balancing
from tests.unit.models.balancing.problems import Quadratics, drive, random_steps

CONFIGS = {
    "static": StaticConfig(),
    "uncertainty": UncertaintyConfig(),
    "dwa": DWAConfig(),
    "gradnorm": GradNormConfig(),
    "pcgrad": PCGradConfig(),
    "mgda": MGDAConfig(),
    "mgda l2": MGDAConfig(normalize="l2"),
    "mgda loss+": MGDAConfig(normalize="loss+"),
    "cagrad": CAGradConfig(),
    "famo": FAMOConfig(),
}
# Others answer from what they were given in the step alone.
WITH_STATE = ["uncertainty", "dwa", "gradnorm", "pcgrad", "famo"]


def most_tasks_without_chance(method, num_tasks):
    """With three tasks and more the result of PCGrad depends on a random order, which is another one under XLA."""
    return min(num_tasks, 2) if isinstance(method, METHOD_BY_KIND["pcgrad"]) else num_tasks


@pytest.fixture(params=CONFIGS)
def make(request):
    return lambda num_tasks, seed=0: make_balancing(CONFIGS[request.param], num_tasks, seed)


def test_every_method_is_here():
    assert {config.kind for config in CONFIGS.values()} == set(METHOD_BY_KIND)


@pytest.mark.parametrize("num_tasks", [1, 2, 3, 6])
def test_weights_are_finite_and_not_negative(make, num_tasks):
    weights = drive(make(num_tasks), random_steps(num_tasks, 5, seed=num_tasks))
    assert weights.shape == (5, num_tasks)
    assert weights.dtype == np.float32
    assert np.isfinite(weights).all()
    assert (weights >= 0).all()
    assert (weights.max(axis=1) > 0).all()


@pytest.mark.parametrize("num_tasks", [1, 4])
def test_tasks_that_are_alike_weigh_one_each_at_first_and_the_same_later(make, num_tasks):
    alike = [(np.full(num_tasks, 0.5, "f4"), np.full((num_tasks, num_tasks), 2.0, "f4"))] * 5
    weights = drive(make(num_tasks), alike)
    np.testing.assert_allclose(weights[0], 1.0, atol=1e-5)
    np.testing.assert_allclose(weights, np.repeat(weights[:, :1], num_tasks, axis=1), rtol=1e-5)


def test_one_task_keeps_the_direction_of_its_gradient(make):
    assert (drive(make(1), random_steps(1, 6, seed=3)) > 0).all()


def test_permuted_tasks_get_permuted_weights(make):
    method = make(4)
    num_tasks = most_tasks_without_chance(method, 4)
    order = np.random.default_rng(0).permutation(num_tasks) if num_tasks > 2 else [1, 0]
    steps = random_steps(num_tasks, 6, seed=1)
    permuted = [(losses[order], gram[order][:, order]) for losses, gram in steps]
    weights = drive(make(num_tasks), steps)
    np.testing.assert_allclose(drive(make(num_tasks), permuted), weights[:, order], rtol=1e-4, atol=1e-6)
    if not isinstance(method, METHOD_BY_KIND["static"]):
        assert np.ptp(weights, axis=1).max() > 1e-2


def test_checkpoint_restores_the_state(make, tmp_path):
    steps = random_steps(3, 9, seed=2)
    method, restored = make(3), make(3)
    drive(method, steps[:6])
    path = tf.train.Checkpoint(balancing=method).save(str(tmp_path / "checkpoint"))
    tf.train.Checkpoint(balancing=restored).restore(path).assert_consumed()
    np.testing.assert_array_equal(drive(restored, steps[6:], first=6), drive(method, steps[6:], first=6))


@pytest.mark.parametrize("kind", WITH_STATE)
def test_state_matters(kind):
    steps = random_steps(3, 9, seed=2)
    assert not np.allclose(
        drive(make_balancing(CONFIGS[kind], 3), steps[6:], first=6), drive(make_balancing(CONFIGS[kind], 3), steps)[6:]
    )


@pytest.mark.parametrize("jit_compile", [False, True])
def test_graph_gives_the_weights_of_eager_mode(make, jit_compile):
    num_tasks = most_tasks_without_chance(make(3), 3) if jit_compile else 3
    method, in_graph = make(num_tasks), make(num_tasks)

    @tf.function(autograph=False, jit_compile=jit_compile)
    def step(losses, gram):
        weights = in_graph.weights(losses, gram)
        in_graph.observe(losses, losses * tf.exp(-0.05 * losses))
        in_graph.end_epoch(losses)
        return weights, in_graph.regularizer(losses)

    for losses, gram in random_steps(num_tasks, 4, seed=4):
        weights, regularizer = step(tf.constant(losses), tf.constant(gram))
        np.testing.assert_allclose(weights, method.weights(losses, gram), rtol=1e-4, atol=1e-6)
        np.testing.assert_allclose(regularizer, method.regularizer(losses), rtol=1e-5)
        method.observe(losses, losses * np.exp(-0.05 * losses))
        method.end_epoch(losses)
    assert step.experimental_get_tracing_count() == 1


def test_no_gradient_flows_through_weights_or_to_losses(make):
    method = make(3)
    losses, gram = map(tf.constant, random_steps(3, 1, seed=5)[0])
    with tf.GradientTape(persistent=True) as tape:
        tape.watch([losses, gram])
        weights = method.weights(losses, gram)
        regularizer = method.regularizer(losses)
    assert tape.gradient(weights, [losses, gram, *method.trainable_variables]) == [None] * (2 + len(method.trainable_variables))
    assert tape.gradient(regularizer, losses) is None


def test_regularizer_is_for_trainable_variables_alone(make):
    method = make(3)
    losses = random_steps(3, 1, seed=5)[0][0]
    with tf.GradientTape() as tape:
        regularizer = method.regularizer(losses)
    assert float(regularizer) == 0.0
    assert all(gradient is not None for gradient in tape.gradient(regularizer, method.trainable_variables))


@pytest.mark.parametrize("losses", [np.zeros(3, "f4"), np.full(3, 0.7, "f4")])
def test_zero_gradients_stay_finite(make, losses):
    weights = drive(make(3), [(losses, np.zeros((3, 3), "f4"))] * 4 + random_steps(3, 4, seed=6))
    assert np.isfinite(weights).all()
    assert (weights >= 0).all()


def test_a_task_without_labels_changes_nothing_for_the_others(make):
    steps = random_steps(2, 6, seed=7)
    with_absent = [(np.append(losses, np.float32(0)), np.pad(gram, (0, 1))) for losses, gram in steps]
    weights = drive(make(3), with_absent)
    assert np.isfinite(weights).all()
    expected = drive(make(2), steps)
    np.testing.assert_allclose(
        weights[:, :2] / weights[:, :2].sum(axis=1, keepdims=True), expected / expected.sum(axis=1, keepdims=True), rtol=1e-4
    )


def test_gradients_that_are_no_number_raise_nothing_inside(make):
    method = make(3)
    losses = np.ones(3, "f4")
    weights = method.weights(losses, np.full((3, 3), np.nan, "f4")).numpy()
    assert np.isnan(weights).all() or (weights == 1).all()


@pytest.mark.parametrize("factor", [1e-8, 1e8])
def test_a_scale_common_to_all_gradients_is_without_effect(make, factor):
    steps = random_steps(3, 5, seed=8)
    scaled = [(losses, gram * np.float32(factor)) for losses, gram in steps]
    np.testing.assert_allclose(drive(make(3), scaled), drive(make(3), steps), rtol=1e-4, atol=1e-6)


def test_half_precision_losses_and_gradients_give_float32_weights(make):
    losses, gram = random_steps(3, 1, seed=9)[0]
    weights = make(3).weights(tf.cast(losses, tf.bfloat16), tf.cast(gram, tf.bfloat16))
    assert weights.dtype == tf.float32


@pytest.mark.parametrize("kind", [kind for kind in CONFIGS if kind != "uncertainty"])
def test_descent_ends_between_the_centres(kind):
    """Two quadratics: the Pareto set is the segment from (-1, 0) to (1, 0), and its points are all stationary."""
    problem = Quadratics(np.array([[-1.0, 0.0], [1.0, 0.0]]))
    method, theta = make_balancing(CONFIGS[kind], 2), np.array([0.6, 2.0])
    for _ in range(150):
        losses = problem.losses(theta)
        weights = method.weights(losses, problem.gram(theta)).numpy()
        theta = theta - 0.05 * weights @ problem.gradients(theta)
        if method.needs_losses_after:
            method.observe(losses, problem.losses(theta))
    assert abs(theta[1]) < 1e-3
    assert -1 <= theta[0] <= 1


def test_wrong_shapes_are_refused(make):
    method = make(2)
    with pytest.raises(ValueError, match=r"losses must have the shape \(2,\)\. Received: \(3,\)"):
        method.weights(np.ones(3, "f4"), np.eye(2))
    if method.needs_gram:
        with pytest.raises(ValueError, match=r"gram must have the shape \(2, 2\)\. Received: \(2, 3\)"):
            method.weights(np.ones(2, "f4"), np.ones((2, 3), "f4"))
        with pytest.raises(ValueError, match=r"gram must be given to \w+\. Received: None"):
            method.weights(np.ones(2, "f4"))


def test_at_least_one_task(make):
    with pytest.raises(ValueError, match=r"num_tasks must be at least 1\. Received: 0"):
        make(0)


@pytest.mark.parametrize("kind", ["mgda", "cagrad"])
def test_methods_that_try_every_face_take_few_tasks(kind):
    with pytest.raises(ValueError, match=r"num_tasks must be at most 10 for mgda and cagrad\. Received: 11"):
        make_balancing(CONFIGS[kind], 11)
