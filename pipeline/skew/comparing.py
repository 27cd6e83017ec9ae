"""Which served columns left the range of training: distances, unknown values, missing values, each beyond chance."""

import dataclasses
import math

import numpy as np

from pipeline.skew import statistics
from pipeline.skew.chance import jensen_shannon_distance, l_infinity


@dataclasses.dataclass(frozen=True)
class ColumnRule:
    """How a column is judged.

    Attributes:
        limit: largest difference of shares, and largest distance where that is judged; of (0, 1].
        has_distance: whether values are compared by how frequent they are; ids are not.
        judges_distance: whether a distance beyond the limit counts, or is told alone.
        may_lack: whether rows may lack it, as something stands in.
        vocabulary: set of all strings of training, as bytes, where the model keeps them; else those count that its statistics
            list.
    """

    limit: float
    has_distance: bool = True
    judges_distance: bool = True
    may_lack: bool = False
    vocabulary: frozenset | None = None


@dataclasses.dataclass(frozen=True)
class Difference:
    """One respect in which served rows differ from those of training.

    Attributes:
        value: distance, or share of the served values or rows; of [0, 1].
        chance: largest distance, or difference of shares, that chance alone gives.
        is_beyond: whether the limit is passed, chance taken off.
        reason: what differs, in one line that goes on after the name of the column.
    """

    value: float
    chance: float
    is_beyond: bool
    reason: str


@dataclasses.dataclass(frozen=True)
class ColumnSkew:
    """A served column against training.

    Attributes:
        name: of the column.
        limit: of its rule.
        distance: L-infinity of strings, Jensen-Shannon divergence of numbers; None where it is not compared.
        outside: served values that training did not know; None where no value is served or none is known.
        missing: rows without a value.
    """

    name: str
    limit: float
    distance: Difference | None
    outside: Difference | None
    missing: Difference

    @property
    def reasons(self):
        """One line for each respect in which the column left its range; empty if it did not."""
        found = (self.distance, self.outside, self.missing)
        return tuple(f"{self.name} {each.reason}" for each in found if each is not None and each.is_beyond)


def compare_columns(batch, training, rules, resampling, training_rows="training"):
    """Compares served rows with the statistics of training rows.

    Args:
        batch: `pyarrow.RecordBatch` of served rows, lists as tfx_bsl decodes tf.Examples.
        training: `DatasetFeatureStatistics`.
        rules: `ColumnRule` by name; columns that training has.
        resampling: `pipeline.skew.chance.Resampling` of the rows.
        training_rows: what the training rows are called.

    Returns:
        List of `ColumnSkew`, in the order of the rules.
    """
    feature_by_name = statistics.by_name(training)
    columns = {name: _Column(batch, name, feature_by_name[name], rule, resampling) for name, rule in rules.items()}
    compared = {name: column for name, column in columns.items() if column.has_distance}
    served_by_name = statistics.by_name(statistics.statistics_of(batch).datasets[0])
    thresholds, aligned, served = {}, {}, {}
    for name, column in compared.items():
        thresholds[name] = column.threshold()
        aligned[name], served[name] = column.aligned(served_by_name[name])
    distances = statistics.tfdv_distances(aligned, served, thresholds) if compared else {}
    return [
        ColumnSkew(
            name,
            column.rule.limit,
            column.distance(*distances[name], training_rows) if name in distances else None,
            column.outside(training_rows),
            column.missing(training_rows),
        )
        for name, column in columns.items()
    ]


class _Column:
    """One column on both sides."""

    def __init__(self, batch, name, feature, rule, resampling):
        self.feature, self.rule, self._resampling = feature, rule, resampling
        self._num_rows = batch.num_rows
        self._values = statistics.values_of(batch, name)
        self._is_string = statistics.is_string(feature)
        # A type that training does not have is no value that training knows.
        self._is_other_type = self._values is not None and (self._values.values.dtype == object) != self._is_string
        self._binned = None
        if self._values is not None and not self._is_other_type:
            self._binned = (
                statistics.binned_strings(feature, self._values, rule.vocabulary)
                if self._is_string
                else statistics.binned_numbers(feature, self._values)
            )
        self.has_distance = rule.has_distance and self._binned is not None
        self._chance = 0.0
        if self.has_distance:
            distance_fn = l_infinity if self._is_string else jensen_shannon_distance
            self._chance = resampling.chance(self._values.rows, self._binned.bins, distance_fn)

    def threshold(self):
        """Distance that is beyond the limit whatever chance did; for a divergence its root is what adds up."""
        limit = self.rule.limit if self.rule.judges_distance else 1.0
        return limit + self._chance if self._is_string else (math.sqrt(limit) + self._chance) ** 2

    def aligned(self, served):
        """Statistics of training and of the served rows, so that TFDV counts both within the same bins."""
        if self._is_string:
            return self.feature, served
        edges = statistics.bucket_edges(self.feature)
        counts = np.bincount(self._binned.bins, minlength=len(edges) + 2)
        own = statistics.training_counts(self.feature, self._values.values, counts)
        return statistics.with_counts(self.feature, edges, own), statistics.with_counts(served, edges, counts)

    def distance(self, value, is_beyond, training_rows):
        chance, kind = (
            (self._chance, "L-infinity distance") if self._is_string else (self._chance**2, "Jensen-Shannon divergence")
        )
        reason = (
            f"is distributed differently than in {training_rows}: {kind} {value:.3f}, "
            f"at most {self.rule.limit:g} is allowed, and chance gives up to {chance:.3f}"
        )
        return Difference(value, chance, is_beyond, reason)

    def outside(self, training_rows):
        if self._is_other_type:
            kinds = ("strings", "numbers") if self._is_string else ("numbers", "strings")
            return Difference(1.0, 0.0, True, f"holds {kinds[1]}, and in {training_rows} {kinds[0]}")
        if self._binned is None:
            return None
        binned = self._binned
        chance = self._resampling.chance(self._values.rows, binned.is_outside.astype(int), l_infinity)
        served = float(binned.is_outside.mean())
        were = f", and {_percent(binned.training_outside)} there" if binned.training_outside else ""
        reason = f"has values beyond those of {training_rows}, {binned.known}: {_percent(served)} of the served ones{were}"
        return Difference(served, chance, served - binned.training_outside - chance > self.rule.limit, reason)

    def missing(self, training_rows):
        common = statistics.common_stats(self.feature)
        num_training = common.num_missing + common.num_non_missing
        before = common.num_missing / num_training if num_training else 1.0
        is_present = np.zeros(self._num_rows, bool)
        if self._values is not None:
            is_present[self._values.rows] = True
        served = 1 - float(is_present.mean())
        chance = self._resampling.chance(np.arange(self._num_rows), (~is_present).astype(int), l_infinity)
        reason = f"is missing from {_percent(served)} of the served rows, and from {_percent(before)} in {training_rows}"
        is_beyond = not self.rule.may_lack and abs(served - before) - chance > self.rule.limit
        return Difference(served, chance, is_beyond, reason)


def _percent(share):
    return f"{100 * share:.1f}%"
