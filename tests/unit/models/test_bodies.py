"""Conformance of bodies: the same checks for each, oracles of loops, and bodies of a user's own."""

import re
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from models.bodies.body import Body, BodyOutput, require_body_output
from models.bodies.config import CustomBodyConfig, MMoEConfig, PLEConfig, SharedBottomConfig
from models.bodies.mmoe import MMoE
from models.bodies.ple import PLE
from models.bodies.registry import make_body
from models.bodies.shared_bottom import SharedBottom
from models.config import ModelConfig
from models.errors import BodyError
from models.keras import keras

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

X = np.random.default_rng(0).normal(size=(4, 6)).astype("f4")
CONFIGS = {
    "shared bottom": SharedBottomConfig(units=(5, 3)),
    "mmoe": MMoEConfig(kind="mmoe", num_experts=4, expert_units=(5, 3)),
    "mmoe of deep gates": MMoEConfig(kind="mmoe", num_experts=2, expert_units=(3,), gate_units=(4,)),
    "cgc": PLEConfig(kind="ple", num_levels=1, num_shared_experts=2, num_task_experts=1, expert_units=(3,)),
    "ple": PLEConfig(kind="ple", num_levels=3, num_shared_experts=2, num_task_experts=2, expert_units=(8, 6), gate_units=(4,)),
}
NUM_TASKS = 3


def make(name, dropout=0.0, seed=1):
    return make_body(CONFIGS[name], NUM_TASKS, dropout, seed)


@pytest.fixture(params=CONFIGS)
def name(request):
    return request.param


def relu_stack(row, weights):
    for kernel, bias in zip(weights[::2], weights[1::2], strict=True):
        row = [
            max(0.0, sum(x * k for x, k in zip(row, column, strict=True)) + b) for column, b in zip(kernel.T, bias, strict=True)
        ]
    return row


def expert(row, weights, index):
    """Kernels lie (inputs, experts, units) in the first layer and by expert in later ones; biases by expert."""
    return relu_stack(row, [value[:, index] if at == 0 else value[index] for at, value in enumerate(weights)])


def gate(row, weights, index):
    *hidden, kernel, bias = [value[:, index] if at == 0 else value[index] for at, value in enumerate(weights)]
    row = relu_stack(row, hidden)
    logits = [sum(x * k for x, k in zip(row, column, strict=True)) + b for column, b in zip(kernel.T, bias, strict=True)]
    exponentials = np.exp(logits)
    return exponentials / exponentials.sum()


def weighted(weights, vectors):
    assert len(weights) == len(vectors)
    return sum(weight * np.array(vector) for weight, vector in zip(weights, vectors, strict=True))


def weights_by_part(body):
    """Weights by the layer's name: "experts", "gate_0_shared"."""
    parts = {}
    for variable in body.trainable_variables:
        part = variable.name.split("body/")[-1].split("/")[0]
        parts.setdefault(part, []).append(variable.numpy())
    return parts


def shared_bottom_oracle(config, parts, row):
    hidden = relu_stack(row, parts["hidden"])
    return [hidden] * NUM_TASKS, hidden


def mmoe_oracle(config, parts, row):
    experts = [expert(row, parts["experts"], index) for index in range(config.num_experts)]
    tasks = [weighted(gate(row, parts["gates"], task), experts) for task in range(NUM_TASKS)]
    return tasks, np.concatenate(experts)


def ple_oracle(config, parts, row):
    """Tang et al. 2020, eq. 1 to 8, one row and one expert at a time."""
    inputs_by_task, shared_input = [row] * NUM_TASKS, row
    for level in range(config.num_levels):
        shared = [expert(shared_input, parts[f"experts_{level}_shared"], index) for index in range(config.num_shared_experts)]
        own = [
            [expert(inputs_by_task[task], parts[f"experts_{level}_{task}"], index) for index in range(config.num_task_experts)]
            for task in range(NUM_TASKS)
        ]
        if level < config.num_levels - 1:
            everything = [vector for vectors in own for vector in vectors] + shared
            next_shared = weighted(gate(shared_input, parts[f"gate_{level}_shared"], 0), everything)
        inputs_by_task = [
            weighted(gate(inputs_by_task[task], parts[f"gate_{level}_{task}"], 0), own[task] + shared)
            for task in range(NUM_TASKS)
        ]
        shared_input = next_shared if level < config.num_levels - 1 else shared_input
    return inputs_by_task, np.concatenate(shared)


ORACLES = {"shared_bottom": shared_bottom_oracle, "mmoe": mmoe_oracle, "ple": ple_oracle}


def test_values(name):
    body = make(name)
    body(X)
    for index, variable in enumerate(body.trainable_variables):
        variable.assign_add(np.random.default_rng(index).normal(0, 0.2, variable.shape))
    output, parts = body(X), weights_by_part(body)
    for row in range(len(X)):
        tasks, shared = ORACLES[CONFIGS[name].kind](CONFIGS[name], parts, X[row])
        np.testing.assert_allclose([task[row] for task in output.tasks], tasks, atol=1e-5)
        np.testing.assert_allclose(output.shared[row], shared, atol=1e-5)


def test_output_is_as_the_ranker_reads_it(name):
    body = make(name)
    output = body(X)
    assert require_body_output(output, NUM_TASKS, name) is output
    assert all(task.shape == (4, CONFIGS[name].width) for task in output.tasks)
    is_one = all(task is output.tasks[0] for task in output.tasks)
    assert is_one == (name == "shared bottom")


def test_the_top_level_of_ple_has_no_shared_gate():
    body = make("ple")
    body(X)
    assert [part for part in weights_by_part(body) if part.startswith("gate") and part.endswith("shared")] == [
        "gate_0_shared",
        "gate_1_shared",
    ]


def reached(body, variable):
    """(tasks, ...) bool: which numbers of a variable each task's representation moves with."""
    with tf.GradientTape(persistent=True) as tape:
        losses = [tf.reduce_sum(task**2) for task in body(10 * X).tasks]
    zeros = tf.UnconnectedGradients.ZERO
    return np.stack([tape.gradient(loss, variable, unconnected_gradients=zeros).numpy() != 0 for loss in losses])


def test_variables_of_one_task_are_named(name):
    """What a body calls a task's own serves one task in every number, and all else serves several."""
    body = make(name)
    body(X)
    own = {variable.ref() for variable in body.task_variables}
    for variable in body.trainable_variables:
        num_tasks_by_number = reached(body, variable).sum(axis=0)
        if variable.ref() in own:
            assert num_tasks_by_number.max() <= 1, variable.name
        else:
            assert num_tasks_by_number.max() == NUM_TASKS, variable.name
    assert bool(own) == (name != "shared bottom")


def test_every_task_passes_through_what_is_shared(name):
    body = make(name)
    for task in range(NUM_TASKS):
        with tf.GradientTape() as tape:
            output = body(X)
            loss = tf.reduce_sum(output.tasks[task] ** 2)
        assert np.abs(tape.gradient(loss, output.shared)).max() > 0


def test_wrong_rank(name):
    with pytest.raises(ValueError, match=r"inputs must have shape \(batch, units\).*Received: shape=\(4, 6, 1\)"):
        make(name)(X[:, :, None])


def test_config_round_trip(name):
    body = make(name, dropout=0.25)
    again = type(body).from_config(body.get_config())
    assert again.get_config() == body.get_config()
    for first, second in zip(tf.nest.flatten(body(X)), tf.nest.flatten(again(X)), strict=True):
        np.testing.assert_array_equal(first, second)


def test_save_and_load(name, tmp_path):
    inputs = keras.Input([6])
    output = make(name)(inputs)
    model = keras.Model(inputs, [*output.tasks, output.shared])
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    for first, second in zip(model(X), loaded(X), strict=True):
        np.testing.assert_array_equal(first, second)


def test_computes_in_the_type_of_its_policy(name):
    keras.mixed_precision.set_global_policy("mixed_bfloat16")
    try:
        body = make(name)
        output = body(X)
    finally:
        keras.mixed_precision.set_global_policy("float32")
    assert {tensor.dtype for tensor in tf.nest.flatten(output)} == {tf.bfloat16}
    assert {variable.dtype for variable in body.trainable_variables} == {tf.float32}


def test_works_in_a_compiled_graph(name):
    body = make(name)
    expected = body(X)
    compiled = tf.function(lambda inputs: tuple(tf.nest.flatten(body(inputs))), jit_compile=True, autograph=False)
    for first, second in zip(tf.nest.flatten(expected), compiled(tf.constant(X)), strict=True):
        np.testing.assert_allclose(first, second, atol=1e-5)


def test_seeds_name_initial_values_and_dropout(name):
    first, again, other = make(name, 0.5, 1), make(name, 0.5, 1), make(name, 0.5, 2)
    outputs = [body(X, training=True).shared.numpy() for body in (first, again, other)]
    np.testing.assert_array_equal(outputs[0], outputs[1])
    assert np.abs(outputs[0] - outputs[2]).max() > 0.01
    assert np.abs(first(X).shared - outputs[0]).max() > 0


def kernels(body):
    """First kernels of all experts and gates, by inputs and units."""
    firsts = [value for name, values in weights_by_part(body).items() for value in values[:1] if name != "hidden"]
    return [value[:, part] for value in firsts for part in range(value.shape[1])]


def all_differ(arrays):
    return all(
        first.shape != second.shape or np.abs(first - second).max() > 0.02
        for index, first in enumerate(arrays)
        for second in arrays[:index]
    )


@pytest.mark.parametrize("name", ["mmoe", "mmoe of deep gates", "cgc", "ple"])
def test_all_experts_and_gates_start_different(name):
    body = make(name)
    body(X)
    assert len(kernels(body)) > 3
    assert all_differ(kernels(body))


def test_that_all_start_different_fails_on_the_bug():
    """Planted: a body that gives every level and task the body's own seed."""

    class OneSeed(PLE):
        def _make_experts(self, num_experts, level, owner):
            return type(super()._make_experts(num_experts, 0, 0))(
                num_experts, self.expert_units, name=f"experts_{level}_{owner}"
            )

    body = OneSeed(NUM_TASKS, 1, 1, 1, (3,), name="body")
    body(X)
    assert not all_differ(kernels(body))


class TwoHeights(Body):
    """A user's body: a layer for all, and one more for each task but the first."""

    def __init__(self, num_tasks, height=4, dropout=0.0, seed=0, **kwargs):
        super().__init__(num_tasks, dropout, seed, **kwargs)
        self.shared_layer = keras.layers.Dense(height, "relu")
        self.task_layers = [keras.layers.Dense(height) for _ in range(num_tasks - 1)]

    def call(self, inputs, training=False):
        shared = self.shared_layer(inputs)
        return BodyOutput((shared, *(layer(shared) for layer in self.task_layers)), shared)


class NotABody:
    def __init__(self, num_tasks, dropout, seed):
        self.num_tasks = num_tasks


def custom(layer, **options):
    return make_body(CustomBodyConfig(kind="custom", layer=layer, options=options), NUM_TASKS, 0.1, 7)


def test_a_body_of_the_users_own():
    body = custom(f"{__name__}:TwoHeights", height=9)
    assert (body.num_tasks, body.dropout, body.seed) == (NUM_TASKS, 0.1, 7)
    output = require_body_output(body(X), NUM_TASKS, body.name)
    assert [task.shape[1] for task in output.tasks] == [9, 9, 9]


@pytest.mark.parametrize(
    ("layer", "options", "message"),
    [
        ("no.such.module:Body", {}, r"body.layer must be a class that can be imported. Received: no.such.module:Body \(No mod"),
        (f"{__name__}:Nothing", {}, r"body.layer must be a class that can be imported. Received: .*:Nothing \(module"),
        (f"{__name__}:TwoHeights", {"depth": 3}, r"body.options must suit .*:TwoHeights. Received: {'depth': 3}"),
        (f"{__name__}:NotABody", {}, r"body.layer must derive from models.bodies.body.Body. Received: .*:NotABody"),
    ],
)
def test_refuses_bodies_that_cannot_be_made(layer, options, message):
    with pytest.raises(BodyError, match=message):
        custom(layer, **options)


@pytest.mark.parametrize(
    ("output", "message"),
    [
        (tf.zeros([2, 3]), "body mine must return a BodyOutput. Received: .*Tensor"),
        (BodyOutput((tf.zeros([2, 3]),), tf.zeros([2, 3])), "for each of 3 tasks. Received: 1"),
        (BodyOutput((tf.zeros([2]),) * 3, tf.zeros([2, 3])), r"must return tensors \(batch, units\).*Received: \(2,\)"),
    ],
)
def test_refuses_what_towers_cannot_read(output, message):
    with pytest.raises(BodyError, match=message):
        require_body_output(output, NUM_TASKS, "mine")


@pytest.mark.parametrize(
    ("make_wrong", "message"),
    [
        (lambda: SharedBottom(2, ()), "units must hold at least one width"),
        (lambda: MMoE(2, 0, (4,)), "num_experts must be at least 1. Received: num_experts=0"),
    ],
)
def test_refuses_wrong_arguments(make_wrong, message):
    with pytest.raises(ValueError, match=message):
        make_wrong()


def test_the_documented_body_can_be_used(tmp_path, monkeypatch):
    text = (Path(__file__).parents[3] / "docs" / "ranker.md").read_text()
    (source,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    (line,) = re.findall(r"^body = (\{ kind = \"custom\".*\})$", text, re.MULTILINE)
    (tmp_path / "my_bodies.py").write_text(source)
    monkeypatch.syspath_prepend(str(tmp_path))
    config = ModelConfig(features=[{"kind": "numeric", "name": "x"}], **tomllib.loads(f"body = {line}"))
    body = make_body(config.body, NUM_TASKS, 0.0, 1)
    output = require_body_output(body(X), NUM_TASKS, body.name)
    assert [task.shape[1] for task in output.tasks] == [64] * NUM_TASKS
