"""Conformance: the same checks for every layer, and an oracle of loops for each."""

import numpy as np
import pytest
import tensorflow as tf

from models.bodies.config import CrossConfig, DotConfig
from models.keras import keras
from models.layers.bias_tower import BiasTower
from models.layers.dropout import CountedDropout
from models.layers.experts import Experts, read_together
from models.layers.gate import Gate, mixtures
from models.layers.hidden import HiddenLayers
from models.layers.interaction import CrossInteraction, PairwiseDot, make_interaction
from models.layers.parallel_dense import ParallelDense
from models.layers.pooling import GroupPooling
from models.layers.small_tower import SmallTower
from models.layers.tower import Tower

X = np.random.default_rng(0).normal(size=(4, 6)).astype("f4")
WEIGHTS = np.array([[1, 0], [2, 1], [0, 1], [1, 0]], "f4")
LISTS = [X[:, :2], X[:, 2:5], X[:, 4:]]


def dense(inputs, kernel, bias=0.0):
    return (
        np.array([[sum(row[i] * kernel[i, j] for i in range(len(row))) for j in range(kernel.shape[1])] for row in inputs])
        + bias
    )


def relu(values):
    return np.maximum(values, 0)


def softmax(row):
    exponentials = [np.exp(value) for value in row]
    return [value / sum(exponentials) for value in exponentials]


def stack_oracle(inputs, weights, ends_linear=False):
    """Dense layers one after the other."""
    weights = list(weights)
    while weights:
        inputs = dense(inputs, weights.pop(0), weights.pop(0))
        if weights or not ends_linear:
            inputs = relu(inputs)
    return inputs


def tower_oracle(inputs, weights):
    outputs = stack_oracle(inputs, weights, ends_linear=True)
    return outputs[:, 0] if outputs.shape[1] == 1 else outputs


def small_tower_oracle(kind, width):
    def oracle(inputs, weights):
        if kind == "pooled":
            inputs = np.array([[np.mean(row[i : i + width]) for i in range(0, len(row), width)] for row in inputs])
        if kind == "bottleneck":
            inputs, weights = dense(inputs, *weights[:2]), weights[2:]
        return tower_oracle(inputs, weights)

    return oracle


def part_of(weights, part):
    """One expert's own kernels and biases: the first kernel lies (inputs, experts, units), later ones by expert."""
    return [value[:, part] if index == 0 else value[part] for index, value in enumerate(weights)]


def experts_oracle(inputs, weights):
    return np.stack([stack_oracle(inputs, part_of(weights, part)) for part in range(weights[0].shape[1])], axis=1)


def gate_oracle(inputs, weights):
    logits = [stack_oracle(inputs, part_of(weights, part), ends_linear=True) for part in range(weights[0].shape[1])]
    return np.array([[softmax(rows[row]) for rows in logits] for row in range(len(inputs))])


def cross_oracle(inputs, weights):
    first = np.concatenate(inputs, axis=1)
    crossed = first
    per_layer = {4: 2, 6: 3}[len(weights)]
    for at in range(0, len(weights), per_layer):
        *kernels, bias = weights[at : at + per_layer]
        product = crossed
        for kernel in kernels:
            product = dense(product, kernel)
        crossed = first * (product + bias) + crossed
    return crossed


def dot_oracle(inputs, weights):
    """Kernels come by width: one feature of 3 inputs would come after those of 2."""
    kernel_by_width = {kernel.shape[1]: (kernel, bias) for kernel, bias in zip(weights[::2], weights[1::2], strict=True)}
    seen, rows = {}, []
    projected = []
    for columns in inputs:
        kernel, bias = kernel_by_width[columns.shape[1]]
        place = seen[columns.shape[1]] = seen.get(columns.shape[1], -1) + 1
        projected.append(dense(columns, kernel[place], bias[place]))
    for row in range(len(inputs[0])):
        dots = [np.dot(projected[i][row], projected[j][row]) for i in range(len(inputs)) for j in range(i)]
        rows.append([*np.concatenate([columns[row] for columns in inputs]), *dots])
    return np.array(rows)


def bias_oracle(inputs, weights):
    biases = dense(relu(dense(inputs, weights[0], weights[1])), weights[2])
    for task in range(2):
        total = sum(WEIGHTS[row, task] * biases[row, task] for row in range(4))
        biases[:, task] -= total / sum(WEIGHTS[row, task] for row in range(4))
    return biases


# name: (layer, its oracle of inputs and weights)
LAYERS = {
    "hidden": (lambda: HiddenLayers((5, 3), dropout=0.5, seed=1), stack_oracle),
    "tower": (lambda: Tower((5, 3), dropout=0.5, seed=1), tower_oracle),
    "linear tower": (lambda: Tower((), seed=1), tower_oracle),
    "tower of several outputs": (lambda: Tower((5,), num_outputs=3, seed=1), tower_oracle),
    "small tower": (lambda: SmallTower(seed=1), small_tower_oracle("linear", 1)),
    "small tower of several outputs": (lambda: SmallTower(num_outputs=4, seed=1), small_tower_oracle("linear", 1)),
    "pooled small tower": (lambda: SmallTower("pooled", 3, seed=1), small_tower_oracle("pooled", 3)),
    "bottleneck small tower": (lambda: SmallTower("bottleneck", 2, seed=1), small_tower_oracle("bottleneck", 2)),
    "mlp small tower": (lambda: SmallTower("mlp", 2, num_outputs=3, seed=1), small_tower_oracle("mlp", 2)),
    "pooling": (lambda: GroupPooling(2), lambda x, _: np.array([[(r[i] + r[i + 1]) / 2 for i in (0, 2, 4)] for r in x])),
    "dropout": (lambda: CountedDropout(0.5, seed=1), lambda inputs, _: inputs),
    "parallel dense": (lambda: ParallelDense(3, 2, "relu", seed=1), experts_oracle),
    "experts": (lambda: Experts(3, (4, 2), dropout=0.5, seed=1), experts_oracle),
    "gate": (lambda: Gate(2, 3, seed=1), gate_oracle),
    "deep gate": (lambda: Gate(2, 3, (4,), seed=1), gate_oracle),
}
LIST_LAYERS = {
    "cross": (lambda: CrossInteraction(2, seed=1), cross_oracle),
    "cross of low rank": (lambda: CrossInteraction(2, projection=3, seed=1), cross_oracle),
    "dot": (lambda: PairwiseDot(4, seed=1), dot_oracle),
}
EVERY = LAYERS | LIST_LAYERS | {"bias tower": (lambda: BiasTower(2, (5,), dropout=0.5, seed=1), bias_oracle)}


def arguments(name):
    if name in LIST_LAYERS:
        return ([tf.constant(columns) for columns in LISTS],)
    return (tf.constant(X), tf.constant(WEIGHTS)) if name == "bias tower" else (tf.constant(X),)


@pytest.fixture(params=EVERY)
def name(request):
    return request.param


@pytest.fixture
def layer(name):
    return EVERY[name][0]()


def weights_of(layer):
    return [variable.numpy() for variable in layer.trainable_variables]


def test_values(name, layer):
    layer(*arguments(name))
    for index, variable in enumerate(layer.trainable_variables):
        variable.assign_add(np.random.default_rng(index).normal(0, 0.1, variable.shape))
    outputs = layer(*arguments(name)).numpy()
    inputs = LISTS if name in LIST_LAYERS else X
    np.testing.assert_allclose(outputs, EVERY[name][1](inputs, weights_of(layer)), atol=1e-5)
    assert outputs.dtype == np.float32


@pytest.mark.parametrize("name", sorted({*EVERY} - {"dropout"}), indirect=True)
def test_wrong_rank(name, layer):
    first, *rest = arguments(name)
    wrong = [first[0][:, :, None], *first[1:]] if name in LIST_LAYERS else first[:, :, None]
    with pytest.raises(ValueError, match=r"inputs must have shape \(batch, units\).*Received: shape=\(4, \d, 1\)"):
        layer(wrong, *rest)


def test_config_round_trip(name, layer):
    again = type(layer).from_config(layer.get_config())
    assert again.get_config() == layer.get_config()
    np.testing.assert_array_equal(layer(*arguments(name)), again(*arguments(name)))


def test_save_and_load(name, layer, tmp_path):
    inputs = tf.nest.map_structure(lambda tensor: keras.Input(tensor.shape[1:]), arguments(name))
    model = keras.Model(inputs, layer(*inputs))
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(model(arguments(name)), loaded(arguments(name)))


def test_gradients_reach_all_weights_and_inputs(name, layer):
    inputs = arguments(name)
    with tf.GradientTape() as tape:
        tape.watch(inputs)
        loss = tf.reduce_sum(layer(*inputs) ** 3)
    watched = tf.nest.flatten(inputs[0])
    gradients = tape.gradient(loss, [*watched, *layer.trainable_variables])
    assert all(np.abs(gradient).sum() > 0 for gradient in gradients[: len(watched)])
    assert all(gradient is not None for gradient in gradients)


@pytest.fixture
def mixed_precision():
    keras.mixed_precision.set_global_policy("mixed_bfloat16")
    yield
    keras.mixed_precision.set_global_policy("float32")


@pytest.mark.usefixtures("mixed_precision")
def test_computes_in_the_type_of_its_policy(name):
    layer = EVERY[name][0]()
    outputs = layer(*arguments(name))
    assert outputs.dtype == tf.bfloat16
    assert all(variable.dtype == tf.float32 for variable in layer.trainable_variables)
    inputs = LISTS if name in LIST_LAYERS else X
    expected = EVERY[name][1](inputs, weights_of(layer))
    np.testing.assert_allclose(tf.cast(outputs, tf.float32), expected, atol=0.05 * np.abs(expected).max())


def test_works_in_a_compiled_graph(name, layer):
    compiled = tf.function(lambda *inputs: layer(*inputs), jit_compile=True, autograph=False)
    np.testing.assert_allclose(layer(*arguments(name)), compiled(*arguments(name)), atol=1e-5)


SEEDED = {
    "hidden": lambda seed: HiddenLayers((6, 6), seed=seed),
    "tower": lambda seed: Tower((6, 6), seed=seed),
    "small tower": lambda seed: SmallTower("bottleneck", 6, 6, seed=seed),
    "experts": lambda seed: Experts(4, (6, 6), seed=seed),
    "gate": lambda seed: Gate(6, 6, (6,), seed=seed),
    "bias tower": lambda seed: BiasTower(6, (6,), seed=seed),
}


@pytest.mark.parametrize("name", SEEDED)
def test_every_kernel_starts_different(name):
    """From those of another seed, and from one another: kernels of like shape in one layer, experts in one kernel."""

    def parts(seed):
        layer = SEEDED[name](seed)
        layer(X, WEIGHTS[:, [0] * 6]) if name == "bias tower" else layer(X)
        kernels = [value for value in weights_of(layer) if value.ndim > 1 and value.any()]
        return [
            part
            for value in kernels
            for part in (np.moveaxis(value, value.shape.index(6, 1) - 1, 0) if value.ndim == 3 else [value])
        ]

    ones, twos = parts(1), parts(2)
    assert len(ones) >= 2
    for index, first in enumerate(ones):
        for other in (*ones[:index], *twos):
            assert np.abs(first - other).max() > 0.05


def all_parts_differ(kernel_IEU):
    return all(
        np.abs(kernel_IEU[:, first] - kernel_IEU[:, second]).max() > 0.05
        for first in range(kernel_IEU.shape[1])
        for second in range(first)
    )


def test_experts_start_different():
    experts = Experts(4, (5,), seed=3)
    experts(X)
    assert all_parts_differ(weights_of(experts)[0])


def test_that_experts_start_different_fails_on_the_bug():
    """Planted: one initializer with one seed for all experts, as where every expert is its own Dense layer with it."""
    initializer = keras.initializers.HeUniform(3)
    bug = tf.stack([initializer((6, 5)) for _ in range(4)], axis=1).numpy()
    assert not all_parts_differ(bug)


def test_an_expert_starts_as_one_that_stands_alone():
    """Its spread follows from its own inputs and units, not from all experts', and experts added leave it as it is."""
    few, many = Experts(2, (50,), seed=3), Experts(40, (50,), seed=3)
    for experts in (few, many):
        experts(X)
    np.testing.assert_array_equal(weights_of(few)[0], weights_of(many)[0][:, :2])
    assert np.abs(weights_of(many)[0]).max() == pytest.approx(np.sqrt(6 / 6), rel=1e-2)


def test_experts_may_read_each_their_own_input():
    experts = Experts(3, (4, 2), seed=1)
    inputs = np.random.default_rng(1).normal(size=(4, 3, 6)).astype("f4")
    outputs = experts(inputs).numpy()
    weights = weights_of(experts)
    for part in range(3):
        expected = stack_oracle(inputs[:, part], [value[part] for value in weights])
        np.testing.assert_allclose(outputs[:, part], expected, atol=1e-5)
    with pytest.raises(ValueError, match=r"\(batch, units\) or \(batch, 3, units\).*Received: shape=\(4, 2, 6\)"):
        Experts(3, (4,))(inputs[:, :2])


def test_networks_read_together_as_each_alone():
    networks = [Experts(3, (4, 2), seed=1), Gate(2, 5, seed=2), Gate(2, 3, (4,), seed=3), Experts(1, (7,), seed=4)]
    for together, network in zip(read_together(tf.constant(X), networks), networks, strict=True):
        np.testing.assert_allclose(together, network(X), atol=1e-6)


def test_mixtures_are_weighted_sums():
    generator = np.random.default_rng(5)
    weights, experts = (generator.normal(size=shape).astype("f4") for shape in ((3, 2, 4), (3, 4, 5)))
    mixed = mixtures(weights, experts)
    assert len(mixed) == 2
    for gate, row in np.ndindex(2, 3):
        expected = sum(weights[row, gate, expert] * experts[row, expert] for expert in range(4))
        np.testing.assert_allclose(mixed[gate][row], expected, atol=1e-5)


def test_gates_sum_to_one():
    np.testing.assert_allclose(Gate(3, 4, seed=1)(10 * X).numpy().sum(axis=2), 1, rtol=1e-6)


def test_a_bias_is_left_out_of_whole_rows_and_not_scaled_up():
    tower = BiasTower(2, dropout=0.4, seed=1)
    inputs, weights = np.random.default_rng(0).normal(size=(2_000, 3)).astype("f4"), np.ones((2_000, 2), "f4")
    kept, dropped = tower(inputs, weights).numpy(), tower(inputs, weights, training=True).numpy()
    is_left_out = (dropped == 0).all(axis=1)
    assert 0.35 < is_left_out.mean() < 0.45
    np.testing.assert_allclose(dropped[~is_left_out], kept[~is_left_out], rtol=1e-5)


def test_a_bias_has_no_mean_over_known_rows_and_none_is_no_division_by_zero():
    biases = BiasTower(2, (5,), seed=1)(X, WEIGHTS).numpy()
    np.testing.assert_allclose((biases * WEIGHTS).sum(axis=0), 0, atol=1e-5)
    assert np.isfinite(BiasTower(2, (5,), seed=1)(X, np.zeros_like(WEIGHTS))).all()


def test_low_rank_crosses_start_with_two_different_factors():
    """TFRS draws both factors by copies of one initializer: of one seed they would be one list of numbers."""
    cross = CrossInteraction(1, projection=3, seed=1)
    cross([X])
    first, second = (value for value in weights_of(cross) if value.ndim == 2)
    assert np.abs(first.ravel() - second.ravel()).max() > 0.01


def test_interactions_of_configurations():
    assert make_interaction(None, 0) is None
    cross = make_interaction(CrossConfig(kind="cross", num_layers=3, projection=2), 7)
    assert (cross.num_layers, cross.projection, cross.seed) == (3, 2, 7)
    dot = make_interaction(DotConfig(kind="dot", dimension=5), 7)
    assert (dot.dimension, dot.seed) == (5, 7)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: GroupPooling(4)(X), "width must divide the input's units. Received: width=4, units=6"),
        (lambda: GroupPooling(0), "width must be at least 1. Received: width=0"),
        (lambda: Experts(0, (4,)), "num_experts must be at least 1. Received: num_experts=0"),
        (lambda: Experts(2, ()), r"units must hold at least one width. Received: units=\(\)"),
        (lambda: CountedDropout(1.0), "rate must be at least 0 and below 1. Received: rate=1.0"),
        (lambda: SmallTower("wide"), "kind must be one of linear, pooled, bottleneck, mlp. Received: kind=wide"),
        (lambda: SmallTower("linear", 2), "width must be 1 for kind linear. Received: width=2"),
    ],
)
def test_refuses_wrong_arguments(make, message):
    with pytest.raises(ValueError, match=message):
        make()
