"""All measures of every task of a ranker; the measures themselves stand in `models.measures` and may be imported from here.

A measure raises `MetricError` with the reason where the rows do not define it (no row, one class), and ValueError for vectors
that differ in length or hold a value that is not finite.

Shapes: N rows.
"""

import dataclasses

import numpy as np

from models.errors import MetricError
from models.measures.probability import expected_calibration_error, log_loss, normalised_entropy, reliability_bins
from models.measures.ranking import auc, gauc, ndcg
from models.measures.registry import MEASURES, measures_of, statistic_of, ungrouped_measures
from models.measures.regression import mean_absolute_error, xauc
from models.measures.statistic import defined

__all__ = [
    "MEASURES",
    "Metric",
    "auc",
    "evaluate",
    "evaluate_slices",
    "expected_calibration_error",
    "gauc",
    "lists_of",
    "log_loss",
    "mean_absolute_error",
    "measures_of",
    "ndcg",
    "normalised_entropy",
    "reliability_bins",
    "xauc",
]

MAX_SLICES = 1_000


@dataclasses.dataclass(frozen=True)
class Metric:
    """Value of a measure, or why there is none.

    Attributes:
        value: finite; None if the rows do not define the measure.
        num_rows: rows with a known label.
        reason: why `value` is None; empty otherwise.
    """

    value: float | None
    num_rows: int
    reason: str = ""


def evaluate(labels, masks, predictions, groups, tasks, requests=None, k=10):
    """Every measure of every task, each on the rows whose label is known.

    Args:
        labels: (rows,) by label; anything where it is unknown.
        masks: (rows,) of at least 0 by label: the weight of the row, 0 where the label is unknown.
        predictions: (rows,) served values by label: probabilities, grades or seconds.
        groups: (rows,) keys of user and day, for `gauc` and `ndcg`; None leaves these two out.
        tasks: `TaskConfig`s.
        requests: (rows,) request ids, the lists of `ndcg`; empty where unknown: such rows make a list by user and day. None
            where all are unknown.
        k: places of a list that count for `ndcg`.

    Returns:
        Dict from label to dict from measure to `Metric`, with the measures of `measures_of(task)`; with those of
        `ungrouped_measures(task)` alone where `groups` is None.
    """
    lists = None if groups is None else lists_of(groups, requests)
    metrics = {}
    for task in tasks:
        columns = labels[task.label], predictions[task.label], masks[task.label]
        num_rows = int(np.count_nonzero(np.asarray(masks[task.label]) > 0))
        metrics[task.label] = {
            name: _measure(name, num_rows, *columns, groups=groups, lists=lists, k=k)
            for name in (ungrouped_measures(task) if groups is None else measures_of(task))
        }
    return metrics


def _measure(name, num_rows, *columns, **options):
    try:
        return Metric(defined(statistic_of(name, *columns, **options), MEASURES[name].undefined), num_rows)
    except MetricError as error:
        return Metric(None, num_rows, str(error))


def lists_of(groups, requests=None):
    """What was ranked together: a request, or where it is unknown all that a user saw in a day.

    Args:
        groups: (rows,) keys of user and day.
        requests: (rows,) request ids, empty or None where unknown; None where all are.

    Returns:
        (rows,) integers from 0 on.

    Raises:
        ValueError: If lengths differ.
    """
    lists_N = np.unique(np.asarray(groups), return_inverse=True)[1]
    if requests is None:
        return lists_N
    requests_N = np.asarray(requests, dtype=object)
    if requests_N.shape != lists_N.shape:
        raise ValueError(f"requests must be as many as groups, {len(lists_N)}. Received: {requests_N.shape}")
    is_known_N = requests_N.astype(bool)
    if is_known_N.any():
        lists_N[is_known_N] = lists_N.max() + 1 + np.unique(requests_N[is_known_N], return_inverse=True)[1]
    return lists_N


def evaluate_slices(labels, masks, predictions, groups, tasks, values, requests=None, k=10):
    """Every measure of every task within the rows of each value of a column.

    Args:
        labels: as of `evaluate`.
        masks: as of `evaluate`.
        predictions: as of `evaluate`.
        groups: as of `evaluate`.
        tasks: `TaskConfig`s.
        values: (rows,) of the column, such as surfaces or buckets of activity; at most 1,000 different ones.
        requests: as of `evaluate`.
        k: as of `evaluate`.

    Returns:
        Dict in order of values from value to what `evaluate` gives for its rows.

    Raises:
        ValueError: If there are more values.
    """
    distinct, value_N = np.unique(np.asarray(values), return_inverse=True)
    if len(distinct) > MAX_SLICES:
        raise ValueError(f"values must have at most {MAX_SLICES} different ones. Received: {len(distinct)}")
    groups_N, requests_N = np.asarray(groups), None if requests is None else np.asarray(requests, dtype=object)
    by_value = {}
    for index, value in enumerate(distinct.tolist()):
        row = np.flatnonzero(value_N == index)
        labels_of_value, masks_of_value, predictions_of_value = (
            {label: np.asarray(column)[row] for label, column in by_label.items()} for by_label in (labels, masks, predictions)
        )
        by_value[value] = evaluate(
            labels_of_value,
            masks_of_value,
            predictions_of_value,
            groups_N[row],
            tasks,
            None if requests_N is None else requests_N[row],
            k,
        )
    return by_value
