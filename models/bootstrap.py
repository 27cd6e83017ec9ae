"""Bootstrap by user: how sure is a measure of a model, or the difference between two models' on the same rows?

Shapes: N rows, G users, M models, R replicates.
"""

import dataclasses

import numpy as np

from models.errors import MetricError
from models.measures.registry import MEASURES, statistic_of
from models.measures.statistic import defined

# Replicates drawn at a time: bounds the memory of their counts.
CHUNK = 50


@dataclasses.dataclass(frozen=True)
class Estimate:
    """A number with a 95% percentile interval.

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


@dataclasses.dataclass(frozen=True)
class Difference(Estimate):
    """Measure of the second model minus that of the first; attributes as of `Estimate`."""


def bootstrap_interval(
    measure, labels, predictions, user_ids, groups=None, num_replicates=1_000, seed=0, *, weights=None, lists=None, k=10
):
    """A measure of one model, resampling users with all their rows.

    Args:
        measure: key of `models.measures.registry.MEASURES`; the replicates of "xauc" are those of 200,000 random pairs of
            rows, moved by what the pairs' own value is off.
        labels: (rows,) in {0, 1}, grades or seconds; anything where the weight is 0.
        predictions: (rows,) float.
        user_ids: (rows,) keys, the unit that is resampled.
        groups: (rows,) keys of user and day, of "gauc" alone.
        num_replicates: bootstrap samples.
        seed: of the samples and of the pairs.
        weights: (rows,) of at least 0, 0 where the label is unknown; None for 1.
        lists: (rows,) keys of what was ranked together, of "ndcg" alone.
        k: places of a list that count for "ndcg".

    Returns:
        `Estimate`. A calibration error grows with the noise of a sample, so that of a well calibrated model may lie below its
        interval.

    Raises:
        ValueError: If the measure is unknown, lengths differ, or a group holds rows of two users.
        MetricError: If the rows do not define the measure.

    Reference:
        Efron and Tibshirani, "An Introduction to the Bootstrap", 1993, chapters 8 and 13: percentile interval, resampling
        of whole clusters.
    """
    options = {"groups": groups, "lists": lists, "k": k}
    [value], [values_R] = _resampled(measure, labels, [predictions], user_ids, num_replicates, seed, weights, **options)
    return _interval(Estimate, value, values_R)


def paired_difference(
    measure,
    labels,
    first_predictions,
    second_predictions,
    user_ids,
    groups=None,
    num_replicates=1_000,
    seed=0,
    *,
    weights=None,
    lists=None,
    k=10,
):
    """Difference in a measure between two models, resampling users with all their rows.

    Args:
        measure: as of `bootstrap_interval`.
        labels: as of `bootstrap_interval`.
        first_predictions: (rows,) float.
        second_predictions: (rows,) float.
        user_ids: (rows,) keys, the unit that is resampled.
        groups: (rows,) keys of user and day, of "gauc" alone.
        num_replicates: bootstrap samples.
        seed: of the samples and of the pairs.
        weights: (rows,) of at least 0, 0 where the label is unknown; None for 1.
        lists: (rows,) keys of what was ranked together, of "ndcg" alone.
        k: places of a list that count for "ndcg".

    Returns:
        `Difference`; exactly 0 with interval [0, 0] for identical predictions.

    Raises:
        ValueError: If the measure is unknown, lengths differ, or a group holds rows of two users.
        MetricError: If the rows do not define the measure.

    Reference:
        As of `bootstrap_interval`; both models on the same replicates.
    """
    options = {"groups": groups, "lists": lists, "weights": weights, "k": k}
    both = first_predictions, second_predictions
    return paired_estimates(measure, labels, *both, user_ids, num_replicates=num_replicates, seed=seed, **options)[2]


def paired_estimates(
    measure,
    labels,
    first_predictions,
    second_predictions,
    user_ids,
    groups=None,
    num_replicates=1_000,
    seed=0,
    *,
    weights=None,
    lists=None,
    k=10,
):
    """A measure of each of two models, and their difference, at the cost of the difference alone.

    Args:
        measure: as of `bootstrap_interval`.
        labels: as of `bootstrap_interval`.
        first_predictions: (rows,) float.
        second_predictions: (rows,) float.
        user_ids: (rows,) keys, the unit that is resampled.
        groups: (rows,) keys of user and day, of "gauc" alone.
        num_replicates: bootstrap samples.
        seed: of the samples and of the pairs.
        weights: (rows,) of at least 0, 0 where the label is unknown; None for 1.
        lists: (rows,) keys of what was ranked together, of "ndcg" alone.
        k: places of a list that count for "ndcg".

    Returns:
        Tuple of the first model's `Estimate`, the second's, and the `Difference`, second minus first.

    Raises:
        ValueError: If the measure is unknown, lengths differ, or a group holds rows of two users.
        MetricError: If the rows do not define the measure.
    """
    options = {"groups": groups, "lists": lists, "k": k}
    both = [first_predictions, second_predictions]
    values, values_MR = _resampled(measure, labels, both, user_ids, num_replicates, seed, weights, **options)
    estimates = [_interval(Estimate, value, values_R) for value, values_R in zip(values, values_MR, strict=True)]
    return *estimates, _interval(Difference, values[1] - values[0], values_MR[1] - values_MR[0])


def _resampled(measure, labels, predictions, user_ids, num_replicates, seed, weights, **options):
    """Value of each model M, and its values on the replicates (M, R), NaN where one does not define the measure."""
    users_N = np.asarray(user_ids)
    if any(np.shape(column) != users_N.shape or users_N.ndim != 1 for column in (labels, *predictions)):
        shapes = ", ".join(str(np.shape(column)) for column in (labels, *predictions, users_N))
        raise ValueError(f"labels, predictions and user_ids must be vectors of one length. Received: shapes {shapes}")
    statistics = [statistic_of(measure, labels, scores, weights, seed=seed, **options) for scores in predictions]
    values = [defined(statistic, MEASURES[measure].undefined) for statistic in statistics]
    if weights is not None:
        users_N = users_N[np.asarray(weights) > 0]
    distinct, user_N = np.unique(users_N, return_inverse=True)
    measure_fns = [statistic.resampled(user_N) for statistic in statistics]
    chunks = [[fn(counts_RG) for fn in measure_fns] for counts_RG in _counts(len(distinct), num_replicates, seed)]
    return values, np.concatenate(chunks, axis=1)


def _interval(kind, value, values_R):
    values_R = values_R[np.isfinite(values_R)]
    if not len(values_R):
        raise MetricError("no replicate defines the measure")
    low, high = np.percentile(values_R, [2.5, 97.5])
    return kind(value, float(low), float(high), len(values_R))


def _counts(num_users, num_replicates, seed):
    """How often each user was drawn, (replicates, users) of at most a chunk of replicates at a time."""
    generator = np.random.default_rng(seed)
    for start in range(0, num_replicates, CHUNK):
        size = min(CHUNK, num_replicates - start)
        drawn_RG = generator.integers(num_users, size=(size, num_users)) + num_users * np.arange(size)[:, np.newaxis]
        counts = np.bincount(drawn_RG.ravel(), minlength=size * num_users)
        yield counts.reshape(size, num_users)
