import numpy as np
import pytest
import tensorflow as tf

from models.balancing.gradients import combined, gram_of

TABLE_SHAPE = (7, 2)


def slices(indices, generator):
    values = generator.normal(size=(len(indices), TABLE_SHAPE[1])).astype("f4")
    return tf.IndexedSlices(tf.constant(values), tf.constant(indices, tf.int64), tf.constant(TABLE_SHAPE, tf.int64))


def densified(gradient, shape):
    """NumPy array of a gradient, rows that were looked up twice summed."""
    if gradient is None:
        return np.zeros(shape)
    if not isinstance(gradient, tf.IndexedSlices):
        return gradient.numpy()
    dense = np.zeros(shape)
    for row, values in zip(gradient.indices.numpy(), gradient.values.numpy(), strict=True):
        dense[row] += values
    return dense


@pytest.fixture
def gradients_by_task():
    """Three tasks; variables: a matrix, a table, a vector of two tasks, a table that one task reads densely, nobody's."""
    generator = np.random.default_rng(0)

    def dense(*shape):
        return tf.constant(generator.normal(size=shape), tf.float32)

    return [
        [dense(3, 2), slices([5, 1, 5, 6], generator), dense(4), dense(*TABLE_SHAPE), None],
        [dense(3, 2), slices([1], generator), None, slices([0, 3, 3], generator), None],
        [dense(3, 2), None, dense(4), slices([3, 2], generator), None],
    ]


SHAPES = [(3, 2), TABLE_SHAPE, (4,), TABLE_SHAPE, (5,)]


def flattened(gradients_by_task):
    return np.array(
        [
            np.concatenate([densified(gradient, shape).ravel() for gradient, shape in zip(gradients, SHAPES, strict=True)])
            for gradients in gradients_by_task
        ]
    )


def test_gram_is_that_of_dense_gradients(gradients_by_task):
    gram = gram_of(gradients_by_task).numpy()
    np.testing.assert_allclose(gram, flattened(gradients_by_task) @ flattened(gradients_by_task).T, rtol=1e-5)
    np.testing.assert_array_equal(gram, gram.T)


def test_combined_is_the_weighted_sum_of_dense_gradients(gradients_by_task):
    weights = np.array([0.5, -2.0, 3.0], "f4")
    sums = combined(gradients_by_task, weights)
    found = np.concatenate([densified(gradient, shape).ravel() for gradient, shape in zip(sums, SHAPES, strict=True)])
    np.testing.assert_allclose(found, weights @ flattened(gradients_by_task), rtol=1e-5, atol=1e-6)
    kinds = [type(gradient) for gradient in sums]
    assert kinds[1] is tf.IndexedSlices
    assert sums[4] is None
    np.testing.assert_array_equal(sums[1].dense_shape, TABLE_SHAPE)


def test_a_batch_of_unknown_size_is_traced_once_and_may_be_empty():
    table = tf.Variable(np.random.default_rng(1).normal(size=(9, 3)), dtype=tf.float32)

    @tf.function(autograph=False, input_signature=[tf.TensorSpec([None], tf.int64)])
    def gram_of_batch(indices):
        with tf.GradientTape(persistent=True) as tape:
            looked_up = tf.gather(table, indices)
            losses = [tf.reduce_sum(looked_up**2), tf.reduce_sum(looked_up[:, 0] * looked_up[:, 1])]
        return gram_of([[tape.gradient(loss, table)] for loss in losses])

    for indices in ([2, 2, 7], [8, 1, 1, 1, 0], []):
        rows, counts = np.unique(np.array(indices, int), return_counts=True)
        values = table.numpy()[rows]
        first = 2 * values * counts[:, None]
        second = np.stack([values[:, 1], values[:, 0], 0 * values[:, 0]], axis=1) * counts[:, None]
        gradients = np.stack([first.ravel(), second.ravel()])
        np.testing.assert_allclose(gram_of_batch(tf.constant(indices, tf.int64)), gradients @ gradients.T, rtol=1e-5, atol=1e-6)


def test_gram_compiles_with_xla(gradients_by_task):
    compiled = tf.function(lambda: gram_of(gradients_by_task), autograph=False, jit_compile=True)
    np.testing.assert_allclose(compiled(), gram_of(gradients_by_task), rtol=1e-5)


def test_half_precision_is_multiplied_in_float32():
    gradients = [[tf.fill([4096], tf.constant(0.1, tf.bfloat16))], [tf.fill([4096], tf.constant(-0.1, tf.bfloat16))]]
    value = float(tf.constant(0.1, tf.bfloat16))
    gram = gram_of(gradients)
    assert gram.dtype == tf.float32
    np.testing.assert_allclose(gram, 4096 * value**2 * np.array([[1, -1], [-1, 1]]), rtol=1e-5)
    assert combined(gradients, [1.0, 0.5])[0].dtype == tf.bfloat16


def test_the_tables_size_plays_no_part():
    generator = np.random.default_rng(2)
    huge = [
        [tf.IndexedSlices(gradient.values, gradient.indices, tf.constant([10**12, 2], tf.int64))]
        for gradient in (slices([3, 4], generator), slices([4, 4], generator))
    ]
    assert np.isfinite(gram_of(huge)).all()


def test_lists_of_different_length_are_refused():
    with pytest.raises(ValueError, match=r"a list a task, all of one length\. Received: lengths \[1, 2\]"):
        gram_of([[tf.ones(2)], [tf.ones(2), None]])
    with pytest.raises(ValueError, match=r"a list a task, all of one length\. Received: lengths \[\]"):
        gram_of([])


def test_a_gradient_is_needed():
    with pytest.raises(ValueError, match="gradients_by_task must hold a gradient"):
        gram_of([[None], [None]])


def test_weights_must_match_the_tasks():
    with pytest.raises(ValueError, match=r"weights must have the shape \(2,\)\. Received: \(3,\)"):
        combined([[tf.ones(2)], [tf.ones(2)]], np.ones(3, "f4"))
