"""Area under the ROC curve, by ranks."""

import numpy as np


def area_under_curve(labels, scores):
    """Share of (positive, negative) pairs in which the positive has the higher score; ties count half.

    Args:
        labels: (rows,) bool, or numbers in {0, 1}.
        scores: (rows,) finite numbers.

    Returns:
        float in [0, 1].

    Raises:
        ValueError: If the labels hold one class only.
    """
    is_positive = np.asarray(labels).astype(bool)
    num_positive = np.count_nonzero(is_positive)
    num_negative = len(is_positive) - num_positive
    if not num_positive or not num_negative:
        raise ValueError(f"labels must hold both classes. Received: {num_positive} positive, {num_negative} negative")
    _, rank, group_size = np.unique(np.asarray(scores), return_inverse=True, return_counts=True)
    mean_rank = np.cumsum(group_size) - (group_size - 1) / 2
    rank_sum = mean_rank[rank[is_positive]].sum()
    return float((rank_sum - num_positive * (num_positive + 1) / 2) / (num_positive * num_negative))
