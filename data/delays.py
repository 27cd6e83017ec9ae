"""How late labels come, and the weights with which rows train whose labels may still come.

A row that is seen before its window has closed is an observed negative that may turn positive. Its weight is the ratio of the
probability of its label in the end to the probability of its label as observed:

    observed positive:  1 / F(e)                    e: time from the impression to the watermark
    observed negative:  (1 - p) / (1 - p F(e))      F: share of the positives that have come after a time
                                                    p: share of positives in the end

F and p are those of rows whose window has closed, for each label one of each.

Assumed: delays and rates of young rows are those of old ones, and a delay does not depend on features; a positive stays
positive and is as old as its first signal; a watch time, once it has begun, is complete.

Reference:
    Yasui et al., "A Feedback Shift Correction in Predicting Conversion Rates under Delayed Feedback", WWW 2020: importance
    weights p(y | x) / p(observed y | x, e); there both factors are models of x, here constants of a label.
"""

import dataclasses

import numpy as np

from data.errors import DataError
from data.labels import KINDS, is_open, kind_codes, microseconds_of
from data.schema import CLICK, LABELS, WATCH_SECONDS, EngagementKind, mask_name, weight_name

# From a second to over a year, four to a doubling. Fixed, so that counts of any two runs add up.
DELAY_EDGES_SECONDS = tuple(float(edge) for edge in 2.0 ** np.arange(0, 25.25, 0.25))

# The weight of a positive of which 9 in 10 like it are still to come. Younger rows weigh nothing, whatever their label: to cut
# their weight instead would lower the rate, since only positives reach it.
MAX_WEIGHT = 10.0


class DelayEstimateError(DataError):
    """Logs in which no row is old enough to tell how late a label comes; the policy "mask" needs none."""


@dataclasses.dataclass(frozen=True)
class LabelDelays:
    """Closed rows of one label: those whose window had passed at the watermark and whose label is known.

    Attributes:
        num_closed: how many.
        histogram: how many of the positive ones had their first signal after at most `DELAY_EDGES_SECONDS[i]` and not after
            the edge before; one more number for later ones.
    """

    num_closed: int = 0
    histogram: tuple[int, ...] = (0,) * (len(DELAY_EDGES_SECONDS) + 1)

    @property
    def num_positive(self):
        """How many of the closed rows are positive.

        Returns:
            int.
        """
        return sum(self.histogram)

    def share_after(self, elapsed_seconds):
        """Share of the positives whose first signal came within a time, linear between the edges.

        Args:
            elapsed_seconds: (rows,) float.

        Returns:
            (rows,) float in [0, 1]; 0 up to 0 seconds.

        Raises:
            ZeroDivisionError: If no closed row is positive.
        """
        edges = np.array([0.0, *DELAY_EDGES_SECONDS])
        return np.interp(elapsed_seconds, edges, np.cumsum([0, *self.histogram[:-1]])) / self.num_positive


@dataclasses.dataclass(frozen=True)
class DelayCounts:
    """How late each label comes; counts of disjoint rows add up.

    Attributes:
        by_label: `LabelDelays` for each of `LABELS`.
    """

    by_label: dict[str, LabelDelays] = dataclasses.field(default_factory=lambda: {label: LabelDelays() for label in LABELS})

    def merge(self, other):
        """Counts of both.

        Args:
            other: `DelayCounts` of other rows.

        Returns:
            `DelayCounts`; `DelayCounts()` changes nothing.
        """
        return DelayCounts({label: _sum(self.by_label[label], other.by_label[label]) for label in LABELS})


def delay_counts(rows, events, config, watermark_us):
    """How late the labels of closed rows came.

    Args:
        rows: `pyarrow.Table` of labelled rows as in `data.attribution.Attribution`.
        events: `pyarrow.Table` of their engagements, likewise.
        config: `DataConfig`.
        watermark_us: until when the logs are complete, microseconds since 1970, UTC; None closes all rows.

    Returns:
        `DelayCounts`.
    """
    impressed_at_us = microseconds_of(rows["impressed_at"])
    row, engaged_at_us, codes = np.asarray(events["row"]), microseconds_of(events["engaged_at"]), kind_codes(events["kind"])
    by_label = {}
    for label in LABELS:
        is_closed = ~is_open(label, impressed_at_us, config, watermark_us) & (np.asarray(rows[mask_name(label)]) > 0)
        is_positive = is_closed & (np.asarray(rows[label]) > 0)
        is_signal = np.isin(codes, [KINDS.index(kind) for kind in _signals(label, config.satisfaction)])
        first_us = np.full(rows.num_rows, np.iinfo(np.int64).max)
        np.minimum.at(first_us, row[is_signal], engaged_at_us[is_signal])
        delay_seconds = (first_us[is_positive] - impressed_at_us[is_positive]) / 1e6
        places = np.searchsorted(DELAY_EDGES_SECONDS, delay_seconds)
        histogram = np.bincount(places, minlength=len(DELAY_EDGES_SECONDS) + 1)
        by_label[label] = LabelDelays(int(np.count_nonzero(is_closed)), tuple(histogram.tolist()))
    return DelayCounts(by_label)


def label_weights(rows, counts, config, watermark_us):
    """Weights that make up for the positives still to come.

    Args:
        rows: `pyarrow.Table` of labelled rows as in `data.attribution.Attribution`, under the policy "weight".
        counts: `DelayCounts` of all rows.
        config: `DataConfig`.
        watermark_us: until when the logs are complete, microseconds since 1970, UTC; None if they are for good.

    Returns:
        Dict by `weight_name` of (rows,) float32 in [0, `MAX_WEIGHT`]; 1 where the window has closed or the label is unknown,
        0 where fewer than 1 / `MAX_WEIGHT` of the positives have come at the age of the row.

    Raises:
        DelayEstimateError: If a label is open and no row is closed, or is positive and no closed row is.
    """
    impressed_at_us = microseconds_of(rows["impressed_at"])
    weights = {}
    for label in LABELS:
        weight = np.ones(rows.num_rows, np.float32)
        is_label_open = is_open(label, impressed_at_us, config, watermark_us) & (np.asarray(rows[mask_name(label)]) > 0)
        if is_label_open.any():
            elapsed_seconds = (watermark_us - impressed_at_us[is_label_open]) / 1e6
            is_positive = np.asarray(rows[label])[is_label_open] > 0
            weight[is_label_open] = _open_weights(label, counts.by_label[label], elapsed_seconds, is_positive)
        weights[weight_name(label)] = weight
    return weights


def _sum(one, other):
    histogram = tuple(a + b for a, b in zip(one.histogram, other.histogram, strict=True))
    return LabelDelays(one.num_closed + other.num_closed, histogram)


def _signals(label, satisfaction):
    """Kinds of engagements that can make a label positive."""
    if label == CLICK:
        return [EngagementKind.CLICK]
    if label == WATCH_SECONDS:
        return [EngagementKind.PLAY]
    signals = [kind for kind, weight in satisfaction.weights.items() if weight > 0]
    return [*signals, EngagementKind.SURVEY] if satisfaction.survey_weight else signals


def _open_weights(label, delays, elapsed_seconds, is_positive):
    """(open rows,) float weights."""
    if not delays.num_closed or (not delays.num_positive and is_positive.any()):
        raise DelayEstimateError(
            f"data.attribution.delayed = weight must find rows with {label} whose window had closed at the watermark, to learn "
            f"its delay from. Received: {delays.num_closed} closed rows, {delays.num_positive} of them positive"
        )
    if not delays.num_positive:
        # What never happens is not late: the weight of a negative is 1 for whatever F.
        return np.ones(len(elapsed_seconds))
    rate = delays.num_positive / delays.num_closed
    arrived = delays.share_after(elapsed_seconds)
    is_old_enough = arrived >= 1 / MAX_WEIGHT
    weights = np.zeros(len(arrived))
    np.divide(1.0, arrived, out=weights, where=is_old_enough & is_positive)
    # Where all closed rows are positive and all have come, a negative has no probability and no weight.
    can_be_negative = is_old_enough & ~is_positive & (rate * arrived < 1)
    np.divide(1 - rate, 1 - rate * arrived, out=weights, where=can_be_negative)
    return weights
