"""Paired gains: how every measure changes from one ranker to another, with intervals, as figures and as tables."""

import dataclasses
import math
import statistics

import numpy as np
import scipy.stats

from benchmarks.figures import Figure, markdown_table
from models.bootstrap import paired_difference
from models.metrics import evaluate

CLICK_AUC_GAIN = 0.015
_MEASURES = ("auc", "gauc", "log_loss", "expected_calibration_error", "xauc", "mean_absolute_error_seconds")


@dataclasses.dataclass(frozen=True)
class Gain:
    """How a measure of a task changes from one ranker to another, trained with the same seeds.

    Attributes:
        label: of the task.
        measure: as in `models.metrics.evaluate`.
        before: of the first ranker, mean over seeds.
        after: of the second ranker, mean over seeds.
        by_seed: tuple of differences, second minus first.
        low: lower end of the 95% interval of the mean difference.
        high: upper end.
    """

    label: str
    measure: str
    before: float
    after: float
    by_seed: tuple
    low: float
    high: float

    @property
    def mean(self):
        """Mean difference over seeds."""
        return statistics.fmean(self.by_seed)


def gains(before, after, tasks, num_replicates):
    """Gain of every measure of every task.

    Args:
        before: list of `pipeline.scoring.ScoredRows` of the first ranker, one a seed.
        after: the same rows of the second ranker, with the same seeds.
        tasks: `TaskConfig`s.
        num_replicates: of the bootstrap by user.

    Returns:
        List of `Gain`.

    Raises:
        ValueError: If there are fewer than two seeds, or not the same number of both, or the rows differ.
    """
    if len(before) != len(after) or len(before) < 2:
        raise ValueError(f"both rankers must have the same two or more seeds. Received: {len(before)} and {len(after)}")
    for first, second in zip(before, after, strict=True):
        if not all(np.array_equal(first.keys[name], second.keys[name]) for name in first.keys):
            raise ValueError("both rankers must be scored on the same rows in the same order. Received: other rows")
    values_before, values_after = ([_values(rows, tasks) for rows in scored] for scored in (before, after))
    found = []
    for label, measure in values_before[0]:
        of_first, of_second = ([values[label, measure] for values in each] for each in (values_before, values_after))
        by_seed = tuple(second - first for first, second in zip(of_first, of_second, strict=True))
        low, high = interval(by_seed, *_row_margins(before, after, label, measure, num_replicates))
        found.append(Gain(label, measure, statistics.fmean(of_first), statistics.fmean(of_second), by_seed, low, high))
    return found


def interval(by_seed, rows_below=0.0, rows_above=0.0):
    """95% interval of a mean over seeds that counts what other seeds and what other users would change.

    The two are independent, so their margins add as squares: that of a t interval over seeds, and that of a bootstrap by user.

    Args:
        by_seed: values by seed, at least two.
        rows_below: margin below from the bootstrap, at least 0.
        rows_above: margin above, at least 0.

    Returns:
        Pair (low, high).
    """
    mean = statistics.fmean(by_seed)
    of_seeds = scipy.stats.t.ppf(0.975, len(by_seed) - 1) * statistics.stdev(by_seed) / math.sqrt(len(by_seed))
    return mean - math.hypot(of_seeds, rows_below), mean + math.hypot(of_seeds, rows_above)


def _values(rows, tasks):
    """Value by label and measure, of the measures that are reported."""
    metrics = evaluate(rows.labels, rows.masks, rows.predictions, rows.user_days, tasks)
    return {
        (label, measure): metric.value
        for label, by_measure in metrics.items()
        for measure, metric in by_measure.items()
        if measure in _MEASURES
    }


def _row_margins(before, after, label, measure, num_replicates):
    """How far other users would move the gain of the seeds' mean scores, down and up."""
    rows = before[0]
    first, second = (np.mean([each.predictions[label] for each in scored], axis=0) for scored in (before, after))
    difference = paired_difference(
        measure,
        rows.labels[label],
        first,
        second,
        rows.keys["user_id"],
        rows.user_days,
        num_replicates,
        weights=rows.masks[label],
    )
    return max(difference.estimate - difference.low, 0.0), max(difference.high - difference.estimate, 0.0)


def gain_figures(title, found, click_auc_target=None):
    """Figures of one comparison.

    Args:
        title: what changes from the first ranker to the second.
        found: `Gain`s.
        click_auc_target: least gain of the click's AUC that is hoped for; None for no target.

    Returns:
        Dict from name to `Figure`: both means, the gain with the range of the seeds, and the ends of its 95% interval.
    """
    figures = {}
    for gain in found:
        name, unit = f"{title}: {gain.label} {gain.measure}", "s" if gain.measure.endswith("_seconds") else ""
        target = click_auc_target if (gain.label, gain.measure) == ("click", "auc") else None
        figures |= {
            f"{name}, before": Figure(gain.before, unit),
            f"{name}, after": Figure(gain.after, unit),
            f"{name}, gain": Figure(gain.mean, unit, target, None, min(gain.by_seed), max(gain.by_seed), len(gain.by_seed)),
            f"{name}, gain at least": Figure(gain.low, unit),
            f"{name}, gain at most": Figure(gain.high, unit),
        }
    return figures


def gain_rows(found):
    """Gains as texts for a table.

    Args:
        found: `Gain`s.

    Returns:
        List of lists: task, measure, before, after, gain, 95% interval.
    """
    return [
        [
            gain.label.replace("_", " "),
            gain.measure.replace("_", " "),
            f"{gain.before:.4f}",
            f"{gain.after:.4f}",
            f"{gain.mean:+.4f}",
            f"{gain.low:+.4f} to {gain.high:+.4f}",
        ]
        for gain in found
    ]


def gain_table(found, before, after):
    """Gains as a table in Markdown.

    Args:
        found: `Gain`s.
        before: heading of the first ranker.
        after: heading of the second ranker.

    Returns:
        Text without a final newline.
    """
    return markdown_table(["task", "measure", before, after, "gain", "95% interval"], gain_rows(found))
