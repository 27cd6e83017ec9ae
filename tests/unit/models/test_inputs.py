"""Features' vectors against plain Python, and the layer's conformance."""

import hypothesis
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import strategies as st

from models.config import ModelConfig
from models.errors import FeatureError
from models.inputs import FeatureInputs, embedding_dimension
from models.keras import keras

FEATURES = ModelConfig(
    features=[
        {"kind": "categorical", "name": "user", "dimension": 3},
        {"kind": "numeric", "name": "age"},
        {"kind": "numeric", "name": "fans", "transform": "bucket", "num_buckets": 4, "dimension": 2},
        {"kind": "categorical", "name": "item", "dimension": 3},
        {"kind": "categorical", "name": "last_item", "shares": "item"},
        {"kind": "sequence", "name": "last_items", "shares": "item", "max_length": 3},
        {"kind": "sequence", "name": "best_items", "shares": "item", "max_length": 3, "pooling": "max"},
        {
            "kind": "sequence",
            "name": "seen",
            "shares": "item",
            "max_length": 3,
            "pooling": "attention",
            "attention_units": [5, 2],
        },
        {"kind": "sequence", "name": "rival", "shares": "item", "max_length": 2, "pooling": "attention", "target": "last_item"},
        {"kind": "sequence", "name": "last_authors", "dimension": "auto", "max_length": 2},
        {"kind": "numeric", "name": "history"},
        {"kind": "numeric", "name": "rates", "transform": "bucket", "num_buckets": 3, "dimension": 2},
        {"kind": "numeric", "name": "shares", "transform": "piecewise", "num_buckets": 3, "dimension": 2},
        {"kind": "numeric", "name": "price", "transform": "piecewise", "num_buckets": 3, "dimension": 2},
        {"kind": "categorical", "name": "tag", "hash_buckets": 6, "dimension": 4},
        {"kind": "cross", "name": "user_tag", "of": ["user", "tag"], "hash_buckets": 7, "dimension": 3},
    ]
).features
SIZES = {
    "user": 5, "fans": 4, "item": 5, "last_authors": 4, "rates": 6, "shares": 6, "price": 3, "tag": 6, "user_tag": 7,
}  # fmt: skip
COLUMNS = {
    "user": tf.constant([4, 0], tf.int64),
    "age": tf.constant([0.5, -1.0]),
    "fans": tf.constant([3, 1], tf.int64),
    "item": tf.constant([4, 0], tf.int64),
    "last_item": tf.constant([2, 3], tf.int64),
    "last_items": tf.constant([[5, 1, 0], [0, 0, 0]], tf.int64),
    "best_items": tf.constant([[2, 3, 4], [0, 0, 0]], tf.int64),
    "seen": tf.constant([[3, 1, 0], [0, 0, 0]], tf.int64),
    "rival": tf.constant([[1, 0], [4, 5]], tf.int64),
    "last_authors": tf.constant([[4, 4], [1, 0]], tf.int64),
    "history": tf.constant([[0.25, 3.0], [-1.0, 0.0]]),
    "rates": tf.constant([[2, 0], [1, 2]], tf.int64),
    "shares": tf.constant([[2.25, 0.0], [3.0, 1.5]]),
    "price": tf.constant([0.75, 2.0]),
    "tag": tf.constant([5, 0], tf.int64),
    "user_tag": tf.constant([6, 1], tf.int64),
    "click": tf.constant([1.0, 0.0]),
}
# Which of them may come with one row in a request.
OF_THE_USER = ("user", "age", "last_items", "best_items", "seen", "rival", "last_item", "history", "shares")
# By width of their tables, then piecewise numbers, sequences and plain numbers.
ORDER = (
    "fans", "rates", "user", "item", "last_item", "user_tag", "tag", "shares", "price",
    "last_items", "best_items", "seen", "rival", "last_authors", "age", "history",
)  # fmt: skip


@pytest.fixture
def layer():
    made = FeatureInputs(FEATURES, SIZES, seed=3)
    made(COLUMNS)
    # Scores of attention far enough apart to tell a wrong one.
    for variable in made.trainable_variables:
        if "attention" in variable.name:
            variable.assign_add(tf.random.stateless_uniform(variable.shape, [0, 1], -1, 1))
        elif "tables" in variable.name:
            variable.assign(20 * variable)
    return made


def weights(layer, part):
    """Weights of one inner layer by their own names."""
    return {
        "/".join(variable.name.split("/")[2:]).removesuffix(":0"): variable.numpy().astype("f8")
        for variable in layer.trainable_variables
        if variable.name.split("/")[1] == part
    }


def table(layer, name):
    rows = layer.table_rows[name]
    return rows.variable.numpy()[rows.first_row : rows.first_row + rows.num_rows].astype("f8")


def attention(entries, candidate, of):
    """DIN by loops: entries weighed by a network over [e, v, e - v, e * v]."""
    layers = [(of["kernel"], of["bias"])]
    layers += [(of[f"hidden_{index}/kernel"], of[f"hidden_{index}/bias"]) for index in (1,) if f"hidden_{index}/kernel" in of]
    scores = []
    for entry in entries:
        hidden = [*entry, *candidate, *(entry - candidate), *(entry * candidate)]
        for kernel, bias in layers:
            hidden = [
                max(0, sum(x * w for x, w in zip(hidden, column, strict=True)) + b)
                for column, b in zip(kernel.T, bias, strict=True)
            ]
        scores.append(sum(x * w for x, w in zip(hidden, of["score/kernel"][:, 0], strict=True)))
    weighed = [entry / (1 + np.exp(-score)) for score, entry in zip(scores, entries, strict=True)]
    return sum(weighed, np.zeros(len(candidate)))


def piecewise(position, kernel, bias):
    return bias + sum(min(max(position - bucket, 0), 1) * kernel[bucket] for bucket in range(len(kernel)))


def oracle(layer, row):
    """One row's vectors by name, value by value."""
    values = {name: column[row].numpy().tolist() for name, column in COLUMNS.items()}
    items, linear = table(layer, "item"), weights(layer, "piecewise_3_2")

    def entries(name, rows=items):
        return [rows[entry - 1] for entry in values[name] if entry]

    def mean(present, width):
        return sum(present) / len(present) if present else np.zeros(width)

    buckets = table(layer, "rates")
    return {
        "user": table(layer, "user")[values["user"]],
        "age": [values["age"]],
        "fans": table(layer, "fans")[values["fans"]],
        "item": items[values["item"]],
        "last_item": items[values["last_item"]],
        "last_items": mean(entries("last_items"), 3),
        "best_items": np.max(entries("best_items"), axis=0) if entries("best_items") else np.zeros(3),
        "seen": attention(entries("seen"), items[values["item"]], weights(layer, "attention_seen")),
        "rival": attention(entries("rival"), items[values["last_item"]], weights(layer, "attention_rival")),
        "last_authors": mean(entries("last_authors", table(layer, "last_authors")), 4),
        "history": values["history"],
        "rates": [*buckets[values["rates"][0]], *buckets[3 + values["rates"][1]]],
        "shares": [
            *piecewise(values["shares"][0], linear["kernel"][0], linear["bias"][0]),
            *piecewise(values["shares"][1], linear["kernel"][1], linear["bias"][1]),
        ],
        "price": piecewise(values["price"], linear["kernel"][2], linear["bias"][2]),
        "tag": table(layer, "tag")[values["tag"]],
        "user_tag": table(layer, "user_tag")[values["user_tag"]],
    }


def test_vectors(layer):
    vectors = layer.vectors(COLUMNS)
    assert list(vectors) == [feature.name for feature in FEATURES]
    for row in range(2):
        for name, expected in oracle(layer, row).items():
            np.testing.assert_allclose(vectors[name][row], expected, atol=1e-5, err_msg=name)


def test_side_by_side(layer):
    vectors, outputs = layer.vectors(COLUMNS), layer(COLUMNS)
    np.testing.assert_array_equal(outputs, np.concatenate([vectors[name] for name in ORDER], axis=1))
    assert outputs.dtype == tf.float32


@hypothesis.settings(deadline=None, max_examples=25)
@hypothesis.given(st.sets(st.sampled_from(sorted(COLUMNS))))
def test_a_column_of_one_row_goes_with_every_row(single):
    layer = FeatureInputs(FEATURES, SIZES, seed=3)
    one = {name: column[:1] if name in single else column for name, column in COLUMNS.items()}
    repeated = {name: tf.repeat(column, 2 // column.shape[0], axis=0) for name, column in one.items()}
    np.testing.assert_allclose(np.broadcast_to(layer(one), layer(repeated).shape), layer(repeated), atol=1e-6)


def test_what_comes_with_one_row_is_computed_once(layer):
    one = {name: column[:1] if name in OF_THE_USER else column for name, column in COLUMNS.items()}
    vectors = layer.vectors(one)
    assert {name for name, vector in vectors.items() if vector.shape[0] == 1} == set(OF_THE_USER) - {"seen"}
    wide = layer.vectors({name: tf.repeat(column, 2 // column.shape[0], axis=0) for name, column in one.items()})
    for name, vector in vectors.items():
        np.testing.assert_allclose(np.broadcast_to(vector, wide[name].shape), wide[name], atol=1e-6)


def test_one_row_and_many_in_a_graph_of_any_batch(layer):
    def spec(name):
        column = COLUMNS[name]
        return tf.TensorSpec([1 if name in OF_THE_USER else None, *column.shape[1:]], column.dtype)

    features = {feature.name for feature in FEATURES}
    served = tf.function(layer, input_signature=[{name: spec(name) for name in features}], autograph=False)
    many = {name: COLUMNS[name][:1] if name in OF_THE_USER else tf.repeat(COLUMNS[name], 3, axis=0) for name in features}
    np.testing.assert_allclose(served(many), layer(many), atol=1e-6)
    assert served(many).shape == (6, layer(COLUMNS).shape[1])


def test_features_added_keep_the_others_initial_values():
    few = FeatureInputs([feature for feature in FEATURES if feature.name not in ("user", "fans", "shares")], SIZES, seed=3)
    all_of_them = FeatureInputs(FEATURES, SIZES, seed=3)
    vectors, others = all_of_them.vectors(COLUMNS), few.vectors(COLUMNS)
    for name, vector in others.items():
        np.testing.assert_array_equal(vectors[name], vector, err_msg=name)


def test_every_table_and_run_has_initial_values_of_its_own():
    layer, other = FeatureInputs(FEATURES, SIZES, seed=3), FeatureInputs(FEATURES, SIZES, seed=4)
    layer(COLUMNS), other(COLUMNS)
    assert np.abs(table(layer, "user") - table(layer, "item")).max() > 0.01
    assert all(np.abs(table(layer, name) - table(other, name)).max() > 0.01 for name in layer.table_rows)
    assert np.abs(table(layer, "user")).max() <= 0.05
    kernel = weights(layer, "piecewise_3_2")["kernel"]
    assert np.abs(kernel[0] - kernel[2]).max() > 0.01
    assert (
        np.abs(weights(layer, "attention_seen")["kernel"][:, :2] - weights(other, "attention_seen")["kernel"][:, :2]).max()
        > 0.01
    )


def test_tables_lie_below_each_other(layer):
    places = {name: (rows.variable.shape[1], rows.first_row, rows.num_rows) for name, rows in layer.table_rows.items()}
    assert places == {
        "fans": (2, 0, 4), "rates": (2, 4, 6), "user": (3, 0, 5), "item": (3, 5, 5), "user_tag": (3, 10, 7),
        "last_authors": (4, 0, 4), "tag": (4, 4, 6),
    }  # fmt: skip


@pytest.mark.parametrize(("name", "rows"), [("last_items", {4, 0}), ("best_items", {1, 2, 3}), ("seen", {0, 2, 4})])
def test_an_empty_list_moves_no_embedding(layer, name, rows):
    layer.table_rows["item"].variable.scatter_update(tf.IndexedSlices(10 * np.eye(3, dtype="f4"), tf.range(6, 9)))
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum((layer.vectors(COLUMNS)[name] - 1) ** 2)
    gradient = tf.convert_to_tensor(tape.gradient(loss, layer.table_rows["item"].variable)).numpy()
    assert {row - 5 for row in range(len(gradient)) if gradient[row].any()} == rows


def test_penalises_embeddings_in_training_only():
    layer = FeatureInputs(FEATURES, SIZES, l2=0.5, seed=3)
    vectors = layer.vectors(COLUMNS)
    expected = sum(np.sum(vectors[name].numpy() ** 2) for name in vectors if name not in ("age", "history"))
    layer(COLUMNS, training=True)
    assert float(sum(layer.losses)) == pytest.approx(0.5 * expected / 2, rel=1e-5)
    layer.vectors(COLUMNS, training=True)
    assert float(sum(layer.losses)) == pytest.approx(0.5 * expected / 2, rel=1e-5)
    layer(COLUMNS)
    assert layer.losses == []


def test_config_round_trip():
    layer = FeatureInputs(FEATURES, SIZES, l2=0.5, seed=3)
    again = FeatureInputs.from_config(layer.get_config())
    assert again.get_config() == layer.get_config()
    np.testing.assert_array_equal(layer(COLUMNS), again(COLUMNS))


def test_save_and_load(tmp_path):
    columns = {name: column for name, column in COLUMNS.items() if name != "click"}
    inputs = {name: keras.Input(column.shape[1:], dtype=column.dtype, name=name) for name, column in columns.items()}
    model = keras.Model(inputs, FeatureInputs(FEATURES, SIZES)(inputs))
    model.save(tmp_path / "model.keras")
    np.testing.assert_array_equal(model(columns), keras.models.load_model(tmp_path / "model.keras")(columns))


def test_checkpoints_hold_every_weight(layer, tmp_path):
    path = tf.train.Checkpoint(inputs=layer).save(str(tmp_path / "checkpoint"))
    other = FeatureInputs(FEATURES, SIZES, seed=9)
    other(COLUMNS)
    tf.train.Checkpoint(inputs=other).restore(path).assert_consumed()
    np.testing.assert_array_equal(layer(COLUMNS), other(COLUMNS))


def test_computes_in_32_bits_under_a_policy_of_16():
    keras.mixed_precision.set_global_policy("mixed_bfloat16")
    try:
        half = FeatureInputs(FEATURES, SIZES, seed=3)
        outputs = half(COLUMNS)
    finally:
        keras.mixed_precision.set_global_policy("float32")
    np.testing.assert_array_equal(outputs, FeatureInputs(FEATURES, SIZES, seed=3)(COLUMNS))
    assert {variable.dtype for variable in half.trainable_variables} == {tf.float32}


def test_refuses_wrong_columns():
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


@pytest.mark.parametrize(("rows", "dimension"), [(1, 4), (16, 4), (17, 8), (256, 8), (257, 12), (10_000, 20), (1_000_000, 64)])
def test_automatic_dimension_is_twice_the_fourth_root(rows, dimension):
    assert embedding_dimension(rows) == dimension
    assert 2 * rows**0.25 <= dimension < 2 * rows**0.25 + 4
