import math

import numpy as np
import pytest
from sklearn.metrics import log_loss as sklearn_log_loss
from sklearn.metrics import roc_auc_score

from models.config import ModelConfig
from models.errors import MetricError
from models.metrics import (
    Metric,
    auc,
    evaluate,
    expected_calibration_error,
    gauc,
    log_loss,
    mean_absolute_error,
    normalised_entropy,
    xauc,
)

TASKS = ModelConfig(features=[{"kind": "numeric", "name": "x"}]).tasks


def draws(rows=500, seed=0, decimals=2):
    """Labels, predictions with many ties, groups."""
    generator = np.random.default_rng(seed)
    labels = generator.integers(2, size=rows).astype(float)
    predictions = np.round(np.clip(generator.normal(0.45 + 0.1 * labels, 0.2), 0.01, 0.99), decimals)
    return labels, predictions, generator.integers(40, size=rows)


def auc_oracle(labels, predictions):
    pairs = [
        (p, n) for p, y in zip(predictions, labels, strict=True) if y for n, z in zip(predictions, labels, strict=True) if not z
    ]
    return sum(1.0 if p > n else 0.5 if p == n else 0.0 for p, n in pairs) / len(pairs)


@pytest.mark.parametrize("decimals", [1, 2, 8])
def test_auc(decimals):
    labels, predictions, _ = draws(decimals=decimals)
    assert auc(labels, predictions) == pytest.approx(auc_oracle(labels, predictions), abs=1e-12)
    assert auc(labels, predictions) == pytest.approx(roc_auc_score(labels, predictions), abs=1e-12)


def test_auc_weights_are_repetitions():
    labels, predictions, _ = draws(decimals=1)
    weights = np.random.default_rng(1).integers(4, size=len(labels))
    expected = roc_auc_score(np.repeat(labels, weights), np.repeat(predictions, weights))
    assert auc(labels, predictions, weights) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("decimals", [1, 8])
def test_gauc(decimals):
    labels, predictions, groups = draws(rows=150, decimals=decimals)
    total = rows = 0
    for group in set(groups):
        mine = groups == group
        if 0 < labels[mine].sum() < mine.sum():
            total += mine.sum() * auc_oracle(labels[mine], predictions[mine])
            rows += mine.sum()
    assert rows < len(labels)
    assert gauc(labels, predictions, groups) == pytest.approx(total / rows, abs=1e-12)
    names = [f"user {group}" for group in groups]
    assert gauc(labels, predictions, names) == pytest.approx(gauc(labels, predictions, groups), abs=1e-12)


def test_log_loss_and_normalised_entropy():
    labels, predictions, _ = draws()
    assert log_loss(labels, predictions) == pytest.approx(sklearn_log_loss(labels, predictions), abs=1e-12)
    rate = labels.mean()
    entropy = -rate * math.log(rate) - (1 - rate) * math.log(1 - rate)
    assert normalised_entropy(labels, predictions) == pytest.approx(log_loss(labels, predictions) / entropy, abs=1e-12)
    assert log_loss([1.0], [0.0]) == pytest.approx(-math.log(1e-7))


def test_calibration_error():
    labels, predictions, _ = draws(rows=503, decimals=9)
    rows = sorted(zip(predictions, labels, strict=True))
    total, start = 0.0, 0
    for index in range(10):
        size = 51 if index < 3 else 50
        bin_ = rows[start : start + size]
        total += abs(sum(p for p, _ in bin_) / size - sum(y for _, y in bin_) / size) * size
        start += size
    assert expected_calibration_error(labels, predictions) == pytest.approx(total / 503, abs=1e-12)


def test_calibration_error_ignores_the_order_of_rows():
    labels, predictions, _ = draws(decimals=1)
    order = np.argsort(labels)
    expected = expected_calibration_error(labels, predictions)
    assert expected_calibration_error(labels[order], predictions[order]) == pytest.approx(expected, abs=1e-12)
    assert expected_calibration_error(labels[order[::-1]], predictions[order[::-1]]) == pytest.approx(expected, abs=1e-12)
    assert expected_calibration_error([1.0, 0.0, 0.0, 0.0], [0.25] * 4) == pytest.approx(0.0, abs=1e-12)
    with pytest.raises(ValueError, match=r"num_bins must be at least 2. Received: num_bins=1"):
        expected_calibration_error(labels, predictions, 1)


def test_xauc():
    generator = np.random.default_rng(2)
    truths, predictions = generator.integers(6, size=60).astype(float), generator.integers(5, size=60).astype(float)
    points = [
        0.5 if predictions[i] == predictions[j] else float((truths[i] > truths[j]) == (predictions[i] > predictions[j]))
        for i in range(60)
        for j in range(60)
        if truths[i] != truths[j]
    ]
    assert xauc(truths, predictions) == pytest.approx(np.mean(points), abs=0.002)
    assert xauc(truths, truths) == 1.0
    assert xauc(truths, -truths) == 0.0
    assert xauc(truths, np.zeros(60)) == 0.5
    assert xauc(truths, predictions, num_pairs=100) == xauc(truths, predictions, num_pairs=100)


def test_mean_absolute_error():
    assert mean_absolute_error([1.0, 5.0, 0.0], [2.0, 3.0, 0.5]) == pytest.approx(3.5 / 3)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: auc([1, 1], [0.1, 0.2]), "all labels are of one class"),
        (lambda: auc([1, 0], [0.1, 0.2], [1, 0]), "all labels are of one class"),
        (lambda: gauc([1, 0], [0.1, 0.2], [1, 2]), "no group holds both classes"),
        (lambda: normalised_entropy([1, 1], [0.1, 0.2]), "all labels are of one class"),
        (lambda: xauc([2.0, 2.0], [0.1, 0.2]), "no pair of rows differs in truth"),
        (lambda: log_loss([], []), "no row has a known label"),
        (lambda: gauc([], [], []), "no row has a known label"),
        (lambda: xauc([], []), "no row has a known label"),
        (lambda: mean_absolute_error([], []), "no row has a known label"),
    ],
)
def test_undefined_measures_say_why(call, message):
    with pytest.raises(MetricError, match=message):
        call()


@pytest.mark.parametrize("metric_fn", [auc, log_loss, mean_absolute_error, expected_calibration_error, xauc])
def test_wrong_vectors_are_refused(metric_fn):
    with pytest.raises(ValueError, match=r"must be vectors of one length. Received: shapes \(2,\) and \(3,\)"):
        metric_fn([0.0, 1.0], [0.1, 0.2, 0.3])
    with pytest.raises(ValueError, match="must be finite"):
        metric_fn([0.0, 1.0], [0.1, math.nan])


def task_rows(rows=400):
    """Every task with labels, masks and predictions of its own; unknown rows hold labels that would change any measure."""
    labels, masks, predictions = {}, {}, {}
    for seed, label in enumerate(("click", "watch_seconds", "satisfaction")):
        truths, scores, groups = draws(rows, seed)
        masks[label] = (np.random.default_rng(seed + 10).random(rows) < 0.6).astype("f4")
        scale = 30.0 if label == "watch_seconds" else 1.0
        labels[label] = np.where(masks[label] == 1, truths, 1 - truths).astype("f4") * scale
        predictions[label] = scores.astype("f4") * scale
    return labels, masks, predictions, groups


def test_evaluate_measures_every_task_on_its_own_known_rows():
    labels, masks, predictions, groups = task_rows()
    metrics = evaluate(labels, masks, predictions, groups, TASKS)
    expected_names = {"auc", "gauc", "log_loss", "normalised_entropy", "expected_calibration_error"}
    for label in ("click", "satisfaction"):
        known = masks[label] == 1
        truths, scores = labels[label][known], predictions[label][known].astype(float)
        assert set(metrics[label]) == expected_names
        assert metrics[label]["auc"].value == pytest.approx(roc_auc_score(truths, scores), abs=1e-9)
        assert metrics[label]["log_loss"].value == pytest.approx(sklearn_log_loss(truths, scores), abs=1e-6)
        assert metrics[label]["gauc"].value == gauc(truths, scores, groups[known])
        assert metrics[label]["expected_calibration_error"].value == expected_calibration_error(truths, scores)
        assert metrics[label]["auc"].num_rows == known.sum()
    known = masks["watch_seconds"] == 1
    truths, scores = labels["watch_seconds"][known], predictions["watch_seconds"][known]
    assert metrics["watch_seconds"]["mean_absolute_error_seconds"].value == pytest.approx(
        np.abs(truths - scores).mean(), rel=1e-6
    )
    assert metrics["watch_seconds"]["xauc"].value == xauc(truths, scores)
    assert metrics["click"]["auc"].value != metrics["satisfaction"]["auc"].value


def test_evaluate_says_why_a_measure_is_absent():
    labels, masks, predictions, groups = task_rows()
    labels["click"] = np.ones_like(labels["click"])
    masks["watch_seconds"] = np.zeros_like(masks["watch_seconds"])
    metrics = evaluate(labels, masks, predictions, groups, TASKS)
    known = int(masks["click"].sum())
    assert metrics["click"]["auc"] == Metric(None, known, "all labels are of one class")
    assert metrics["click"]["gauc"] == Metric(None, known, "no group holds both classes")
    assert metrics["click"]["log_loss"].value is not None
    assert metrics["watch_seconds"]["xauc"] == Metric(None, 0, "no row has a known label")
