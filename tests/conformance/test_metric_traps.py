"""Mistakes that multi-task evaluations were published with: one check, which ours passes and every planted copy fails."""

import numpy as np
import pytest
from sklearn.metrics import log_loss, roc_auc_score

from models.config import TaskConfig
from models.metrics import evaluate

TASKS = [TaskConfig(label=label, head=head) for label, head in (("click", "binary"), ("satisfaction", "binary"))]
LABELS = [task.label for task in TASKS]


def task_rows(rows=800, seed=0):
    """Two tasks that differ in rate, in difficulty and in which rows know their label; unknown ones hold the opposite."""
    generator = np.random.default_rng(seed)
    groups = generator.integers(60, size=rows)
    labels, masks, predictions = {}, {}, {}
    for label, rate, difficulty, known in (("click", 0.4, 0.3, 0.9), ("satisfaction", 0.15, 0.1, 0.5)):
        truths = (generator.random(rows) < rate).astype("f4")
        predictions[label] = np.clip(generator.normal(rate + 0.2 * truths, difficulty), 0.01, 0.99).astype("f4")
        masks[label] = (generator.random(rows) < known).astype("f4") * generator.choice([1, 2], size=rows)
        labels[label] = np.where(masks[label] > 0, truths, 1 - truths)
    return labels, masks, predictions, groups


def check_every_task_is_measured_by_its_own(evaluate_fn):
    """Labels, predictions, rows and weights of each task reach its measures, and no other's."""
    labels, masks, predictions, groups = task_rows()
    metrics = evaluate_fn(labels, masks, predictions, groups, TASKS)
    for label in LABELS:
        known = masks[label] > 0
        columns = labels[label][known], predictions[label][known].astype(float)
        expected = {
            "auc": roc_auc_score(*columns, sample_weight=masks[label][known]),
            "log_loss": log_loss(*columns, sample_weight=masks[label][known]),
        }
        assert {name: metrics[label][name].value for name in expected} == pytest.approx(expected, abs=1e-6)
        assert metrics[label]["auc"].num_rows == known.sum()
    assert abs(metrics["click"]["auc"].value - metrics["satisfaction"]["auc"].value) > 0.01


def swapped(labels, masks, predictions, groups, tasks):
    metrics = evaluate(labels, masks, predictions, groups, tasks)
    return dict(zip(metrics, reversed(metrics.values()), strict=True))


def swapped_outputs(labels, masks, predictions, groups, tasks):
    return evaluate(labels, masks, dict(zip(LABELS, reversed(predictions.values()), strict=True)), groups, tasks)


def first_tasks_labels(labels, masks, predictions, groups, tasks):
    return evaluate(dict.fromkeys(LABELS, labels["click"]), masks, predictions, groups, tasks)


def first_tasks_mask(labels, masks, predictions, groups, tasks):
    return evaluate(labels, dict.fromkeys(LABELS, masks["click"]), predictions, groups, tasks)


def no_mask(labels, masks, predictions, groups, tasks):
    return evaluate(labels, {label: np.ones_like(mask) for label, mask in masks.items()}, predictions, groups, tasks)


def no_weights(labels, masks, predictions, groups, tasks):
    return evaluate(labels, {label: (mask > 0).astype("f4") for label, mask in masks.items()}, predictions, groups, tasks)


def one_result_for_all(labels, masks, predictions, groups, tasks):
    return dict.fromkeys(LABELS, evaluate(labels, masks, predictions, groups, tasks)["click"])


def test_ours_is_right():
    check_every_task_is_measured_by_its_own(evaluate)


@pytest.mark.parametrize(
    "planted",
    [swapped, swapped_outputs, first_tasks_labels, first_tasks_mask, no_mask, no_weights, one_result_for_all],
)
def test_the_check_finds_a_planted_mistake(planted):
    with pytest.raises(AssertionError, match=r"assert"):
        check_every_task_is_measured_by_its_own(planted)
