"""Conformance and definitions of the layers that inputs are made of."""

import itertools

import hypothesis
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import strategies as st

from models.keras import keras
from models.layers.embedding_tables import EmbeddingTables
from models.layers.entry_pooling import AttentionPooling, max_of_entries, mean_of_entries
from models.layers.piecewise import PiecewiseEmbedding
from models.numbers import positions

GENERATOR = np.random.default_rng(0)
ROWS = tf.constant([[0, 4], [2, 5]], tf.int64)
POSITIONS = tf.constant([[0.0, 1.25, 2.5], [3.0, 0.5, 1.0]])
ENTRIES = (
    tf.constant(GENERATOR.normal(size=(2, 3, 4)).astype("f4")),
    tf.constant([[True, True, False], [True, False, False]]),
    tf.constant(GENERATOR.normal(size=(2, 4)).astype("f4")),
)
LAYERS = {
    "tables": (lambda: EmbeddingTables({"a": 4, "b": 2}, dimension=3, seed=1), ROWS),
    "piecewise": (lambda: PiecewiseEmbedding({"a": 1, "b": 2}, num_buckets=3, dimension=2, seed=1), POSITIONS),
    "attention": (lambda: AttentionPooling((5, 3), seed=1), ENTRIES),
}


@pytest.fixture(params=LAYERS)
def made(request):
    make_fn, inputs = LAYERS[request.param]
    return make_fn(), inputs


def test_config_round_trip(made):
    layer, inputs = made
    again = type(layer).from_config(layer.get_config())
    assert again.get_config() == layer.get_config()
    np.testing.assert_array_equal(layer(inputs), again(inputs))


def test_save_and_load(made, tmp_path):
    layer, inputs = made
    symbols = tf.nest.map_structure(lambda column: keras.Input(column.shape[1:], dtype=column.dtype), inputs)
    model = keras.Model(symbols, layer(symbols))
    model.save(tmp_path / "model.keras")
    np.testing.assert_array_equal(model(inputs), keras.models.load_model(tmp_path / "model.keras")(inputs))


def test_seeds_give_different_weights(made):
    layer, inputs = made
    other = type(layer).from_config({**layer.get_config(), "seed": 2})
    layer(inputs), other(inputs)
    for first, second in zip(layer.trainable_variables, other.trainable_variables, strict=True):
        assert "attention" not in first.name or "bias" in first.name or np.abs(first - second).max() > 0.01
    assert any(np.abs(a - b).max() > 0.01 for a, b in zip(layer.trainable_variables, other.trainable_variables, strict=True))


def test_gradients_reach_all_weights(made):
    layer, inputs = made
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum((layer(inputs) - 1) ** 2)
    for gradient in tape.gradient(loss, layer.trainable_variables):
        assert np.abs(tf.convert_to_tensor(gradient)).sum() > 0


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: PiecewiseEmbedding({"a": 2}, 3, 2)(POSITIONS),
            r"inputs must have 2 entries. Received: shape=\(2, 3\)",
        ),
        (
            lambda: PiecewiseEmbedding({"a": 3}, 3, 2)(POSITIONS[:, :, None]),
            r"inputs must have shape \(batch, units\).*Received: shape=\(2, 3, 1\)",
        ),
        (lambda: AttentionPooling(()), r"units must hold at least one width. Received: units=\(\)"),
        (
            lambda: AttentionPooling((2,))((ENTRIES[0], ENTRIES[1], ENTRIES[2][:, :3])),
            r"inputs must have shapes.*Received: entries=\(2, 3, 4\), candidate=\(2, 3\)",
        ),
    ],
)
def test_refuses_wrong_arguments(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_a_table_does_not_change_with_those_beside_it():
    alone, among = EmbeddingTables({"b": 2}, 3, seed=1), EmbeddingTables({"a": 4, "b": 2}, 3, seed=1)
    np.testing.assert_array_equal(alone(tf.range(2)), among(among.first_rows["b"] + tf.range(2)))
    assert np.abs(among(tf.range(4)).numpy()[:2] - alone(tf.range(2))).max() > 0.01


def test_a_part_of_the_entries_has_the_vectors_that_it_has_among_all():
    layer = PiecewiseEmbedding({"a": 1, "b": 2}, num_buckets=3, dimension=2, seed=1)
    whole = layer(POSITIONS).numpy()
    np.testing.assert_allclose(layer(POSITIONS[:, 1:], names=["b"]), whole[:, 2:], atol=1e-6)


@hypothesis.settings(deadline=None, max_examples=30)
@hypothesis.given(st.integers(0, 2**32 - 1))
def test_a_piecewise_vector_is_continuous_and_linear_within_a_bucket(seed):
    generator = np.random.default_rng(seed)
    layer = PiecewiseEmbedding({"a": 1}, num_buckets=4, dimension=3, seed=seed % 1_000)
    bucket, ends = generator.integers(4), np.sort(generator.uniform(size=2))
    low, middle, high = bucket + ends[0], bucket + ends.mean(), bucket + ends[1]
    vectors = layer(tf.constant([[low], [middle], [high], [bucket + 1 - 1e-5], [bucket + 1]], tf.float32)).numpy()
    np.testing.assert_allclose(vectors[1], (vectors[0] + vectors[2]) / 2, atol=1e-5)
    np.testing.assert_allclose(vectors[3], vectors[4], atol=1e-4)


def floats(bound):
    """Without denormal ones, which TensorFlow takes for 0."""
    return st.floats(-bound, bound, width=32, allow_subnormal=False)


EDGES = st.lists(floats(1e6), min_size=2, max_size=9).map(sorted)


def position_oracle(number, edges):
    """Shares of the number's way through every bucket that has a width; TensorFlow takes a denormal one for none."""
    buckets = [(low, high) for low, high in itertools.pairwise(edges) if high - low >= np.finfo("f4").tiny]
    return sum(min(max((number - low) / (high - low), 0.0), 1.0) for low, high in buckets)


@hypothesis.settings(deadline=None, max_examples=200)
@hypothesis.given(EDGES, st.lists(floats(2e6), min_size=1, max_size=20))
def test_positions_are_those_of_the_definition(edges, numbers):
    numbers = np.sort(np.array(numbers, "f4"))
    found = positions(tf.constant(numbers[:, None]), tf.constant([edges], tf.float32)).numpy()[:, 0]
    edges = np.array(edges)
    np.testing.assert_allclose(found, [position_oracle(number, edges) for number in numbers.astype("f8")], rtol=1e-5, atol=1e-5)
    assert (np.diff(found) >= 0).all()
    assert found.min() >= 0
    assert found.max() <= len(edges) - 1


@hypothesis.settings(deadline=None, max_examples=100)
@hypothesis.given(EDGES)
def test_positions_are_continuous_at_the_edges(edges):
    edges = np.unique(np.float32(edges))
    hypothesis.assume(len(edges) > 1 and np.diff(edges).min() > 1)
    around = np.concatenate([edges - 1e-3 * np.diff(edges).min(), edges])
    found = positions(tf.constant(around[:, None]), tf.constant([edges])).numpy()[:, 0]
    before, at = np.split(found, 2)
    np.testing.assert_allclose(at, np.arange(len(edges)), atol=1e-6)
    assert np.abs(at - before).max() <= 0.07


def test_entries_of_a_vector_have_edges_of_their_own():
    found = positions(tf.constant([[1.0, 1.0], [3.0, 9.0]]), tf.constant([[0.0, 2.0, 4.0], [0.0, 10.0, 10.0]]))
    np.testing.assert_allclose(found, [[0.5, 0.1], [1.5, 0.9]], atol=1e-6)


@hypothesis.settings(deadline=None, max_examples=50)
@hypothesis.given(st.integers(0, 2**32 - 1))
def test_pooling(seed):
    generator = np.random.default_rng(seed)
    entries = generator.normal(size=(3, 4, 2)).astype("f4")
    is_entry = generator.random((3, 4)) < 0.5
    mean, largest = (
        pool_fn(tf.constant(entries), tf.constant(is_entry)).numpy() for pool_fn in (mean_of_entries, max_of_entries)
    )
    for row in range(3):
        present = [entries[row, index] for index in range(4) if is_entry[row, index]]
        np.testing.assert_allclose(mean[row], np.mean(present, axis=0) if present else [0, 0], atol=1e-6)
        np.testing.assert_allclose(largest[row], np.max(present, axis=0) if present else [0, 0], atol=1e-6)


def test_attention_of_one_list_goes_with_every_candidate():
    layer = AttentionPooling((5,), seed=1)
    entries, is_entry, candidates = ENTRIES
    found = layer((entries[:1], is_entry[:1], candidates))
    np.testing.assert_allclose(
        found, layer((tf.repeat(entries[:1], 2, 0), tf.repeat(is_entry[:1], 2, 0), candidates)), atol=1e-6
    )
    assert found.shape == (2, 4)


def test_attention_weighs_an_entry_by_itself_and_does_not_see_what_is_none():
    """Without a softmax, two lists together give the sum of what each of them gives."""
    layer = AttentionPooling((5,), seed=1)
    entries, is_entry, candidates = ENTRIES
    found = layer(ENTRIES).numpy()
    first, second = (layer((entries[:1], [mask], candidates[:1])) for mask in ([True, False, False], [False, True, False]))
    np.testing.assert_allclose(found[:1], first + second, atol=1e-6)
    share = found[1] / entries[1, 0]
    np.testing.assert_allclose(share, share[0], rtol=1e-5)
    assert 0 < share[0] < 1
    other = tf.where(is_entry[:, :, None], entries, 1e9)
    np.testing.assert_array_equal(layer((other, is_entry, candidates)), found)
    assert not layer((entries, tf.zeros_like(is_entry), candidates)).numpy().any()
