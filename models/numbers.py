"""Numeric transforms for tf.Transform: standardised numbers, quantile buckets, positions within quantile buckets.

Shapes: B batch, K entries of one column, N entries of all columns side by side, Q buckets.
"""

import collections

import tensorflow as tf
import tensorflow_transform as tft

# A standard deviation below this share of the mean is rounding of a constant float32 column.
RELATIVE_STD_FLOOR = 1e-6

# Error of a quantile's rank, as a share of the rows.
QUANTILE_ERROR = 0.01


def transformed_numbers(numbers_by_name, features):
    """Numbers as their features' `transform` says, each entry of a vector by itself.

    Args:
        numbers_by_name: (batch, entries) finite float32 by feature name; of "log", the logarithm.
        features: numeric feature configurations of those names.

    Returns:
        Dict from name to (batch, entries): float32, z-scores of "zscore" and "log" and positions within [0, num_buckets] of
        "piecewise"; int64 bucket ids of "bucket".

    Reference:
        Gorishniy et al., "On Embeddings for Numerical Features in Tabular Deep Learning", NeurIPS 2022, eq. 1. With b_0, ...,
        b_Q the training rows' quantiles, bucket q of a number is e_q = clip((x - b_(q-1)) / (b_q - b_(q-1)), 0, 1); a bucket
        without width is left out, as if its bounds were one. The position is the sum of all e_q, from which e_q =
        clip(position - (q - 1), 0, 1) comes back: one number to store instead of Q. Unlike there, the first and the last
        bucket end at the smallest and the largest number of training.
    """
    if not features:
        return {}
    by_transform = collections.defaultdict(list)
    for feature in features:
        group = ("quantiles", feature.num_buckets) if feature.is_embedded else ("moments", 0)
        by_transform[group].append(feature)
    ranges = _ranges({feature.name: numbers_by_name[feature.name] for feature in features if _needs_range(feature)})
    transformed = {}
    for (kind, num_buckets), group in by_transform.items():
        columns = {feature.name: numbers_by_name[feature.name] for feature in group}
        if kind == "moments":
            transformed |= _standardised(columns, ranges)
        else:
            embedded = {feature.name: feature.transform for feature in group}
            transformed |= _within_quantiles(columns, num_buckets, embedded, ranges)
    return transformed


def _needs_range(feature):
    return feature.transform == "piecewise" or (feature.clip and not feature.is_embedded)


def _fitted(analyzer_fn, numbers_by_name):
    """What one analyzer finds in all columns side by side, by name: many small analyzers cost seconds each.

    The columns themselves stay apart, so that a graph may be served that reads some of them.
    """
    sizes = [numbers_BK.shape[1] for numbers_BK in numbers_by_name.values()]
    found = tf.split(analyzer_fn(tf.concat(list(numbers_by_name.values()), axis=1)), sizes)
    return dict(zip(numbers_by_name, found, strict=True))


def _ranges(numbers_by_name):
    """Smallest and largest training value of every entry, (entries,) each, by name."""
    if not numbers_by_name:
        return {}
    low = _fitted(lambda numbers_BN: tft.min(numbers_BN, reduce_instance_dims=False), numbers_by_name)
    high = _fitted(lambda numbers_BN: tft.max(numbers_BN, reduce_instance_dims=False), numbers_by_name)
    return {name: (low[name], high[name]) for name in numbers_by_name}


def _standardised(numbers_by_name, ranges):
    means = _fitted(lambda numbers_BN: tft.mean(numbers_BN, reduce_instance_dims=False), numbers_by_name)
    variances = _fitted(lambda numbers_BN: tft.var(numbers_BN, reduce_instance_dims=False), numbers_by_name)
    standardised = {}
    for name, numbers_BK in numbers_by_name.items():
        if name in ranges:
            numbers_BK = tf.clip_by_value(numbers_BK, *ranges[name])
        mean_K, std_K = means[name], tf.sqrt(variances[name])
        varies_K = std_K > RELATIVE_STD_FLOOR * tf.abs(mean_K)
        # Chosen once, as part of the graph: a choice for every row would take longer than the arithmetic.
        scale_K = tf.where(varies_K, 1.0 / tf.where(varies_K, std_K, 1.0), 0.0)
        standardised[name] = (numbers_BK - mean_K) * scale_K
    return standardised


def _within_quantiles(numbers_by_name, num_buckets, transform_by_name, ranges):
    def quantiles(numbers_BN):
        error = min(1 / num_buckets, QUANTILE_ERROR)
        return tft.quantiles(numbers_BN, num_buckets, error, reduce_instance_dims=False)

    transformed = {}
    for name, boundaries_KQ in _fitted(quantiles, numbers_by_name).items():
        if transform_by_name[name] == "bucket":
            transformed[name] = _bucket_ids(numbers_by_name[name], boundaries_KQ)
        else:
            low_K, high_K = ranges[name]
            edges_KQ = tf.concat([low_K[:, tf.newaxis], boundaries_KQ, high_K[:, tf.newaxis]], axis=1)
            transformed[name] = positions(numbers_by_name[name], edges_KQ)
    return transformed


def _bucket_ids(numbers_BK, boundaries_KQ):
    # tft.bucketize would do the same with a dozen operations for every entry.
    return tf.transpose(tf.searchsorted(boundaries_KQ, tf.transpose(numbers_BK), side="right", out_type=tf.int64))


def positions(numbers, edges):
    """Where numbers lie among the buckets of their entry: whole buckets below them, and the share of their own.

    Args:
        numbers: (batch, entries) float32.
        edges: (entries, buckets + 1) float32, not decreasing; a bucket without width counts for nothing.

    Returns:
        (batch, entries) float32 within [0, buckets], continuous in a number and never decreasing with it.
    """
    low_KQ, width_KQ = edges[:, :-1], edges[:, 1:] - edges[:, :-1]
    has_width_KQ = width_KQ > 0
    shares_BKQ = (numbers[:, :, tf.newaxis] - low_KQ) / tf.where(has_width_KQ, width_KQ, 1.0)
    return tf.reduce_sum(tf.where(has_width_KQ, tf.clip_by_value(shares_BKQ, 0.0, 1.0), 0.0), axis=2)
