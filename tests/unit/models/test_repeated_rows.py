"""Columns that are alike in all rows are multiplied once, and nobody can tell but by the time."""

import numpy as np
import pytest
import tensorflow as tf

from models.layers.experts import Experts
from models.layers.gate import Gate
from models.layers.hidden import HiddenLayers
from models.layers.repeated_rows import joined, product

WIDTHS = (3, 2, 4, 1)


def vectors(order, num_rows, seed=0):
    """Vectors of several rows ("m") or of one ("1"), in an order."""
    random = np.random.default_rng(seed)
    rows = {"m": num_rows, "1": 1}
    return [random.normal(size=(rows[kind], width)).astype(np.float32) for kind, width in zip(order, WIDTHS, strict=True)]


def by_hand(parts):
    num_rows = max(map(len, parts))
    return np.concatenate([np.repeat(part, num_rows // len(part), axis=0) for part in parts], axis=1)


@pytest.mark.parametrize("order", ["m1m1", "11m1", "1mmm", "mm1m"])
@pytest.mark.parametrize("num_rows", [2, 7])
def test_rows_and_their_product_are_those_of_repeated_ones(order, num_rows):
    parts = vectors(order, num_rows)
    rows = joined([tf.constant(part) for part in parts])
    np.testing.assert_array_equal(rows, by_hand(parts))
    kernel = np.random.default_rng(1).normal(size=(sum(WIDTHS), 5)).astype(np.float32)
    np.testing.assert_allclose(product(rows, tf.constant(kernel)), by_hand(parts) @ kernel, rtol=1e-5, atol=1e-6)


def test_a_plain_tensor_is_multiplied_as_it_is():
    rows, kernel = tf.random.stateless_normal([4, 3], [0, 1]), tf.random.stateless_normal([3, 2], [0, 2])
    np.testing.assert_array_equal(product(rows, kernel), tf.matmul(rows, kernel))


LAYERS = {
    "hidden": lambda: HiddenLayers([6, 4], seed=3),
    "experts": lambda: Experts(2, [6, 4], seed=3),
    "gate": lambda: Gate(2, 3, seed=3),
}


@pytest.mark.parametrize("name", LAYERS)
def test_a_first_layer_leaves_the_repeated_rows_out_of_the_graph(name):
    layer, parts = LAYERS[name](), vectors("m1m1", 6)
    wanted = layer(tf.constant(by_hand(parts)))
    specs = [tf.TensorSpec([1 if len(part) == 1 else None, part.shape[1]]) for part in parts]

    @tf.function(input_signature=specs, autograph=False)
    def call(*given):
        return layer(joined(given))

    np.testing.assert_allclose(call(*map(tf.constant, parts)), wanted, rtol=1e-5, atol=1e-6)
    graph = call.get_concrete_function().graph
    needed = tf.compat.v1.graph_util.extract_sub_graph(graph.as_graph_def(), [graph.outputs[0].op.name])
    names = [node.name for node in needed.node]
    assert not [each for each in names if "Repeat" in each]
    assert [each for each in names if "MatMul" in each]


def test_what_is_no_layer_of_ours_reads_plain_rows():
    parts = vectors("m1m1", 6)
    rows = joined([tf.constant(part) for part in parts])
    np.testing.assert_allclose(tf.reduce_sum(rows * rows), np.sum(by_hand(parts) ** 2), rtol=1e-5)
