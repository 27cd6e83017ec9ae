"""Every measure by its name, as a statistic of rows."""

import dataclasses
from collections.abc import Callable

from models.heads.config import GRADE, PROBABILITY, SECONDS
from models.measures import probability, ranking, regression
from models.measures.rows import weighted_rows

NO_ROW = "no row has a known label"


@dataclasses.dataclass(frozen=True)
class Measure:
    """A measure of labels and predictions.

    Attributes:
        statistic_fn: from `Rows` and `options` to a `Statistic`.
        higher_is_better: whether a larger value is a better one.
        undefined: why rows with a known label may not define it.
        keys: which groups of rows it needs, "groups" or "lists"; None for none.
        options: names of keyword arguments of `statistic_fn` that callers may set.
    """

    statistic_fn: Callable
    higher_is_better: bool = False
    undefined: str = NO_ROW
    keys: str | None = None
    options: tuple[str, ...] = ()


_MEAN_ABSOLUTE_ERROR = Measure(regression.mean_absolute_error_statistic)
MEASURES = {
    "auc": Measure(ranking.auc_statistic, higher_is_better=True, undefined=ranking.ONE_CLASS),
    "gauc": Measure(ranking.gauc_statistic, higher_is_better=True, undefined=ranking.NO_GROUP, keys="groups"),
    "ndcg": Measure(ranking.ndcg_statistic, higher_is_better=True, undefined=ranking.NO_GAIN, keys="lists", options=("k",)),
    "xauc": Measure(regression.xauc_statistic, higher_is_better=True, undefined=regression.NO_PAIR, options=("seed",)),
    "log_loss": Measure(probability.log_loss_statistic),
    "normalised_entropy": Measure(probability.normalised_entropy_statistic, undefined=ranking.ONE_CLASS),
    "expected_calibration_error": Measure(probability.expected_calibration_error_statistic),
    "mean_absolute_error": _MEAN_ABSOLUTE_ERROR,
    "mean_absolute_error_seconds": _MEAN_ABSOLUTE_ERROR,
}
_NAMES_BY_SERVED = {
    PROBABILITY: ("auc", "gauc", "log_loss", "normalised_entropy", "expected_calibration_error", "ndcg"),
    GRADE: ("mean_absolute_error", "xauc", "ndcg", "log_loss"),
    SECONDS: ("mean_absolute_error_seconds", "xauc"),
}


def measures_of(task):
    """Names of the measures by which a task is judged.

    Args:
        task: `TaskConfig`.

    Returns:
        Tuple of keys of `MEASURES`.
    """
    return _NAMES_BY_SERVED[task.head.serves]


def ungrouped_measures(task):
    """Names of the measures of a task that need no user, day or request: transformed rows know none of them.

    Args:
        task: `TaskConfig`.

    Returns:
        Tuple of keys of `MEASURES`.
    """
    return tuple(name for name in measures_of(task) if MEASURES[name].keys is None)


def stopping_names(tasks):
    """Names by which a training may be stopped, and trials of a search be compared.

    Args:
        tasks: `TaskConfig`s.

    Returns:
        Tuple of "loss" and "<label> <measure>".
    """
    return ("loss", *(f"{task.label} {name}" for task in tasks for name in ungrouped_measures(task)))


def require_stopping_name(key, measure, tasks):
    """Refuses a measure that a training cannot be stopped by.

    Args:
        key: dotted key of the measure, for the message.
        measure: "loss", or a task's label and a measure.
        tasks: `TaskConfig`s.

    Raises:
        ValueError: If it is another one; names the key and the measures there are.
    """
    names, asked = stopping_names(tasks), MEASURES.get(measure.partition(" ")[2])
    if measure not in names:
        gate_only = (
            " (gauc and ndcg are the gate's: they go by user, day and request, which the rows of a training do not name)"
        )
        raise ValueError(
            f"{key} must be one of {', '.join(names)}{gate_only if asked and asked.keys else ''}. Received: {measure}"
        )


def statistic_of(name, truths, predictions, weights=None, *, groups=None, lists=None, k=10, seed=0):
    """A measure of these rows as a statistic.

    Args:
        name: key of `MEASURES`.
        truths: (rows,) labels, grades or seconds; anything where the weight is 0.
        predictions: (rows,) served values, in the unit of the truths.
        weights: (rows,) of at least 0; None for 1.
        groups: (rows,) keys of user and day, of "gauc" alone.
        lists: (rows,) keys of what was ranked together, of "ndcg" alone.
        k: places of a list that count for "ndcg".
        seed: of the random pairs behind the replicates of "xauc".

    Returns:
        `Statistic`.

    Raises:
        ValueError: If the measure is unknown or lacks its groups or lists, or rows do not fit together.
        MetricError: If no row has weight.
    """
    if name not in MEASURES:
        raise ValueError(f"measure must be one of {', '.join(MEASURES)}. Received: {name}")
    measure = MEASURES[name]
    keys = {"groups": groups, "lists": lists, None: None}[measure.keys]
    if measure.keys is not None and keys is None:
        raise ValueError(f"{measure.keys} must be given for {name}. Received: {measure.keys}=None")
    options = {"k": k, "seed": seed}
    rows = weighted_rows(truths, predictions, weights, keys)
    return measure.statistic_fn(rows, **{option: options[option] for option in measure.options})
