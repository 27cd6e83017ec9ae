"""Measures of predictions, in NumPy.

Every measure raises `MetricError` with the reason where the rows do not define it (no row, one class), and ValueError for
vectors that differ in length or hold a value that is not finite.

Shapes: N rows, P pairs.
"""

import dataclasses

import numpy as np

from models.errors import MetricError

NUM_CALIBRATION_BINS = 10
NUM_PAIRS = 2_000_000
PROBABILITY_FLOOR = 1e-7


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


def auc(labels, predictions, weights=None):
    """Area under the ROC curve: probability that a positive row is ranked above a negative one, ties half.

    Args:
        labels: (rows,) in {0, 1}.
        predictions: (rows,) float.
        weights: (rows,) of at least 0; None for 1.

    Returns:
        Float in [0, 1].

    Raises:
        MetricError: If the rows with positive weight hold one class only.
    """
    labels_N, predictions_N = _vectors(labels, predictions)
    weights_N = np.ones(len(labels_N)) if weights is None else np.asarray(weights, np.float64)
    _, tie_N = np.unique(predictions_N, return_inverse=True)
    positive = np.bincount(tie_N, weights_N * labels_N)
    negative = np.bincount(tie_N, weights_N * (1 - labels_N))
    mass = positive.sum() * negative.sum()
    if not mass > 0:
        raise MetricError("all labels are of one class")
    return float((positive * (np.cumsum(negative) - negative / 2)).sum() / mass)


def gauc(labels, predictions, groups):
    """AUC within groups, averaged over the groups with both classes, weighted by their rows.

    Args:
        labels: (rows,) in {0, 1}.
        predictions: (rows,) float.
        groups: (rows,) keys, one a user and day.

    Returns:
        Float in [0, 1].

    Raises:
        MetricError: If no group holds both classes.

    Reference:
        Zhou et al., "Deep Interest Network for Click-Through Rate Prediction", KDD 2018, section 6.3, with impressions
        as weights.
    """
    _, group_N = np.unique(np.asarray(groups), return_inverse=True)
    aucs, rows = auc_by_group(labels, predictions, group_N)
    is_defined = ~np.isnan(aucs)
    if not is_defined.any():
        raise MetricError("no group holds both classes")
    return float(np.average(aucs[is_defined], weights=rows[is_defined]))


def auc_by_group(labels, predictions, group_indices):
    """AUC of every group.

    Args:
        labels: (rows,) in {0, 1}.
        predictions: (rows,) float.
        group_indices: (rows,) integers from 0 on.

    Returns:
        AUCs (groups,), NaN where a group lacks a class, and rows (groups,).
    """
    labels_N, predictions_N = _vectors(labels, predictions)
    group_N = np.asarray(group_indices)
    order_N = np.lexsort((predictions_N, group_N))
    labels_N, predictions_N, group_N = labels_N[order_N], predictions_N[order_N], group_N[order_N]
    starts_tie_N = np.r_[True, (np.diff(group_N) != 0) | (np.diff(predictions_N) != 0)]
    tie_starts = np.flatnonzero(starts_tie_N)
    positive = np.add.reduceat(labels_N, tie_starts)
    negative = np.add.reduceat(1 - labels_N, tie_starts)
    group = group_N[tie_starts]
    rows = np.bincount(group_N)
    positives = np.bincount(group, positive, len(rows))
    negatives = np.bincount(group, negative, len(rows))
    before_group = np.cumsum(negatives) - negatives
    below = np.cumsum(negative) - negative / 2 - before_group[group]
    with np.errstate(invalid="ignore"):
        return np.bincount(group, positive * below, len(rows)) / (positives * negatives), rows


def log_loss(labels, predictions):
    """Mean binary cross entropy of probabilities, clipped to [1e-7, 1 - 1e-7].

    Args:
        labels: (rows,) in {0, 1}.
        predictions: (rows,) float in [0, 1].

    Returns:
        Float of at least 0.
    """
    return float(log_losses(labels, predictions).mean())


def log_losses(labels, predictions):
    """Binary cross entropy of every row; `log_loss` is its mean.

    Args:
        labels: (rows,) in {0, 1}.
        predictions: (rows,) float in [0, 1].

    Returns:
        (rows,) float of at least 0.
    """
    labels_N, predictions_N = _vectors(labels, predictions)
    clipped_N = np.clip(predictions_N, PROBABILITY_FLOOR, 1 - PROBABILITY_FLOOR)
    return -(labels_N * np.log(clipped_N) + (1 - labels_N) * np.log1p(-clipped_N))


def normalised_entropy(labels, predictions):
    """Log loss over that of predicting the base rate for every row; below 1 is better than the base rate.

    Args:
        labels: (rows,) in {0, 1}.
        predictions: (rows,) float in [0, 1].

    Returns:
        Float of at least 0.

    Raises:
        MetricError: If the labels are of one class.

    Reference:
        He et al., "Practical Lessons from Predicting Clicks on Ads at Facebook", ADKDD 2014, eq. 3.
    """
    labels_N, _ = _vectors(labels, predictions)
    if labels_N.min() == labels_N.max():
        raise MetricError("all labels are of one class")
    return log_loss(labels, predictions) / log_loss(labels, np.full(len(labels_N), labels_N.mean()))


def expected_calibration_error(labels, predictions, num_bins=NUM_CALIBRATION_BINS):
    """Mean absolute gap between predicted and observed rate over equal-mass bins.

    Rows with equal predictions share their mean label, so that the order of rows does not matter where a bin's border
    falls among them.

    Args:
        labels: (rows,) in {0, 1}.
        predictions: (rows,) float in [0, 1].
        num_bins: at least 2.

    Returns:
        Float in [0, 1].

    Raises:
        ValueError: If `num_bins` is below 2.

    Reference:
        Naeini et al., "Obtaining Well Calibrated Probabilities Using Bayesian Binning", AAAI 2015, section 4.1, with
        bins of equal mass.
    """
    if num_bins < 2:
        raise ValueError(f"num_bins must be at least 2. Received: num_bins={num_bins}")
    labels_N, predictions_N = _vectors(labels, predictions)
    _, tie_N = np.unique(predictions_N, return_inverse=True)
    rate_N = (np.bincount(tie_N, labels_N) / np.bincount(tie_N))[tie_N]
    order_N = np.argsort(predictions_N)
    bins = np.array_split((predictions_N - rate_N)[order_N], num_bins)
    return float(sum(abs(gaps.sum()) for gaps in bins) / len(labels_N))


def xauc(truths, predictions, num_pairs=NUM_PAIRS, seed=0):
    """Share of random pairs of rows that predictions order as the truth does; ties in prediction count half.

    Args:
        truths: (rows,) float, such as seconds.
        predictions: (rows,) float.
        num_pairs: drawn with replacement; pairs with equal truth are dropped.
        seed: of the draw.

    Returns:
        Float in [0, 1].

    Reference:
        Zhan et al., "Deconfounding Duration Bias in Watch-time Prediction for Video Recommendation", KDD 2022, eq. 10.
    """
    truths_N, predictions_N = _vectors(truths, predictions)
    first_P, second_P = draw_pairs(truths_N, num_pairs, seed)
    return float(concordances(truths_N, predictions_N, first_P, second_P).mean())


def draw_pairs(truths, num_pairs, seed):
    """Random pairs of rows that differ in truth.

    Args:
        truths: (rows,) float.
        num_pairs: drawn before those with equal truth are dropped.
        seed: of the draw.

    Returns:
        Row indices (pairs,) of the first and the second of every pair.

    Raises:
        MetricError: If no drawn pair differs in truth.
    """
    truths_N = np.asarray(truths, np.float64)
    first_P, second_P = np.random.default_rng(seed).integers(len(truths_N), size=(2, num_pairs))
    differs_P = truths_N[first_P] != truths_N[second_P]
    if not differs_P.any():
        raise MetricError("no pair of rows differs in truth")
    return first_P[differs_P], second_P[differs_P]


def concordances(truths, predictions, first, second):
    """Whether predictions order pairs as the truth does.

    Args:
        truths: (rows,) float.
        predictions: (rows,) float.
        first: (pairs,) row indices.
        second: (pairs,) row indices, of other truth than `first`.

    Returns:
        (pairs,) float: 1 in order, 0.5 tied in prediction, 0 in reverse.
    """
    agreement_P = np.sign(truths[first] - truths[second]) * np.sign(predictions[first] - predictions[second])
    return (1 + agreement_P) / 2


def mean_absolute_error(truths, predictions):
    """Mean absolute error, in the unit of the truth.

    Args:
        truths: (rows,) float.
        predictions: (rows,) float.

    Returns:
        Float of at least 0.
    """
    truths_N, predictions_N = _vectors(truths, predictions)
    return float(np.abs(truths_N - predictions_N).mean())


def evaluate(labels, masks, predictions, groups, tasks):
    """Every measure of every task, each on the rows whose label is known.

    Args:
        labels: (rows,) by label.
        masks: (rows,) in {0, 1} by label, 1 where the label is known.
        predictions: (rows,) served values by label: probabilities, or seconds.
        groups: (rows,) keys of user and day, for `gauc`.
        tasks: `TaskConfig`s.

    Returns:
        Dict from label to dict from measure to `Metric`: auc, gauc, log_loss, normalised_entropy and
        expected_calibration_error of a binary head; mean_absolute_error_seconds and xauc of a watch time.
    """
    groups = np.asarray(groups)
    metrics = {}
    for task in tasks:
        is_known_N = np.asarray(masks[task.label]) > 0
        known = np.asarray(labels[task.label])[is_known_N], np.asarray(predictions[task.label])[is_known_N]
        if task.head == "binary":
            functions = {fn.__name__: fn for fn in (auc, log_loss, normalised_entropy, expected_calibration_error)}
            metrics[task.label] = {name: _measure(fn, *known) for name, fn in functions.items()}
            metrics[task.label]["gauc"] = _measure(gauc, *known, groups[is_known_N])
        else:
            metrics[task.label] = {
                "mean_absolute_error_seconds": _measure(mean_absolute_error, *known),
                "xauc": _measure(xauc, *known),
            }
    return metrics


def _measure(metric_fn, truths_N, *arguments):
    try:
        return Metric(metric_fn(truths_N, *arguments), len(truths_N))
    except MetricError as error:
        return Metric(None, len(truths_N), str(error))


def _vectors(truths, predictions):
    """Both as finite float64 vectors of one length, at least 1."""
    truths_N, predictions_N = np.asarray(truths, np.float64), np.asarray(predictions, np.float64)
    if truths_N.ndim != 1 or truths_N.shape != predictions_N.shape:
        raise ValueError(
            f"labels and predictions must be vectors of one length. Received: shapes {truths_N.shape} and {predictions_N.shape}"
        )
    if not len(truths_N):
        raise MetricError("no row has a known label")
    if not (np.isfinite(truths_N).all() and np.isfinite(predictions_N).all()):
        raise ValueError("labels and predictions must be finite. Received: a value that is not")
    return truths_N, predictions_N
