"""Paired bootstrap by user: how sure is the difference between two models' measures on the same rows?

Shapes: N rows, G users, P pairs, R replicates.
"""

import dataclasses

import numpy as np

from models.errors import MetricError
from models.metrics import auc_by_group, concordances, draw_pairs, log_losses

# Of `xauc`: enough that its own noise, which both models share, stays well below that of the users.
NUM_PAIRS = 200_000

# Replicates weighted at a time: bounds the memory of the weights of rows and pairs.
CHUNK = 50


@dataclasses.dataclass(frozen=True)
class Difference:
    """Measure of the second model minus that of the first, with a 95% percentile interval.

    Attributes:
        estimate: on the rows as they are.
        low: 2.5th percentile over replicates.
        high: 97.5th percentile over replicates.
        num_replicates: replicates on which the measure was defined.
    """

    estimate: float
    low: float
    high: float
    num_replicates: int


def paired_difference(
    metric, labels, first_predictions, second_predictions, user_ids, groups=None, num_replicates=1_000, seed=0
):
    """Difference in a measure between two models, resampling users with all their rows.

    Args:
        metric: "auc", "gauc", "log_loss", "mean_absolute_error" or "xauc", as in `models.metrics`; "xauc" on 200,000 random
            pairs of rows, a pair weighing the product of its users' weights.
        labels: (rows,) in {0, 1}, or seconds; rows with a known label only.
        first_predictions: (rows,) float.
        second_predictions: (rows,) float.
        user_ids: (rows,) keys, the unit that is resampled.
        groups: (rows,) keys of user and day, of "gauc" alone.
        num_replicates: bootstrap samples.
        seed: of the samples and of the pairs.

    Returns:
        `Difference`; exactly 0 with interval [0, 0] for identical predictions.

    Raises:
        ValueError: If the metric is unknown, lengths differ, or a group holds rows of two users.
        MetricError: If the rows do not define the measure.

    Reference:
        Efron and Tibshirani, "An Introduction to the Bootstrap", 1993, chapters 8 and 13: percentile interval, resampling
        of whole clusters.
    """
    columns = [np.asarray(column) for column in (labels, first_predictions, second_predictions, user_ids)]
    if any(column.shape != columns[0].shape or column.ndim != 1 for column in columns):
        shapes = ", ".join(str(column.shape) for column in columns)
        raise ValueError(f"labels, predictions and user_ids must be vectors of one length. Received: shapes {shapes}")
    if not len(columns[0]):
        raise MetricError("no row has a known label")
    labels_N, first_N, second_N = (column.astype(np.float64) for column in columns[:3])
    _, user_N = np.unique(columns[3], return_inverse=True)
    if metric == "auc":
        statistics = [_WeightedAuc(labels_N, predictions_N, user_N) for predictions_N in (first_N, second_N)]
    elif metric == "gauc":
        if groups is None:
            raise ValueError("groups must be given for gauc. Received: groups=None")
        statistics = [_gauc(labels_N, predictions_N, user_N, np.asarray(groups)) for predictions_N in (first_N, second_N)]
    elif metric == "log_loss":
        statistics = [_mean(log_losses(labels_N, predictions_N), user_N) for predictions_N in (first_N, second_N)]
    elif metric == "mean_absolute_error":
        statistics = [_mean(np.abs(labels_N - predictions_N), user_N) for predictions_N in (first_N, second_N)]
    elif metric == "xauc":
        pairs = draw_pairs(labels_N, NUM_PAIRS, seed)
        statistics = [_WeightedXauc(labels_N, predictions_N, user_N, *pairs) for predictions_N in (first_N, second_N)]
    else:
        raise ValueError(f"metric must be auc, gauc, log_loss, mean_absolute_error or xauc. Received: {metric}")
    return _resampled(*statistics, num_users=user_N.max() + 1, num_replicates=num_replicates, seed=seed)


def _resampled(first, second, num_users, num_replicates, seed):
    once_RG = np.ones((1, num_users))
    estimate = float((second(once_RG) - first(once_RG))[0])
    if not np.isfinite(estimate):
        raise MetricError("all labels, or those of every group, are of one class")
    generator = np.random.default_rng(seed)
    differences = []
    for start in range(0, num_replicates, CHUNK):
        size = min(CHUNK, num_replicates - start)
        weights_RG = generator.multinomial(num_users, np.full(num_users, 1 / num_users), size=size).astype(np.float64)
        differences.append(second(weights_RG) - first(weights_RG))
    differences_R = np.concatenate(differences)
    differences_R = differences_R[np.isfinite(differences_R)]
    if not len(differences_R):
        raise MetricError("no replicate defines the measure")
    low, high = np.percentile(differences_R, [2.5, 97.5])
    return Difference(estimate, float(low), float(high), len(differences_R))


class _Ratio:
    """Sum over users of weight times numerator, over that of weight times denominator."""

    def __init__(self, numerators_G, denominators_G):
        self._numerators_G = numerators_G
        self._denominators_G = denominators_G

    def __call__(self, weights_RG):
        with np.errstate(invalid="ignore", divide="ignore"):
            return (weights_RG @ self._numerators_G) / (weights_RG @ self._denominators_G)


def _mean(values_N, user_N):
    return _Ratio(np.bincount(user_N, values_N), np.bincount(user_N))


def _gauc(labels_N, predictions_N, user_N, groups_N):
    _, group_N = np.unique(groups_N, return_inverse=True)
    user_by_group = np.zeros(group_N.max() + 1, int)
    user_by_group[group_N] = user_N
    if (user_by_group[group_N] != user_N).any():
        raise ValueError("every group must hold rows of one user. Received: a group with rows of two")
    aucs, rows = auc_by_group(labels_N, predictions_N, group_N)
    rows = np.where(np.isnan(aucs), 0, rows)
    num_users = user_N.max() + 1
    return _Ratio(
        np.bincount(user_by_group, np.nan_to_num(aucs) * rows, num_users), np.bincount(user_by_group, rows, num_users)
    )


class _WeightedAuc:
    """AUC under row weights, on rows sorted once; a tie in prediction counts half."""

    def __init__(self, labels_N, predictions_N, user_N):
        order_N = np.argsort(predictions_N, kind="stable")
        predictions_N = predictions_N[order_N]
        self._tie_starts = np.flatnonzero(np.r_[True, np.diff(predictions_N) != 0])
        self._is_positive_N = labels_N[order_N]
        self._user_N = user_N[order_N]

    def __call__(self, weights_RG):
        return np.array([self._auc(weights_G) for weights_G in weights_RG])

    def _auc(self, weights_G):
        weights_N = weights_G[self._user_N]
        positives_N = weights_N * self._is_positive_N
        positive = np.add.reduceat(positives_N, self._tie_starts)
        negative = np.add.reduceat(weights_N - positives_N, self._tie_starts)
        mass = positive.sum() * negative.sum()
        return positive @ (np.cumsum(negative) - negative / 2) / mass if mass > 0 else np.nan


class _WeightedXauc:
    """Weighted share of pairs in order; a pair weighs the product of its users' weights."""

    def __init__(self, truths_N, predictions_N, user_N, first_P, second_P):
        self._concordance_P = concordances(truths_N, predictions_N, first_P, second_P)
        self._first_user_P = user_N[first_P]
        self._second_user_P = user_N[second_P]

    def __call__(self, weights_RG):
        return np.array([self._xauc(weights_G) for weights_G in weights_RG])

    def _xauc(self, weights_G):
        weights_P = weights_G[self._first_user_P] * weights_G[self._second_user_P]
        total = weights_P.sum()
        return weights_P @ self._concordance_P / total if total > 0 else np.nan
