"""The study's scores as figures and tables: every measure of every ranker, what small towers and an older past change."""

import dataclasses
import statistics

import numpy as np

from benchmarks.figures import Figure, markdown_table
from benchmarks.gains import gain_table, gains, interval
from benchmarks.kuairand.study import OLDER, TUNED
from models.bootstrap import bootstrap_interval
from models.metrics import evaluate

# Least value of the configured ranker by task and measure.
TARGETS = {
    ("click", "auc"): 0.740,
    ("click", "gauc"): 0.625,
    ("satisfaction", "auc"): 0.740,
    ("watch_seconds", "xauc"): 0.688,
}
# Calibration error after calibration over that before, of the click.
MAX_CALIBRATION_RATIO = 0.5

_COLUMNS = {
    ("click", "auc"): "click AUC",
    ("click", "gauc"): "click GAUC",
    ("click", "log_loss"): "click log loss",
    ("click", "expected_calibration_error"): "click ECE",
    ("satisfaction", "auc"): "satisfaction AUC",
    ("satisfaction", "log_loss"): "satisfaction log loss",
    ("watch_seconds", "xauc"): "watch XAUC",
    ("watch_seconds", "mean_absolute_error_seconds"): "watch MAE, s",
}


@dataclasses.dataclass(frozen=True)
class Value:
    """A measure of a ranker.

    Attributes:
        mean: over seeds.
        by_seed: tuple.
        low: lower end of the 95% interval, which counts what other seeds and other users would change.
        high: upper end.
    """

    mean: float
    by_seed: tuple
    low: float
    high: float


def values_of(scored, tasks, num_replicates):
    """Measures of one ranker.

    Args:
        scored: list of `pipeline.scoring.ScoredRows`, one a seed.
        tasks: `TaskConfig`s.
        num_replicates: of the bootstrap by user.

    Returns:
        Dict from (label, measure) to `Value`.
    """
    rows = scored[0]
    by_seed = [
        evaluate(each.labels, each.masks, each.predictions, each.user_days, tasks, each.keys["request_id"]) for each in scored
    ]
    found = {}
    for label, measure in _COLUMNS:
        values = tuple(metrics[label][measure].value for metrics in by_seed)
        estimate = bootstrap_interval(
            measure,
            rows.labels[label],
            np.mean([each.predictions[label] for each in scored], axis=0),
            rows.keys["user_id"],
            rows.user_days,
            num_replicates,
            weights=rows.masks[label],
        )
        margins = estimate.estimate - estimate.low, estimate.high - estimate.estimate
        low, high = interval(values, *(max(margin, 0.0) for margin in margins))
        found[label, measure] = Value(statistics.fmean(values), values, low, high)
    return found


def figures_of(values_by_name, plain, tuned):
    """Figures of all rankers, and of the configured one's calibration.

    Args:
        values_by_name: by name of a ranker, what `values_of` gives.
        plain: what `values_of` gives for the configured ranker without calibration.
        tuned: the same with calibration.

    Returns:
        Dict from name to `Figure`.
    """
    figures = {}
    for name, values in values_by_name.items():
        for (label, measure), value in values.items():
            title, unit = f"{name}: {label} {measure}", "s" if measure.endswith("_seconds") else ""
            target = TARGETS.get((label, measure)) if name == TUNED else None
            figures[title] = Figure(value.mean, unit, target, None, min(value.by_seed), max(value.by_seed), len(value.by_seed))
            figures[f"{title}, at least"] = Figure(value.low, unit)
            figures[f"{title}, at most"] = Figure(value.high, unit)
    key = ("click", "expected_calibration_error")
    figures["click calibration error before calibration"] = Figure(plain[key].mean, "")
    ratio = tuned[key].mean / plain[key].mean
    figures["click calibration error, after over before"] = Figure(ratio, "", None, MAX_CALIBRATION_RATIO)
    return figures


@dataclasses.dataclass(frozen=True)
class Comparison:
    """Two rankers of the study.

    Attributes:
        title: above the table.
        before: name of the first ranker.
        after: name of the second one.
        before_label: heading of the first one's column.
        after_label: heading of the second one's column.
    """

    title: str
    before: str
    after: str
    before_label: str
    after_label: str


def comparisons(names, bodies):
    """Rankers to compare: each body without and with small towers, and the ranker as configured with an older past.

    Args:
        names: of the rankers that were scored.
        bodies: names of the bodies among them.

    Returns:
        List of `Comparison`.
    """
    of_towers = [
        Comparison(f"Small towers behind {body}", body, f"{body} + small towers", "without", "with") for body in bodies
    ]
    of_age = [Comparison(_sentence(name), TUNED, name, TUNED, "older past") for name in OLDER if name in names]
    return [*of_towers, *of_age]


def gains_of(scored, bodies, tasks, num_replicates):
    """What small towers and an older past change, seed by seed.

    Args:
        scored: what `benchmarks.kuairand.study.study` gives.
        bodies: names of the bodies in it.
        tasks: `TaskConfig`s.
        num_replicates: of the bootstrap by user.

    Returns:
        Dict from `Comparison` to list of `benchmarks.gains.Gain`.
    """
    served = {name: [each.served for each in runs] for name, runs in scored.items()}
    return {each: gains(served[each.before], served[each.after], tasks, num_replicates) for each in comparisons(scored, bodies)}


def page_text(figures, values_by_name, gains_by_comparison):
    """Tables in Markdown: every ranker, the targets of the configured one, what small towers and an older past change.

    Args:
        figures: what `figures_of` gives.
        values_by_name: by name of a ranker, what `values_of` gives.
        gains_by_comparison: what `gains_of` gives.

    Returns:
        Text.
    """
    rows = [
        [name, *(_cell(measure, values[label, measure]) for label, measure in _COLUMNS)]
        for name, values in values_by_name.items()
    ]
    tables = [markdown_table(["ranker", *_COLUMNS.values()], rows)]
    aimed = {name: figure for name, figure in figures.items() if figure.target}
    rows = [[name, f"{figure.value:.4f}", figure.target, "yes" if figure.holds else "no"] for name, figure in aimed.items()]
    tables.append(markdown_table(["figure", "value", "target", "holds"], rows))
    for each, found in gains_by_comparison.items():
        tables.append(f"{each.title}:\n\n{gain_table(found, each.before_label, each.after_label)}")
    return "\n\n".join(tables)


def _sentence(name):
    return name[0].upper() + name[1:]


def _cell(measure, value):
    digits = 2 if measure.endswith("_seconds") else 4
    return f"{value.mean:.{digits}f} ({value.low:.{digits}f} to {value.high:.{digits}f})"
