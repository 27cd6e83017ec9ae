"""Measures of an order: AUC, AUC within groups, and NDCG of lists.

Shapes: N rows, P positive rows, G groups.
"""

import numpy as np

from models.measures.rows import weighted_rows
from models.measures.statistic import RowStatistic, SumStatistic, defined, ratio_of_means, whole_if_equal

ONE_CLASS = "all labels are of one class"
NO_GROUP = "no group holds both classes"
NO_GAIN = "no list holds a label above 0"


class _NegativesBelow:
    """Weight of the negatives that each positive is ranked above within its group, ties half; sorted once for any weights."""

    # Weights are asked for in the order `order_N` of rows, in which positives stand at `positive_P`, of groups `group_P`.
    def __init__(self, labels_N, predictions_N, group_N):
        if not np.isin(labels_N, (0, 1)).all():
            raise ValueError("labels of an AUC must be 0 or 1. Received: a label that is not")
        self.order_N = np.lexsort((predictions_N, group_N))
        predictions_N, group_N = predictions_N[self.order_N], group_N[self.order_N]
        self._is_negative_N = (labels_N[self.order_N] == 0).astype(np.int64)
        starts_group_N = np.r_[True, np.diff(group_N) != 0]
        tie_starts = np.flatnonzero(starts_group_N | np.r_[True, np.diff(predictions_N) != 0])
        tie_N = np.searchsorted(tie_starts, np.arange(len(group_N)), side="right") - 1
        self.positive_P = np.flatnonzero(self._is_negative_N == 0)
        self.group_P = group_N[self.positive_P]
        tie_P = tie_N[self.positive_P]
        self._tie_start_P, self._tie_end_P = tie_starts[tie_P], np.r_[tie_starts, len(group_N)][tie_P + 1]
        # Every group has rows: where each begins, and the end of the last.
        self._group_starts = np.r_[np.flatnonzero(starts_group_N), len(group_N)]
        self._group_start_P = np.flatnonzero(starts_group_N)[np.cumsum(starts_group_N)[self.positive_P] - 1]

    def __call__(self, weights_N):
        """Weights below each positive (P,), and of all negatives of each group (G,)."""
        before_N = np.zeros(len(weights_N) + 1, weights_N.dtype)
        np.cumsum(weights_N * self._is_negative_N, out=before_N[1:])
        below_P = (before_N[self._tie_start_P] + before_N[self._tie_end_P]) / 2 - before_N[self._group_start_P]
        return below_P, np.diff(before_N[self._group_starts])


class _Auc(RowStatistic):
    def __init__(self, rows):
        self._below = _NegativesBelow(rows.truths, rows.predictions, np.zeros(len(rows.truths), int))
        self._weights_N = whole_if_equal(rows.weights)[self._below.order_N]
        super().__init__(self._below.order_N, self._weights_N.dtype)

    def value_of(self, counts):
        weights_N = counts * self._weights_N
        below_P, (negatives,) = self._below(weights_N)
        weights_P = weights_N[self._below.positive_P]
        pairs = float(weights_P.sum()) * float(negatives)
        return weights_P @ below_P / pairs if pairs > 0 else np.nan


def auc_statistic(rows):
    """AUC as a statistic.

    Args:
        rows: `Rows` with labels in {0, 1}.

    Returns:
        `Statistic`.
    """
    return _Auc(rows)


def auc(labels, predictions, weights=None):
    """Area under the ROC curve: probability that a positive row is ranked above a negative one, ties half.

    Args:
        labels: (rows,) in {0, 1}.
        predictions: (rows,) float.
        weights: (rows,) of at least 0, 0 where the label is unknown; None for 1.

    Returns:
        Float in [0, 1].

    Raises:
        MetricError: If the rows with weight hold one class only.
    """
    return defined(auc_statistic(weighted_rows(labels, predictions, weights)), ONE_CLASS)


def gauc_statistic(rows):
    """GAUC as a statistic of its groups.

    Args:
        rows: `Rows` with labels in {0, 1} and groups as keys.

    Returns:
        `Statistic`.
    """
    below = _NegativesBelow(rows.truths, rows.predictions, rows.keys)
    weights_N = rows.weights[below.order_N]
    weights_P = weights_N[below.positive_P]
    below_P, negatives_G = below(weights_N)
    num_groups = len(negatives_G)
    concordant_G = np.bincount(below.group_P, weights_P * below_P, num_groups)
    pairs_G = np.bincount(below.group_P, weights_P, num_groups) * negatives_G
    mass_G = np.where(pairs_G > 0, np.bincount(rows.keys, rows.weights, num_groups), 0.0)
    auc_G = np.divide(concordant_G, pairs_G, out=np.zeros(num_groups), where=pairs_G > 0)
    return SumStatistic(np.stack([auc_G * mass_G, mass_G], axis=1), ratio_of_means, rows.keys)


def gauc(labels, predictions, groups, weights=None):
    """AUC within groups, averaged over the groups with both classes, weighted by their rows.

    Args:
        labels: (rows,) in {0, 1}.
        predictions: (rows,) float.
        groups: (rows,) keys, one a user and day.
        weights: (rows,) of at least 0, 0 where the label is unknown; None for 1.

    Returns:
        Float in [0, 1].

    Raises:
        MetricError: If no group holds both classes.

    Reference:
        Zhou et al., "Deep Interest Network for Click-Through Rate Prediction", KDD 2018, section 6.3, with impressions
        as weights.
    """
    return defined(gauc_statistic(weighted_rows(labels, predictions, weights, groups)), NO_GROUP)


def ndcg_statistic(rows, k):
    """NDCG@k as a statistic of its lists.

    Args:
        rows: `Rows` with labels of at least 0 and lists as keys.
        k: places of a list that count, at least 1.

    Returns:
        `Statistic`.

    Raises:
        ValueError: If `k` is below 1 or a label is negative.
    """
    if k < 1:
        raise ValueError(f"k must be at least 1. Received: k={k}")
    if (rows.truths < 0).any():
        raise ValueError("labels of an NDCG must be at least 0. Received: a label that is not")
    gains_G, best_G = (_discounted_gains(rows, scores_N, k) for scores_N in (rows.predictions, rows.truths))
    mean_weight_G = np.bincount(rows.keys, rows.weights) / np.bincount(rows.keys)
    mass_G = np.where(best_G > 0, mean_weight_G, 0.0)
    ndcg_G = np.divide(gains_G, best_G, out=np.zeros(len(best_G)), where=best_G > 0)
    return SumStatistic(np.stack([ndcg_G * mass_G, mass_G], axis=1), ratio_of_means, rows.keys)


def _discounted_gains(rows, scores_N, k):
    """(lists,) DCG@k of lists in falling order of scores; rows with equal scores share their places' mean discount."""
    order_N = np.lexsort((-scores_N, rows.keys))
    scores_N, list_N = scores_N[order_N], rows.keys[order_N]
    starts_list_N = np.r_[True, np.diff(list_N) != 0]
    tie_starts = np.flatnonzero(starts_list_N | np.r_[True, np.diff(scores_N) != 0])
    tie_sizes = np.diff(np.r_[tie_starts, len(list_N)])
    first_place_T = tie_starts - np.flatnonzero(starts_list_N)[list_N[tie_starts]]
    discounts_to_place = np.r_[0.0, np.cumsum(1 / np.log2(np.arange(2, k + 2)))]
    of_first_T, of_last_T = (discounts_to_place[np.minimum(p_T, k)] for p_T in (first_place_T, first_place_T + tie_sizes))
    discount_N = np.repeat((of_last_T - of_first_T) / tie_sizes, tie_sizes)
    return np.bincount(list_N, rows.truths[order_N] * discount_N)


def ndcg(labels, predictions, lists, k=10, weights=None):
    """Mean over lists of the discounted gain of their first `k` places, relative to the best order.

    A row's gain is its label, so that of grades 1 counts four times as much as 1/4. Rows with equal predictions share the mean
    of their places. Lists without a label above 0 are left out; a list weighs the mean of its rows' weights.

    Args:
        labels: (rows,) in [0, 1]: 0 or 1, or grades.
        predictions: (rows,) float.
        lists: (rows,) keys, one a list that was ranked, such as a request.
        k: places of a list that count, at least 1.
        weights: (rows,) of at least 0, 0 where the label is unknown; None for 1.

    Returns:
        Float in [0, 1].

    Raises:
        ValueError: If `k` is below 1 or a label is negative.
        MetricError: If no list holds a label above 0.

    Reference:
        Jarvelin and Kekalainen, "Cumulated Gain-Based Evaluation of IR Techniques", TOIS 20, 2002, with the discount
        1 / log2(1 + place); ties as McSherry and Najork, "Computing Information Retrieval Performance Measures Efficiently in
        the Presence of Tied Scores", ECIR 2008.
    """
    return defined(ndcg_statistic(weighted_rows(labels, predictions, weights, lists), k), NO_GAIN)
