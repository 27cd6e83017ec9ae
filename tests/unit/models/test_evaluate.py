"""Every measure of every task, and of slices."""

import numpy as np
import pytest
from sklearn.metrics import log_loss as sklearn_log_loss
from sklearn.metrics import roc_auc_score

from models.config import ModelConfig, TaskConfig
from models.measures.registry import measures_of
from models.metrics import (
    Metric,
    evaluate,
    evaluate_slices,
    expected_calibration_error,
    gauc,
    lists_of,
    log_loss,
    mean_absolute_error,
    ndcg,
    xauc,
)

TASKS = ModelConfig(features=[{"kind": "numeric", "name": "x"}]).tasks


def task_rows(rows=400):
    """Every task with labels, masks and predictions of its own; unknown rows hold labels that would change any measure."""
    labels, masks, predictions = {}, {}, {}
    for seed, label in enumerate(("click", "watch_seconds", "satisfaction")):
        generator = np.random.default_rng(seed)
        truths, groups = generator.integers(2, size=rows).astype(float), generator.integers(40, size=rows)
        scores = np.round(np.clip(generator.normal(0.45 + 0.1 * truths, 0.2), 0.01, 0.99), 2)
        masks[label] = (np.random.default_rng(seed + 10).random(rows) < 0.6).astype("f4")
        scale = 30.0 if label == "watch_seconds" else 1.0
        labels[label] = np.where(masks[label] == 1, truths, 1 - truths).astype("f4") * scale
        predictions[label] = scores.astype("f4") * scale
    return labels, masks, predictions, groups


def test_evaluate_measures_every_task_on_its_own_known_rows():
    labels, masks, predictions, groups = task_rows()
    metrics = evaluate(labels, masks, predictions, groups, TASKS)
    expected_names = {"auc", "gauc", "log_loss", "normalised_entropy", "expected_calibration_error", "ndcg"}
    for label in ("click", "satisfaction"):
        known = masks[label] == 1
        truths, scores = labels[label][known], predictions[label][known].astype(float)
        assert set(metrics[label]) == expected_names
        assert metrics[label]["auc"].value == pytest.approx(roc_auc_score(truths, scores), abs=1e-9)
        assert metrics[label]["log_loss"].value == pytest.approx(sklearn_log_loss(truths, scores), abs=1e-6)
        assert metrics[label]["gauc"].value == gauc(truths, scores, groups[known])
        assert metrics[label]["ndcg"].value == ndcg(truths, scores, groups[known])
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


def test_evaluate_measures_grades_by_order_and_distance():
    labels, masks, predictions, groups = task_rows()
    task = TaskConfig(label="satisfaction", head="graded")
    labels["satisfaction"] = np.random.default_rng(4).choice([0.0, 0.25, 1.0], size=400)
    metrics = evaluate(labels, masks, predictions, groups, [task])["satisfaction"]
    known = masks["satisfaction"] == 1
    truths, scores = labels["satisfaction"][known], predictions["satisfaction"][known].astype(float)
    assert {name: metric.value for name, metric in metrics.items()} == {
        "mean_absolute_error": mean_absolute_error(truths, scores),
        "xauc": xauc(truths, scores),
        "ndcg": ndcg(truths, scores, groups[known]),
        "log_loss": log_loss(truths, scores),
    }
    assert tuple(metrics) == measures_of(task)


def test_lists_are_requests_and_where_unknown_what_a_user_saw_in_a_day():
    groups = np.array([7, 7, 7, 7, 3, 3])
    requests = np.array([b"r2", b"", b"r1", b"r2", b"r1", b""], object)
    lists = lists_of(groups, requests)
    expected = {(0, 3), (1,), (2, 4), (5,)}
    assert {tuple(np.flatnonzero(lists == each)) for each in set(lists)} == expected
    text = np.array(["r2", "", "r1", "r2", "r1", ""])
    np.testing.assert_array_equal(lists_of(groups, text), lists)
    for unknown in (None, [""] * 6, [None] * 6):
        lists = lists_of(groups, unknown)
        assert {tuple(np.flatnonzero(lists == each)) for each in set(lists)} == {(0, 1, 2, 3), (4, 5)}


def test_evaluate_ranks_within_requests():
    labels, masks, predictions, groups = task_rows()
    requests = np.random.default_rng(9).integers(60, size=400).astype("U")
    requests[:50] = ""
    metrics = evaluate(labels, masks, predictions, groups, TASKS, requests, k=2)
    known = masks["click"] == 1
    lists = [request or f"group {group}" for request, group in zip(requests[known], groups[known], strict=True)]
    truths, scores = labels["click"][known], predictions["click"][known].astype(float)
    assert metrics["click"]["ndcg"].value == pytest.approx(ndcg(truths, scores, lists, k=2), abs=1e-12)
    assert metrics["click"]["ndcg"].value != pytest.approx(ndcg(truths, scores, groups[known], k=2), abs=1e-6)
    assert metrics["click"]["gauc"].value == gauc(truths, scores, groups[known])


def test_masks_are_weights():
    labels, masks, predictions, groups = task_rows()
    times = np.random.default_rng(8).integers(3, size=400)
    weighted = evaluate(labels, {label: mask * times for label, mask in masks.items()}, predictions, groups, TASKS)
    repeated = [
        {label: np.repeat(column, times) for label, column in by_label.items()} for by_label in (labels, masks, predictions)
    ]
    expected = evaluate(*repeated, np.repeat(groups, times), TASKS)
    for label, by_name in expected.items():
        assert weighted[label]["xauc" if label == "watch_seconds" else "auc"].num_rows == (masks[label] * times > 0).sum()
        for name, metric in by_name.items():
            if name != "ndcg":
                assert weighted[label][name].value == pytest.approx(metric.value, abs=1e-9)


def test_slices_hold_every_measure_of_their_rows():
    labels, masks, predictions, groups = task_rows()
    surfaces = np.random.default_rng(6).choice(["feed", "search", "sidebar"], size=400)
    labels["satisfaction"][surfaces == "sidebar"] = 1.0
    requests = np.random.default_rng(9).integers(60, size=400).astype("U")
    slices = evaluate_slices(labels, masks, predictions, groups, TASKS, surfaces, requests)
    assert list(slices) == ["feed", "search", "sidebar"]
    for surface, metrics in slices.items():
        mine = surfaces == surface
        parts = [{label: column[mine] for label, column in by_label.items()} for by_label in (labels, masks, predictions)]
        assert metrics == evaluate(*parts, groups[mine], TASKS, requests[mine])
        assert metrics["click"]["auc"].num_rows == (mine & (masks["click"] > 0)).sum()
    assert slices["sidebar"]["satisfaction"]["auc"].reason == "all labels are of one class"
    assert slices["feed"]["satisfaction"]["auc"].value is not None
    with pytest.raises(ValueError, match=r"at most 1000 different ones. Received: 1001"):
        evaluate_slices({}, {}, {}, np.zeros(1_001), [], np.arange(1_001))
