"""TFDV statistics of served rows, and the distances that TFDV finds between two of them.

TFDV cuts the range of each side's own values into histograms and takes values as even within a bucket. Between a few served
rows and many training rows that alone makes a distance, as the largest of few values is smaller than that of many. So served
numbers are counted here within the very buckets of the training statistics, those of equal mass, and TFDV gets both.
"""

import dataclasses
import itertools
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from tensorflow_data_validation.api import validation_api
from tensorflow_data_validation.statistics import stats_impl, stats_options
from tensorflow_metadata.proto.v0 import schema_pb2, statistics_pb2

_STRING = statistics_pb2.FeatureNameStatistics.STRING
_FLOAT = statistics_pb2.FeatureNameStatistics.FLOAT
_SCHEMA_TYPE = {
    statistics_pb2.FeatureNameStatistics.INT: schema_pb2.INT,
    _FLOAT: schema_pb2.FLOAT,
    _STRING: schema_pb2.BYTES,
}


class Values(NamedTuple):
    """Values of a served column: `rows` (values,) int row of each, `values` (values,) float64, or bytes of strings."""

    rows: np.ndarray
    values: np.ndarray


@dataclasses.dataclass(frozen=True)
class Binned:
    """Served values in the bins of a column.

    Attributes:
        bins: (values,) int.
        is_outside: (values,) bool, what training did not know.
        training_outside: share of the training values that its statistics do not list either.
        known: what training knew, in words, as "5 to 60".
    """

    bins: np.ndarray
    is_outside: np.ndarray
    training_outside: float
    known: str


def statistics_of(batch):
    """TFDV statistics of rows.

    Args:
        batch: `pyarrow.RecordBatch` of lists, as tfx_bsl decodes tf.Examples.

    Returns:
        `DatasetFeatureStatisticsList` with one data set.
    """
    return stats_impl.generate_statistics_in_memory(batch, stats_options.StatsOptions())


def by_name(statistics):
    """Columns of a data set.

    Args:
        statistics: `DatasetFeatureStatistics`.

    Returns:
        `FeatureNameStatistics` by name.
    """
    return {feature.path.step[0]: feature for feature in statistics.features}


def is_string(feature):
    """Whether a column holds strings.

    Args:
        feature: `FeatureNameStatistics`.

    Returns:
        bool.
    """
    return feature.type == _STRING


def common_stats(feature):
    """What strings and numbers have in common: counts of rows and values.

    Args:
        feature: `FeatureNameStatistics`.

    Returns:
        `CommonStatistics`.
    """
    return feature.string_stats.common_stats if is_string(feature) else feature.num_stats.common_stats


def values_of(batch, name):
    """Values of a column of decoded tf.Examples.

    Args:
        batch: `pyarrow.RecordBatch` of lists.
        name: of a column; it may be absent.

    Returns:
        `Values`; None where no row has one.
    """
    place = batch.schema.get_field_index(name)
    if place < 0 or pa.types.is_null(batch.column(place).type):
        return None
    column = batch.column(place)
    values = column.flatten()
    if len(values) == 0:
        return None
    is_number = pa.types.is_integer(values.type) or pa.types.is_floating(values.type)
    array = values.to_numpy(zero_copy_only=False)
    return Values(pc.list_parent_indices(column).to_numpy(), array.astype(np.float64) if is_number else array)


def binned_strings(feature, values, vocabulary=None):
    """Bins of served strings, one a value.

    Args:
        feature: `FeatureNameStatistics` of training.
        values: `Values`.
        vocabulary: set of all values of training, as bytes; None where the model keeps none.

    Returns:
        `Binned`; without a vocabulary, values are known where the training statistics list them, all or the most frequent ones.
    """
    listed = {bucket.label.encode(): bucket.sample_count for bucket in feature.string_stats.rank_histogram.buckets}
    known = listed.keys() | (vocabulary or set())
    names, bins = np.unique(values.values, return_inverse=True)
    is_unknown = np.array([name not in known for name in names])
    if vocabulary is not None or feature.string_stats.unique <= len(listed):
        return Binned(bins, is_unknown[bins], 0.0, f"{len(known):,} values")
    unlisted = max(1 - sum(listed.values()) / max(common_stats(feature).tot_num_values, 1), 0.0)
    return Binned(bins, is_unknown[bins], unlisted, f"{len(known):,} most frequent values")


def binned_numbers(feature, values):
    """Bins of served numbers: training's buckets of equal mass, its largest value, and what lies below and above.

    Args:
        feature: `FeatureNameStatistics` of training.
        values: `Values`.

    Returns:
        `Binned`, bin 0 for what is below and the last one for what is above, or no number; None where training has no number.
    """
    edges = bucket_edges(feature)
    if not len(edges):
        return None
    served = values.values
    is_below, is_above = served < edges[0], ~(served <= edges[-1])
    bins = np.searchsorted(edges, served, side="right")
    bins[is_above] = len(edges) + 1
    return Binned(bins, is_below | is_above, 0.0, f"{edges[0]:.6g} to {edges[-1]:.6g}")


def bucket_edges(feature):
    """Where training's buckets of equal mass begin and end; a value that fills several buckets is one edge.

    Args:
        feature: `FeatureNameStatistics` of numbers.

    Returns:
        (edges,) float64 that rise, from the smallest to the largest finite value; none where there is no number.
    """
    bounds = [(bucket.low_value, bucket.high_value) for bucket in _quantiles(feature)]
    edges = np.unique([feature.num_stats.min, feature.num_stats.max, *itertools.chain(*bounds)])
    return edges[np.isfinite(edges)] if bounds else edges[:0]


def training_counts(feature, values, served_counts):
    """Training values by bin of `binned_numbers`.

    A bucket may hold some of the value that it ends with, which belongs into the next bin. How much the statistics do not say:
    at most as much as the served values have of it, as far as that fills what the next bin lacks of the served ones. So whole
    numbers and values that are frequent make no distance of their own.

    Args:
        feature: `FeatureNameStatistics` of numbers.
        values: (values,) served ones.
        served_counts: (bins,) these by bin.

    Returns:
        (bins,) float64, none below and above.
    """
    edges = bucket_edges(feature)
    counts, before = np.zeros(len(edges) + 2), np.zeros(len(edges))
    for bucket in _quantiles(feature):
        low, high = np.searchsorted(edges, (bucket.low_value, bucket.high_value))
        counts[low + 1] += bucket.sample_count
        before[high] += bucket.sample_count if low < high else 0
    scale = counts.sum() / len(values)
    wanted = scale * served_counts
    # From the last bin on: what one gives away it may lack itself then.
    for place in np.flatnonzero(before)[::-1]:
        served = scale * np.count_nonzero(values == edges[place])
        moved = max(min(before[place], served, wanted[place + 1] - counts[place + 1]), 0)
        counts[place] -= moved
        counts[place + 1] += moved
    return counts


def _quantiles(feature):
    return [
        bucket
        for histogram in feature.num_stats.histograms
        if histogram.type == statistics_pb2.Histogram.QUANTILES
        for bucket in histogram.buckets
        if np.isfinite(bucket.low_value) and np.isfinite(bucket.high_value)
    ]


def with_counts(feature, edges, counts):
    """A column's statistics with one histogram in the bins of `binned_numbers`, for TFDV to compare.

    Args:
        feature: `FeatureNameStatistics` of numbers.
        edges: (edges,) of `bucket_edges`.
        counts: (bins,) values by bin.

    Returns:
        `FeatureNameStatistics`.
    """
    # Where the outer bins end is no matter, as both sides have them alike.
    step = max(abs(edges[0]), abs(edges[-1]), 1.0)
    lows, highs = [edges[0] - step, *edges, edges[-1]], [*edges, edges[-1], edges[-1] + step]
    copied = statistics_pb2.FeatureNameStatistics()
    copied.CopyFrom(feature)
    del copied.num_stats.histograms[:]
    histogram = copied.num_stats.histograms.add(type=statistics_pb2.Histogram.STANDARD)
    for low, high, count in zip(lows, highs, counts, strict=True):
        histogram.buckets.add(low_value=low, high_value=high, sample_count=count)
    return copied


def tfdv_distances(training, served, threshold_by_column):
    """Distances that TFDV measures and judges as training-serving skew.

    Args:
        training: `FeatureNameStatistics` by name.
        served: the same; other columns than those of the thresholds are left alone.
        threshold_by_column: largest L-infinity distance of strings or Jensen-Shannon divergence of numbers, by name.

    Returns:
        Pair by name: the distance, and whether it is beyond its threshold.
    """
    schema = schema_pb2.Schema()
    for name, threshold in threshold_by_column.items():
        feature = schema.feature.add(name=name, type=_SCHEMA_TYPE[training[name].type])
        comparator = feature.skew_comparator
        (comparator.infinity_norm if is_string(training[name]) else comparator.jensen_shannon_divergence).threshold = threshold
    anomalies = validation_api.validate_statistics(
        _data_set(training, threshold_by_column), schema, serving_statistics=_data_set(served, threshold_by_column)
    )
    return {
        info.path.step[0]: (measurement.value, measurement.value > measurement.threshold)
        for info in anomalies.drift_skew_info
        for measurement in info.skew_measurements
    }


def _data_set(feature_by_name, names):
    columns = [feature_by_name[name] for name in names]
    num_examples = max((common_stats(each).num_missing + common_stats(each).num_non_missing for each in columns), default=0)
    data_set = statistics_pb2.DatasetFeatureStatistics(num_examples=num_examples, features=columns)
    return statistics_pb2.DatasetFeatureStatisticsList(datasets=[data_set])
