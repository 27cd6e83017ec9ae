"""Conformance: the same checks for every layer."""

import numpy as np
import pytest
import tensorflow as tf

from models.bodies.shared_bottom import SharedBottom
from models.config import ModelConfig
from models.errors import FeatureError
from models.inputs import FeatureInputs
from models.keras import keras
from models.layers.hidden import HiddenLayers
from models.layers.pooling import GroupPooling
from models.layers.small_tower import SmallTower
from models.layers.tower import Tower

X = np.random.default_rng(0).normal(size=(4, 6)).astype("f4")
LAYERS = {
    "hidden": lambda: HiddenLayers((5, 3), dropout=0.5, seed=1),
    "bottom": lambda: SharedBottom((5, 3), dropout=0.5, seed=1),
    "tower": lambda: Tower((5, 3), dropout=0.5, seed=1),
    "linear tower": lambda: Tower((), seed=1),
    "small tower": lambda: SmallTower(seed=1),
    "pooled small tower": lambda: SmallTower(width=3, seed=1),
    "pooling": lambda: GroupPooling(2),
}


@pytest.fixture(params=LAYERS)
def layer(request):
    return LAYERS[request.param]()


def dense_oracle(inputs, kernel, bias):
    rows = []
    for row in inputs:
        columns = range(kernel.shape[1])
        rows.append([sum(row[i] * kernel[i, j] for i in range(len(row))) + bias[j] for j in columns])
    return np.array(rows)


def oracle(layer, inputs):
    """The layer's output from its weights, by loops."""
    weights = [variable.numpy() for variable in layer.trainable_variables]
    if isinstance(layer, GroupPooling | SmallTower):
        width = layer.width
        inputs = np.array([[np.mean(row[i : i + width]) for i in range(0, len(row), width)] for row in inputs])
    is_tower = isinstance(layer, Tower | SmallTower)
    while weights:
        inputs = dense_oracle(inputs, weights.pop(0), weights.pop(0))
        if weights or not is_tower:
            inputs = np.maximum(inputs, 0)
    return inputs[:, 0] if is_tower else inputs


def test_values(layer):
    outputs = layer(X).numpy()
    for variable in layer.trainable_variables:
        variable.assign_add(tf.fill(variable.shape, 0.05))
    np.testing.assert_allclose(layer(X).numpy(), oracle(layer, X), atol=1e-5)
    assert outputs.dtype == np.float32


def test_wrong_rank(layer):
    with pytest.raises(ValueError, match=r"inputs must have shape \(batch, units\).*Received: shape=\(4, 6, 1\)"):
        layer(X[:, :, None])


def test_config_round_trip(layer):
    again = type(layer).from_config(layer.get_config())
    assert again.get_config() == layer.get_config()
    np.testing.assert_array_equal(layer(X), again(X))


def test_save_and_load(layer, tmp_path):
    model = keras.Sequential([keras.Input([6]), layer])
    model.save(tmp_path / "model.keras")
    np.testing.assert_array_equal(model(X), keras.models.load_model(tmp_path / "model.keras")(X))


def test_gradients_reach_all_weights_and_inputs(layer):
    inputs = tf.Variable(X)
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(layer(inputs) ** 2)
    gradients = tape.gradient(loss, [inputs, *layer.trainable_variables])
    assert all(np.abs(gradient).sum() > 0 for gradient in gradients[:1])
    assert all(gradient is not None for gradient in gradients)


def test_seeds_give_different_kernels():
    def kernels(layer):
        layer(X)
        return [variable.numpy() for variable in layer.trainable_variables if variable.shape.rank == 2]

    for make in (
        lambda seed: Tower((5,), seed=seed),
        lambda seed: SmallTower(seed=seed),
        lambda seed: SharedBottom((5,), seed=seed),
    ):
        for first, second in zip(kernels(make(1)), kernels(make(2)), strict=True):
            assert np.abs(first - second).min() > 0
    square = kernels(HiddenLayers((6, 6, 6), seed=1))
    assert np.abs(square[1] - square[2]).max() > 0.1


def test_dropout_acts_in_training_only():
    layer = HiddenLayers((200,), dropout=0.5)
    dropped = layer(X, training=True).numpy()
    kept = layer(X).numpy()
    assert 0.35 < np.mean(dropped[kept > 0] == 0) < 0.65


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: GroupPooling(4)(X), "width must divide the input's units. Received: width=4, units=6"),
        (lambda: GroupPooling(0), "width must be at least 1. Received: width=0"),
        (lambda: SharedBottom(()), "units must hold at least one width"),
    ],
)
def test_refuses_wrong_arguments(make, message):
    with pytest.raises(ValueError, match=message):
        make()


FEATURES = ModelConfig(
    features=[
        {"kind": "categorical", "name": "user", "dimension": 3},
        {"kind": "numeric", "name": "age"},
        {"kind": "numeric", "name": "fans", "transform": "bucket", "num_buckets": 4, "dimension": 2},
        {"kind": "categorical", "name": "item", "dimension": 3},
        {"kind": "sequence", "name": "last_items", "shares": "item", "max_length": 3},
        {"kind": "sequence", "name": "last_authors", "dimension": 2, "max_length": 2},
        {"kind": "numeric", "name": "history"},
        {"kind": "numeric", "name": "rates", "transform": "bucket", "num_buckets": 3, "dimension": 2},
    ]
).features
SIZES = {"user": 5, "fans": 4, "item": 5, "last_authors": 4, "rates": 6}
COLUMNS = {
    "user": tf.constant([4, 0], tf.int64),
    "age": tf.constant([0.5, -1.0]),
    "fans": tf.constant([3, 1], tf.int64),
    "item": tf.constant([4, 0], tf.int64),
    "last_items": tf.constant([[5, 1, 0], [0, 0, 0]], tf.int64),
    "last_authors": tf.constant([[4, 4], [1, 0]], tf.int64),
    "history": tf.constant([[0.25, 3.0], [-1.0, 0.0]]),
    "rates": tf.constant([[2, 0], [1, 2]], tf.int64),
    "click": tf.constant([1.0, 0.0]),
}


def inputs_oracle(tables, row):
    """One row's vector, value by value, from the embedding tables."""

    def mean(table, entries):
        present = [table[entry - 1] for entry in entries if entry]
        return [sum(column) / len(present) for column in zip(*present, strict=True)] if present else [0.0] * len(table[0])

    values = {name: column[row].numpy().tolist() for name, column in COLUMNS.items()}
    return [
        *tables["embedding_user"][values["user"]],
        values["age"],
        *tables["embedding_fans"][values["fans"]],
        *tables["embedding_item"][values["item"]],
        *mean(tables["embedding_item"], values["last_items"]),
        *mean(tables["embedding_last_authors"], values["last_authors"]),
        *values["history"],
        *tables["embedding_rates"][values["rates"][0]],
        *tables["embedding_rates"][3 + values["rates"][1]],
    ]


def test_inputs_look_up_rows_in_order():
    layer = FeatureInputs(FEATURES, SIZES, seed=3)
    outputs = layer(COLUMNS).numpy()
    tables = {variable.name.split("/")[-2]: variable.numpy() for variable in layer.trainable_variables}
    assert set(tables) == {f"embedding_{name}" for name in SIZES}
    for row in range(2):
        np.testing.assert_allclose(outputs[row], inputs_oracle(tables, row), atol=1e-7)
    assert np.abs(tables["embedding_user"] - tables["embedding_item"]).max() > 0.01
    assert not outputs[1, 9:12].any()


def test_an_empty_sequence_moves_no_embedding():
    layer = FeatureInputs(FEATURES, SIZES, seed=3)
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(layer(COLUMNS)[:, 9:12] ** 2)
    table = next(variable for variable in layer.trainable_variables if "embedding_item" in variable.name)
    gradient = tf.convert_to_tensor(tape.gradient(loss, table)).numpy()
    assert [row for row in range(5) if gradient[row].any()] == [0, 4]


def test_inputs_penalise_embeddings_in_training_only():
    layer = FeatureInputs(FEATURES, SIZES, l2=0.5, seed=3)
    outputs = layer(COLUMNS, training=True).numpy()
    embedded = np.delete(outputs, [3, 14, 15], axis=1)
    assert float(sum(layer.losses)) == pytest.approx(0.5 * np.sum(embedded**2) / 2, rel=1e-5)
    layer(COLUMNS)
    assert layer.losses == []


def test_inputs_config_round_trip():
    layer = FeatureInputs(FEATURES, SIZES, l2=0.5, seed=3)
    again = FeatureInputs.from_config(layer.get_config())
    assert again.get_config() == layer.get_config()
    np.testing.assert_array_equal(layer(COLUMNS), again(COLUMNS))


def test_inputs_save_and_load(tmp_path):
    inputs = {
        name: keras.Input(column.shape[1:], dtype=column.dtype, name=name)
        for name, column in COLUMNS.items()
        if name != "click"
    }
    model = keras.Model(inputs, FeatureInputs(FEATURES, SIZES)(inputs))
    model.save(tmp_path / "model.keras")
    columns = {name: COLUMNS[name] for name in inputs}
    np.testing.assert_array_equal(model(columns), keras.models.load_model(tmp_path / "model.keras")(columns))


def test_inputs_refuse_wrong_columns():
    layer = FeatureInputs(FEATURES, SIZES)
    with pytest.raises(ValueError, match=r"inputs must hold user with shape \(batch,\)\. Received: shape=\(2, 1\)"):
        layer(COLUMNS | {"user": tf.zeros([2, 1], tf.int64)})
    with pytest.raises(ValueError, match=r"inputs must hold age with shape \(batch,\) or \(batch, entries\)"):
        layer(COLUMNS | {"age": tf.zeros([2, 1, 1])})
    with pytest.raises(ValueError, match=r"inputs must hold last_items with shape \(batch, entries\)\. Received"):
        layer(COLUMNS | {"last_items": tf.zeros([2], tf.int64)})
    with pytest.raises(ValueError, match=r"inputs must hold item.*Received: shape=None"):
        layer({name: column for name, column in COLUMNS.items() if name != "item"})
    with pytest.raises(FeatureError, match=r"features.item needs a table size"):
        FeatureInputs(FEATURES, {"user": 5, "fans": 4})
