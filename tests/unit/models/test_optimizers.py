import numpy as np
import pytest
import tensorflow as tf

from models.optimizers import Adagrad, Adam, make_optimizer, merged_rows
from models.schedules import WarmupThenDecay
from models.train_config import TrainConfig

ROWS, WIDTH = 7, 3
RATE = 0.1


def steps_of_gradients(seed=0, num_steps=4):
    """Per step the row of each look-up, repeated ones among them, and its gradient."""
    generator = np.random.default_rng(seed)
    return [(generator.integers(ROWS - 2, size=9), generator.normal(size=(9, WIDTH))) for _ in range(num_steps)]


def dense(rows, values):
    table = np.zeros((ROWS, WIDTH))
    for row, value in zip(rows, values, strict=True):
        table[row] += value
    return table


def trained(optimizer, start, num_steps=4):
    variable = tf.Variable(start, dtype=tf.float32)
    for rows, values in steps_of_gradients(num_steps=num_steps):
        slices = tf.IndexedSlices(tf.constant(values, tf.float32), tf.constant(rows), tf.constant([ROWS, WIDTH], tf.int64))
        optimizer.apply_gradients([(slices, variable)])
    return variable.numpy()


def adam_oracle(start, rests, clip=None):
    """Kingma and Ba's algorithm 1, rows without a gradient resting or not."""
    weights, mean, square = start.copy(), np.zeros_like(start), np.zeros_like(start)
    for step, (rows, values) in enumerate(steps_of_gradients(), start=1):
        gradient = dense(rows, values)
        if clip is not None:
            gradient *= min(1, clip / np.sqrt((gradient**2).sum()))
        moved = np.isin(np.arange(ROWS), rows)[:, None] | (not rests)
        mean = np.where(moved, 0.9 * mean + 0.1 * gradient, mean)
        square = np.where(moved, 0.999 * square + 0.001 * gradient**2, square)
        rate = RATE * np.sqrt(1 - 0.999**step) / (1 - 0.9**step)
        weights = np.where(moved, weights - rate * mean / (np.sqrt(square) + 1e-7), weights)
    return weights


def adagrad_oracle(start):
    weights, total = start.copy(), np.full_like(start, 0.1)
    for rows, values in steps_of_gradients():
        gradient = dense(rows, values)
        total += gradient**2
        weights -= RATE * gradient / (np.sqrt(total) + 1e-7)
    return weights


@pytest.fixture
def start():
    return np.random.default_rng(9).normal(size=(ROWS, WIDTH))


@pytest.mark.parametrize("max_dense_numbers", [None, ROWS * WIDTH])
def test_adam_on_rows_is_adam_on_the_dense_gradient(start, max_dense_numbers):
    optimizer = Adam(RATE, max_dense_numbers=max_dense_numbers)
    np.testing.assert_allclose(trained(optimizer, start), adam_oracle(start, rests=False), atol=2e-6)


def test_rows_of_a_large_table_rest_while_no_batch_reads_them(start):
    optimizer = Adam(RATE, max_dense_numbers=ROWS * WIDTH - 1)
    weights = trained(optimizer, start)
    np.testing.assert_allclose(weights, adam_oracle(start, rests=True), atol=2e-6)
    np.testing.assert_array_equal(weights[-2:], start[-2:].astype(np.float32))
    assert np.abs(adam_oracle(start, rests=True) - adam_oracle(start, rests=False)).max() > 1e-3


@pytest.mark.parametrize("max_dense_numbers", [None, 1])
def test_adagrad_treats_tables_of_all_sizes_alike(start, max_dense_numbers):
    optimizer = Adagrad(RATE, max_dense_numbers=max_dense_numbers)
    np.testing.assert_allclose(trained(optimizer, start), adagrad_oracle(start), atol=2e-6)


def test_clipping_measures_rows_added_up(start):
    """A row that was read twice has one gradient; norms of its parts would be another."""
    optimizer = Adam(RATE, global_clipnorm=0.7)
    np.testing.assert_allclose(trained(optimizer, start), adam_oracle(start, rests=False, clip=0.7), atol=2e-6)


@pytest.mark.parametrize("max_dense_numbers", [None, 1])
def test_merged_rows_are_the_dense_gradient(max_dense_numbers):
    rows, values = steps_of_gradients()[0]
    slices = tf.IndexedSlices(tf.constant(values), tf.constant(rows), tf.constant([ROWS, WIDTH], tf.int64))
    merged = merged_rows(slices, max_dense_numbers)
    assert isinstance(merged, tf.IndexedSlices) == (max_dense_numbers == 1)
    if max_dense_numbers == 1:
        assert len(set(merged.indices.numpy().tolist())) == len(merged.indices) == len(set(rows.tolist()))
    np.testing.assert_allclose(tf.convert_to_tensor(merged), dense(rows, values))


@pytest.mark.parametrize("kind", [Adam, Adagrad])
def test_state_is_saved_and_restored(kind, start, tmp_path):
    first = kind(RATE)
    variable = tf.Variable(start, dtype=tf.float32)
    gradient = tf.ones_like(variable)
    first.apply_gradients([(gradient, variable)])
    path = tf.train.Checkpoint(optimizer=first, variable=variable).save(str(tmp_path / "state"))
    first.apply_gradients([(gradient, variable)])
    second, other = kind(RATE), tf.Variable(tf.zeros_like(variable))
    tf.train.Checkpoint(optimizer=second, variable=other).restore(path)
    second.apply_gradients([(gradient, other)])
    np.testing.assert_array_equal(variable, other)


@pytest.mark.parametrize("kind", [Adam, Adagrad])
def test_configuration_round_trip(kind):
    config = kind(0.25, global_clipnorm=2.0, max_dense_numbers=5).get_config()
    again = kind.from_config(config)
    assert again.get_config() == config
    assert (config["max_dense_numbers"], config["learning_rate"]) == (5, 0.25)


@pytest.mark.parametrize(("name", "kind"), [("adam", Adam), ("adagrad", Adagrad)])
def test_optimizer_of_a_configuration(name, kind):
    config = TrainConfig(optimizer=name, clip_norm=3.0)
    optimizer = make_optimizer(config, WarmupThenDecay(0.25, "constant", 4))
    assert type(optimizer) is kind
    assert optimizer.global_clipnorm == 3
    assert float(optimizer.learning_rate(0)) == 0.0625


def test_xla_knows_no_list_of_distinct_rows():
    assert make_optimizer(TrainConfig(xla=True), 0.1).get_config()["max_dense_numbers"] is None
