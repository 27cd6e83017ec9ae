"""One training step against gradients taken one by one, for every method and in every way of running it."""

import subprocess
import sys
import textwrap

import numpy as np
import pytest
import tensorflow as tf

from data.schema import mask_name
from models.balancing.registry import METHOD_BY_KIND, make_balancing
from models.bodies.body import Body, BodyOutput
from models.config import ModelConfig
from models.errors import BodyError
from models.keras import keras
from models.ranker import MultiTaskRanker

LABELS = ("click", "watch_seconds", "satisfaction")
GRADIENT_METHODS = [kind for kind, method in METHOD_BY_KIND.items() if method.needs_gram]
WITHOUT_GRADIENTS = [kind for kind, method in METHOD_BY_KIND.items() if not method.needs_gram]
RATE = 0.1


def batch(num_rows=32, seed=0):
    generator = np.random.default_rng(seed)
    columns = {"user": generator.integers(5, size=num_rows), "x": generator.normal(size=num_rows).astype("f4")}
    for label in LABELS:
        columns[label] = generator.integers(2, size=num_rows).astype("f4") * (7 if label == "watch_seconds" else 1)
        columns[mask_name(label)] = (generator.random(num_rows) < 0.7).astype("f4")
    return {name: tf.constant(column) for name, column in columns.items()}


def config(balancing="static", gradients_of=None, **changes):
    fields = {
        "features": [{"kind": "categorical", "name": "user", "dimension": 3}, {"kind": "numeric", "name": "x"}],
        "body": {"kind": "mmoe", "num_experts": 2, "expert_units": [4]},
        "tower_units": [4],
        "embedding_l2": 0.3,
        "small_tower": {"kind": "linear", "gamma": 0.5},
        "tasks": [
            {"label": "click", "head": "binary"},
            {"label": "watch_seconds", "head": "log1p", "weight": 0.3},
            {"label": "satisfaction", "head": "binary", "weight": 2.0},
        ],
        "balancing": {"kind": balancing} | ({"gradients_of": gradients_of} if gradients_of else {}),
    }
    return ModelConfig(**fields | changes)


def built(model_config, seed=3, optimizer=None):
    ranker = MultiTaskRanker(model_config, {"user": 5}, seed=seed)
    ranker.compile(optimizer=optimizer or keras.optimizers.legacy.SGD(RATE))
    ranker.compute_loss(batch(), training=True)
    return ranker


def dense(gradient, variable):
    return np.zeros(variable.shape, "f4") if gradient is None else tf.convert_to_tensor(gradient).numpy()


def gradients_by_name(ranker, columns, target):
    """Of a number that `target` makes of the losses' values and the ranker: one tape for it alone."""
    with tf.GradientTape() as tape:
        value = target(ranker.batch_losses(columns, training=True))
    variables = ranker.trainable_variables
    return {
        variable.name: dense(gradient, variable)
        for variable, gradient in zip(variables, tape.gradient(value, variables), strict=True)
    }


def representation_gradients(ranker, columns):
    with tf.GradientTape(persistent=True) as tape:
        losses = ranker.batch_losses(columns, training=True)
        by_task = [losses.tasks[task] for task in range(len(ranker.labels))]
    return [tape.gradient(loss, losses.shared)[0].numpy().ravel() for loss in by_task]


def is_shared(name):
    return "tower" not in name and "/gates/" not in name


def expected_step(ranker, columns, gradients_of):
    """Weights of the method and the change of every variable, from one tape a task."""
    by_task = [gradients_by_name(ranker, columns, lambda losses, task=task: losses.tasks[task]) for task in range(len(LABELS))]
    of_penalty = gradients_by_name(ranker, columns, lambda losses: tf.add_n(ranker.losses))
    if gradients_of == "representation":
        vectors = representation_gradients(ranker, columns)
    else:
        vectors = [np.concatenate([value.ravel() for name, value in by_name.items() if is_shared(name)]) for by_name in by_task]
    gram = np.array([[np.dot(first, second) for second in vectors] for first in vectors], "f4")
    method = make_balancing(ranker.config.balancing, len(LABELS), ranker.balancing.seed)
    weights = method.weights(ranker.task_losses(columns, training=True), gram if method.needs_gram else None).numpy()
    changes = {}
    for name in by_task[0]:
        applies = is_shared(name) or not method.needs_gram
        scales = weights if applies else np.ones(len(LABELS))
        total = sum(scale * by_name[name] for scale, by_name in zip(scales, by_task, strict=True)) + of_penalty[name]
        changes[name] = -RATE * total
    return weights, changes


@pytest.mark.parametrize(
    ("kind", "gradients_of"),
    [(kind, None) for kind in WITHOUT_GRADIENTS if kind != "uncertainty"]
    + [(kind, of) for kind in GRADIENT_METHODS for of in ("parameters", "representation")],
)
def test_a_step_is_the_weighted_sum_of_gradients(kind, gradients_of):
    ranker, columns = built(config(kind, gradients_of)), batch()
    weights, changes = expected_step(ranker, columns, gradients_of)
    before = {variable.name: variable.numpy() for variable in ranker.trainable_variables}
    losses_T = ranker.task_losses(columns, training=True)
    logs = ranker.train_step(columns)
    for variable in ranker.trainable_variables:
        np.testing.assert_allclose(
            variable.numpy() - before[variable.name], changes[variable.name], atol=2e-6, err_msg=variable.name
        )
    np.testing.assert_allclose([logs[f"weight_{label}"] for label in LABELS], weights, rtol=1e-4)
    np.testing.assert_allclose([logs[f"batch_{label}_loss"] for label in LABELS], losses_T, rtol=1e-5)
    assert ("gradient_cosine" in logs) == (gradients_of is not None)


def test_logs_name_the_total_that_is_minimised():
    ranker, columns = built(config()), batch()
    losses = ranker.batch_losses(columns, training=True)
    penalty = float(tf.add_n(ranker.losses))
    logs = ranker.train_step(columns)
    assert penalty > 0
    assert float(logs["total_loss"]) == pytest.approx(float(tf.reduce_sum(losses.tasks)) + penalty, rel=1e-5)
    np.testing.assert_allclose([logs[f"{label}_loss"] for label in LABELS], losses.main, rtol=1e-5)


def test_uncertainty_trains_its_variances_with_the_rankers_optimizer():
    ranker, columns = built(config("uncertainty")), batch()
    own = ranker.balancing.trainable_variables
    assert own
    assert all(any(variable is other for other in ranker.trainable_variables) for variable in own)
    before = [variable.numpy() for variable in own]
    losses_T = ranker.task_losses(columns, training=True)
    with tf.GradientTape() as tape:
        regularizer = ranker.balancing.regularizer(losses_T)
    gradients = tape.gradient(regularizer, own)
    ranker.train_step(columns)
    for variable, value, gradient in zip(own, before, gradients, strict=True):
        np.testing.assert_allclose(variable.numpy() - value, -RATE * gradient.numpy(), atol=1e-6)


def test_famo_observes_the_same_batch_after_the_step():
    ranker, columns = built(config("famo")), batch()
    observed = []
    ranker.balancing.observe = lambda before, after: observed.append((before.numpy(), after.numpy()))
    before = ranker.task_losses(columns, training=True).numpy()
    ranker.train_step(columns)
    np.testing.assert_allclose(observed, [(before, ranker.task_losses(columns, training=True).numpy())], rtol=1e-6)
    assert np.abs(observed[0][0] - observed[0][1]).max() > 1e-4


def test_conflict_of_opposed_tasks_is_logged():
    """Two tasks of opposite labels whose towers are equal pull the representation apart."""
    tasks = [{"label": "click", "head": "binary"}, {"label": "satisfaction", "head": "binary"}]
    ranker = built(config("pcgrad", "representation", tasks=tasks, small_tower=None, tower_units=[]))
    first, second = ranker.members[0].tower_by_label.values()
    for variable, value in zip(second.trainable_variables, first.trainable_variables, strict=True):
        variable.assign(value)
    columns = batch() | {mask_name(label): tf.ones(32) for label in LABELS}
    columns["satisfaction"] = 1 - columns["click"]
    one, two = representation_gradients(ranker, columns)
    logs = ranker.train_step(columns)
    norms = np.linalg.norm(one), np.linalg.norm(two)
    assert float(logs["gradient_cosine"]) == pytest.approx(np.dot(one, two) / norms[0] / norms[1], rel=1e-4)
    assert float(logs["gradient_dominance"]) == pytest.approx(max(norms) / min(norms), rel=1e-4)
    assert float(logs["gradient_reciprocal_condition"]) == pytest.approx(1 / np.linalg.cond([one, two]), rel=1e-3)
    # Gradients of unlike norms are worse conditioned than their norms alone would have it.
    assert float(logs["gradient_reciprocal_condition"]) <= (1 + 1e-5) / float(logs["gradient_dominance"])
    assert float(logs["gradient_cosine"]) < -0.5


class Detached(Body):
    """A wrong body: tasks do not read what it calls shared."""

    def call(self, inputs, training=False):
        return BodyOutput((inputs,) * self.num_tasks, tf.identity(inputs))


def test_a_body_whose_tasks_do_not_read_what_is_shared_is_named():
    body = {"kind": "custom", "layer": f"{__name__}:Detached"}
    ranker = built(config("mgda", "representation", body=body, small_tower=None))
    with pytest.raises(BodyError, match=r"must compute every task's representation from BodyOutput.shared"):
        ranker.train_step(batch())


@pytest.mark.parametrize(("kind", "gradients_of"), [("mgda", "representation"), ("famo", None)])
def test_a_compiled_step_is_the_same_step(kind, gradients_of):
    plain, compiled = built(config(kind, gradients_of)), built(config(kind, gradients_of))
    step = tf.function(compiled.train_step, jit_compile=True, autograph=False)
    for seed in range(2):
        expected, logs = plain.train_step(batch(seed=seed)), step(batch(seed=seed))
        np.testing.assert_allclose(logs["total_loss"], expected["total_loss"], rtol=1e-4)
    for first, second in zip(plain.trainable_variables, compiled.trainable_variables, strict=True):
        np.testing.assert_allclose(first, second, atol=1e-5)


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
@pytest.mark.parametrize(("kind", "gradients_of"), [("static", None), ("cagrad", "parameters"), ("cagrad", "representation")])
def test_mixed_precision_steps_nearly_alike(policy, kind, gradients_of):
    """Gradients of a loss that is scaled up for 16 bits come back at their own size, and so do their inner products."""
    plain = built(config(kind, gradients_of))
    keras.mixed_precision.set_global_policy(policy)
    try:
        mixed = built(config(kind, gradients_of))
        before = [variable.numpy() for variable in mixed.trainable_variables]
        expected, logs = plain.train_step(batch()), mixed.train_step(batch())
    finally:
        keras.mixed_precision.set_global_policy("float32")
    assert isinstance(mixed.optimizer, keras.mixed_precision.LossScaleOptimizer) == (policy == "mixed_float16")
    assert mixed.main_outputs(batch())[0]["click"].dtype == tf.float32
    np.testing.assert_allclose(logs["weight_click"], expected["weight_click"], rtol=0.05)
    steps = [
        np.concatenate([np.ravel(variable - value) for variable, value in zip(ranker.trainable_variables, before, strict=True)])
        for ranker in (plain, mixed)
    ]
    assert np.linalg.norm(steps[0] - steps[1]) < 0.05 * np.linalg.norm(steps[0])


@pytest.mark.parametrize("gradients_of", ["parameters", "representation"])
@pytest.mark.parametrize("kind", GRADIENT_METHODS)
def test_a_step_whose_gradients_overflow_16_bits_is_left_out(kind, gradients_of):
    """The scale of losses grows until gradients overflow, which is no divergence: nothing moves, and the scale is halved."""
    keras.mixed_precision.set_global_policy("mixed_float16")
    try:
        optimizer = keras.mixed_precision.LossScaleOptimizer(keras.optimizers.legacy.SGD(RATE), initial_scale=2.0**30)
        ranker = built(config(kind, gradients_of), optimizer=optimizer)
        before = [variable.numpy() for variable in ranker.trainable_variables]
        logs = ranker.train_step(batch())
        scale = float(optimizer.loss_scale)
        for variable, value in zip(ranker.trainable_variables, before, strict=True):
            np.testing.assert_array_equal(variable, value)
        for _ in range(30):
            next_logs = ranker.train_step(batch())
    finally:
        keras.mixed_precision.set_global_policy("float32")
    assert scale == 2.0**29
    assert all(np.isfinite(value) for name, value in logs.items() if not name.startswith("gradient_"))
    assert np.isfinite(next_logs["gradient_cosine"])
    assert any((variable.numpy() != value).any() for variable, value in zip(ranker.trainable_variables, before, strict=True))


REPLICAS = """
    import sys
    import numpy as np
    from models.keras import keras
    import tensorflow as tf

    devices = tf.config.list_physical_devices("CPU")
    tf.config.set_logical_device_configuration(devices[0], [tf.config.LogicalDeviceConfiguration()] * 2)
    from tests.unit.models.test_balanced_step import batch, built, config

    strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
    body = {"kind": "shared_bottom", "units": [4]}
    for kind, gradients_of in (("famo", None), ("gradnorm", "parameters"), ("gradnorm", "representation")):
        plain = built(config(kind, gradients_of, body=body))
        with strategy.scope():
            mirrored = built(config(kind, gradients_of, body=body))
        step = tf.function(lambda columns: strategy.run(mirrored.train_step, [columns]), autograph=False)
        for seed in range(2):
            columns = batch(seed=seed)
            # Labels known in the first half only: means of replicas would weigh rows differently.
            columns["click_mask"] *= tf.cast(tf.range(32) < 20, tf.float32)
            halves = [{name: column[part] for name, column in columns.items()} for part in (slice(16), slice(16, None))]
            dealt = strategy.experimental_distribute_values_from_function(
                lambda context: halves[context.replica_id_in_sync_group]
            )
            expected = plain.train_step(columns)
            logs = step(dealt)
            total = strategy.experimental_local_results(logs["total_loss"])[1]
            np.testing.assert_allclose(total, expected["total_loss"], rtol=1e-4)
        for first, second in zip(plain.trainable_variables, mirrored.trainable_variables):
            np.testing.assert_allclose(first.numpy(), second.numpy(), atol=2e-5, err_msg=f"{kind} {first.name}")
        mean = mirrored.mean_losses()["click_loss"]
        np.testing.assert_allclose(mean, plain.mean_losses()["click_loss"], rtol=1e-4)
        print("same", kind)
"""


def test_replicas_step_as_one_device():
    """The same step however the rows are dealt out, for labels known unevenly; in a process with two devices."""
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(REPLICAS)], capture_output=True, text=True, check=False, timeout=300
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.split() == ["same", "famo", "same", "gradnorm", "same", "gradnorm"]
