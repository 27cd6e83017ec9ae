"""What every kind of head must do, whatever it means."""

import numpy as np
import pytest
import tensorflow as tf

from data.schema import mask_name
from models.config import TaskConfig
from models.heads.binary import BinaryHead
from models.heads.config import PROBABILITY, SECONDS
from models.heads.registry import HEAD_BY_KIND, make_head
from models.keras import keras
from models.losses import known_labels

CASES = {
    "binary": ("click", {"kind": "binary"}),
    "graded": ("satisfaction", {"kind": "graded"}),
    "log1p": ("watch_seconds", {"kind": "log1p"}),
    "log1p_huber": ("watch_seconds", {"kind": "log1p", "huber_delta": 0.5}),
    "weighted_logistic": ("watch_seconds", {"kind": "weighted_logistic"}),
    "tweedie": ("watch_seconds", {"kind": "tweedie", "power": 1.4}),
    "duration_quantile": (
        "watch_seconds",
        {"kind": "duration_quantile", "duration": "duration_seconds", "num_groups": 4, "num_quantiles": 21},
    ),
    "ordinal": ("watch_seconds", {"kind": "ordinal", "num_thresholds": 6}),
    "ordinal rank": ("watch_seconds", {"kind": "ordinal", "num_thresholds": 6, "serve": "rank"}),
}


def train_columns(head, rows=400, seed=0):
    """Labels of the head's kind, a third of them unknown (NaN), the known ones of two weights; durations of few values."""
    generator = np.random.default_rng(seed)
    duration = generator.choice([5.0, 10.0, 20.0, 60.0, 300.0], size=rows).astype("f4")
    if head.config.serves == PROBABILITY:
        labels = generator.integers(2, size=rows).astype("f4")
    elif head.config.serves == SECONDS:
        is_watched = generator.random(rows) < 0.6
        labels = np.where(is_watched, np.minimum(generator.exponential(15, size=rows), duration), 0).astype("f4")
    else:
        labels = generator.choice([0.0, 0.25, 1.0], size=rows).astype("f4")
    weights = generator.choice([0.0, 1.0, 2.0], size=rows).astype("f4")
    labels[weights == 0] = np.nan
    return {head.label: labels, mask_name(head.label): weights, "duration_seconds": duration}


@pytest.fixture(params=CASES)
def head(request):
    label, config = CASES[request.param]
    head = make_head(TaskConfig(label=label, head=config))
    head.adapt(train_columns(head))
    return head


def batch(head, rows=40, seed=1):
    """Outputs, labels, weights and inputs of a batch."""
    columns = train_columns(head, rows, seed)
    outputs = np.random.default_rng(seed).normal(size=(rows, head.width)).astype("f4")
    return outputs if head.width > 1 else outputs[:, 0], columns[head.label], columns[mask_name(head.label)], columns


def loss_and_gradient(head, outputs, labels, weights, inputs):
    outputs = tf.Variable(outputs)
    with tf.GradientTape() as tape:
        loss = head.loss(outputs, labels, weights, inputs)
    return loss.numpy(), tape.gradient(loss, outputs).numpy()


def test_every_kind_has_a_case():
    assert {config["kind"] for _, config in CASES.values()} == set(HEAD_BY_KIND)


def test_loss_is_a_float32_scalar_and_served_values_are_float32_rows(head):
    outputs, labels, weights, inputs = batch(head)
    for dtype in (np.float32, np.float16):
        loss = head.loss(tf.constant(outputs, dtype), labels, weights, inputs)
        assert (loss.shape, loss.dtype) == ((), tf.float32)
        served = head.served(tf.constant(outputs, dtype), inputs)
        assert (served.shape, served.dtype) == ((40,), tf.float32)


def test_served_values_lie_in_their_range(head):
    outputs, _, _, inputs = batch(head)
    for scale in (1, 10, 1_000):
        served = head.served(outputs * scale, inputs).numpy()
        assert (served >= 0).all()
        if head.config.serves != SECONDS:
            assert (served <= 1).all()


def first_output(head, rows, output):
    """Outputs of a batch whose first is given and whose others, if there are any, are 0."""
    if head.width == 1:
        return np.full(rows, output, "f4")
    return np.pad(np.full((rows, 1), output, "f4"), [(0, 0), (0, head.width - 1)])


def test_served_values_rise_with_the_first_output(head):
    _, _, _, inputs = batch(head)
    rising = np.stack([head.served(first_output(head, 40, output), inputs) for output in np.linspace(-3, 3, 30)])
    assert (np.diff(rising, axis=0) >= 0).all()
    assert (rising[-1] > rising[0]).all()


@pytest.mark.parametrize("output", [-1e4, -100.0, 100.0, 1e4])
def test_stays_finite_at_extreme_outputs(head, output):
    outputs, labels, weights, inputs = batch(head)
    loss, gradient = loss_and_gradient(head, np.full_like(outputs, output), labels, weights, inputs)
    assert np.isfinite(loss)
    assert np.isfinite(gradient).all()
    assert np.isfinite(head.served(np.full_like(outputs, output), inputs)).all()


@pytest.mark.parametrize("output", [-30.0, 30.0])
def test_gradient_leads_back_from_far_away(head, output):
    _, labels, weights, inputs = batch(head)
    _, gradient = loss_and_gradient(head, first_output(head, 40, output), labels, weights, inputs)
    assert np.sign(gradient.reshape(40, -1)[:, 0].sum()) == np.sign(output)


def test_gradient_is_that_of_finite_differences(head):
    outputs, labels, weights, inputs = batch(head)
    _, gradient = loss_and_gradient(head, outputs, labels, weights, inputs)
    row = int(np.flatnonzero(weights)[0])
    for unit in range(head.width):
        index = row if head.width == 1 else (row, unit)
        step = np.zeros_like(outputs)
        step[index] = 0.02
        # Only one row moves; its loss alone keeps float32's rounding out of the difference.
        only = np.zeros_like(weights)
        only[row] = 1
        upper, lower = (float(head.loss(moved, labels, only, inputs)) for moved in (outputs + step, outputs - step))
        expected = (upper - lower) / 0.04 * weights[row] / weights.sum()
        assert gradient[index] == pytest.approx(expected, rel=1e-2, abs=1e-5)


def test_rows_without_weight_change_nothing(head):
    outputs, labels, weights, inputs = batch(head)
    known = weights > 0
    assert np.isnan(labels[~known]).all()
    loss, gradient = loss_and_gradient(head, outputs, labels, weights, inputs)
    known_inputs = {name: column[known] for name, column in inputs.items()}
    expected_loss, expected_gradient = loss_and_gradient(head, outputs[known], labels[known], weights[known], known_inputs)
    assert loss == pytest.approx(expected_loss, rel=1e-6)
    np.testing.assert_allclose(gradient[known], expected_gradient, rtol=1e-5, atol=1e-8)
    assert (gradient[~known] == 0).all()


def test_no_known_row_means_no_loss_and_no_gradient(head):
    outputs, labels, weights, inputs = batch(head)
    loss, gradient = loss_and_gradient(head, outputs, np.full_like(labels, np.nan), np.zeros_like(weights), inputs)
    assert loss == 0
    assert (gradient == 0).all()


def test_weights_count_as_repetitions_and_their_scale_does_not(head):
    outputs, labels, weights, inputs = batch(head)
    loss, _ = loss_and_gradient(head, outputs, labels, weights, inputs)
    assert loss_and_gradient(head, outputs, labels, 7 * weights, inputs)[0] == pytest.approx(loss, rel=1e-5)
    times = weights.astype(int)
    repeated = {name: np.repeat(column, times) for name, column in inputs.items()}
    rows = np.repeat(outputs, times, axis=0), np.repeat(labels, times), np.ones(times.sum(), "f4")
    assert loss_and_gradient(head, *rows, repeated)[0] == pytest.approx(loss, rel=1e-5)


def states(head):
    return {variable.name: variable.numpy() for variable in head.state}


def test_adapting_is_deterministic_and_blind_to_the_order_of_rows_and_to_unknown_ones(head):
    columns, before = train_columns(head), states(head)
    assert bool(before) == head.needs_adapting
    assert all(np.isfinite(value).any() for value in before.values())
    order = np.random.default_rng(3).permutation(len(columns["duration_seconds"]))
    known = columns[mask_name(head.label)] > 0
    shuffled = {name: column[order] for name, column in columns.items()}
    for rows in (columns, shuffled, {name: column[known] for name, column in columns.items()}):
        head.adapt(rows)
        for name, value in states(head).items():
            np.testing.assert_allclose(value, before[name], rtol=1e-6, err_msg=name)


def test_adapting_takes_weights_as_repetitions(head):
    columns, before = train_columns(head), states(head)
    times = columns[mask_name(head.label)].astype(int)
    repeated = {name: np.repeat(column, times) for name, column in columns.items()}
    repeated[mask_name(head.label)] = np.ones(times.sum(), "f4")
    head.adapt(repeated)
    for name, value in states(head).items():
        np.testing.assert_allclose(value, before[name], rtol=1e-5, atol=1e-6, err_msg=name)


def test_checkpoint_and_saved_model_keep_what_was_adapted(head, tmp_path):
    outputs, labels, weights, inputs = batch(head)
    inputs = {name: inputs[name] for name in head.columns}
    expected = head.served(outputs, inputs).numpy(), head.loss(outputs, labels, weights, inputs).numpy()
    path = tf.train.Checkpoint(head=head).save(str(tmp_path / "checkpoint"))
    fresh = make_head(TaskConfig(label=head.label, head=head.config))
    tf.train.Checkpoint(head=fresh).restore(path).assert_consumed()
    np.testing.assert_array_equal(fresh.served(outputs, inputs), expected[0])
    assert fresh.loss(outputs, labels, weights, inputs).numpy() == expected[1]
    served = tf.Module()
    served.head = head
    served.served = tf.function(head.served).get_concrete_function(tf.constant(outputs), inputs)
    tf.saved_model.save(served, str(tmp_path / "model"))
    loaded = tf.saved_model.load(str(tmp_path / "model"))
    arguments = {name: tf.constant(column) for name, column in inputs.items()}
    np.testing.assert_allclose(loaded.served(tf.constant(outputs), arguments), expected[0], rtol=1e-6)


def test_compiles_with_xla(head):
    outputs, labels, weights, inputs = batch(head)
    inputs = {name: inputs[name] for name in head.columns}
    compiled = tf.function(head.loss, jit_compile=True, autograph=False)
    assert float(compiled(outputs, labels, weights, inputs)) == pytest.approx(
        float(head.loss(outputs, labels, weights, inputs)), rel=1e-5
    )


def test_columns_of_one_row_serve_all_rows(head):
    outputs, _, _, inputs = batch(head)
    one = {name: inputs[name][:1] for name in head.columns}
    all_alike = {name: np.repeat(column, 40, axis=0) for name, column in one.items()}
    np.testing.assert_array_equal(head.served(outputs, one), head.served(outputs, all_alike))


def test_least_loss_of_equal_rows_serves_their_mean(head):
    """Descent on outputs that all rows share, as a tower without features would learn them."""
    generator = np.random.default_rng(7)
    rows = 3_000
    labels = {
        "probability": (generator.random(rows) < 0.2).astype("f4"),
        "grade": generator.choice([0.0, 0.25, 1.0], size=rows, p=[0.6, 0.3, 0.1]).astype("f4"),
        "seconds": (generator.lognormal(2, 1, size=rows) * (generator.random(rows) < 0.7)).astype("f4"),
    }[head.config.serves]
    duration = np.full(rows, 30.0, "f4")
    head.adapt({head.label: labels, mask_name(head.label): np.ones(rows, "f4"), "duration_seconds": duration})
    outputs = tf.Variable(tf.ones([1] if head.width == 1 else [1, head.width]))
    optimizer = keras.optimizers.Adam(0.05)
    weights, inputs = np.ones(rows, "f4"), {"duration_seconds": duration}
    shape = [rows] if head.width == 1 else [rows, head.width]

    @tf.function(autograph=False)
    def step():
        with tf.GradientTape() as tape:
            loss = head.loss(tf.broadcast_to(outputs, shape), labels, weights, inputs)
        optimizer.apply_gradients([(tape.gradient(loss, outputs), outputs)])

    for _ in range(600):
        step()
    served = float(head.served(outputs, {"duration_seconds": duration[:1]})[0])
    if head.serves_mean:
        assert served == pytest.approx(labels.mean(), rel=0.01)
    else:
        assert served < 0.8 * labels.mean()


class _ForgetsMasks(BinaryHead):
    def loss(self, outputs, labels, weights, inputs):
        return tf.reduce_mean(self.row_losses(outputs, tf.constant(labels), inputs))


class _DividesByTheBatch(BinaryHead):
    def loss(self, outputs, labels, weights, inputs):
        labels, weights = known_labels(labels, weights)
        return tf.reduce_mean(weights * self.row_losses(outputs, labels, inputs))


@pytest.mark.parametrize("planted", [_ForgetsMasks, _DividesByTheBatch])
@pytest.mark.parametrize(
    "check", [test_rows_without_weight_change_nothing, test_weights_count_as_repetitions_and_their_scale_does_not]
)
def test_the_checks_find_a_planted_mistake(planted, check):
    task = TaskConfig(label="click", head="binary")
    with pytest.raises(AssertionError, match="assert"):
        check(planted(task.label, task.head))
