"""Measures of scored rows with bootstrap intervals by user, of one model or of two on the same rows."""

import dataclasses

import numpy as np

from models.bootstrap import Difference, Estimate, bootstrap_interval, paired_estimates
from models.errors import MetricError
from models.metrics import MEASURES, measures_of

TITLE_BY_MEASURE = {
    "auc": "AUC",
    "gauc": "GAUC",
    "xauc": "XAUC",
    "ndcg": "NDCG",
    "log_loss": "log loss",
    "normalised_entropy": "NE",
    "expected_calibration_error": "ECE",
    "mean_absolute_error": "MAE",
    "mean_absolute_error_seconds": "MAE, s",
}


@dataclasses.dataclass(frozen=True)
class MeasureResult:
    """A measure of one task, and how it changed against another model on the same rows.

    Attributes:
        label: of the task.
        name: key of `models.metrics.MEASURES`.
        estimate: value with its 95% interval; None where there is none.
        reason: why there is none; empty otherwise.
        before: the other model's value with its interval, on the rows that are compared; None without one to compare with.
        change: this model's value on the rows that are compared minus the other's, paired by user, with its 95% interval; where
            these are not all rows, it is not `estimate` minus `before`. None without one to compare with.
    """

    label: str
    name: str
    estimate: Estimate | None
    reason: str = ""
    before: Estimate | None = None
    change: Difference | None = None

    @property
    def value(self):
        """Value on the rows as they are, or None."""
        return self.estimate and self.estimate.estimate

    @property
    def title(self):
        """Label and short name, as "click AUC"."""
        return f"{self.label} {TITLE_BY_MEASURE[self.name]}"

    @property
    def higher_is_better(self):
        """Whether a larger value is a better one."""
        return MEASURES[self.name].higher_is_better

    @property
    def is_better(self):
        """Whether the change's whole interval is a gain."""
        return self.change is not None and (self.change.low > 0 if self.higher_is_better else self.change.high < 0)

    @property
    def is_worse(self):
        """Whether the change's whole interval is a loss."""
        return self.is_worse_by_more_than(0.0)

    def is_worse_by_more_than(self, tolerance):
        """Whether the change's whole interval is a loss beyond what is tolerated.

        Args:
            tolerance: in the measure's unit, at least 0.

        Returns:
            bool; False without a model to compare with.
        """
        if self.change is None:
            return False
        return self.change.high < -tolerance if self.higher_is_better else self.change.low > tolerance


def measure_task(task, rows, before, num_replicates, ndcg_at):
    """Every measure of a task.

    Args:
        task: `TaskConfig`.
        rows: `pipeline.scoring.ScoredRows`.
        before: the same rows as another model scores them; None for no comparison.
        num_replicates: of the bootstrap by user.
        ndcg_at: places of a list that count for NDCG.

    Returns:
        Dict from measure, those of `models.metrics.measures_of`, to `MeasureResult`; without a change where the other model
        cannot be compared with, as `obstacle` says.
    """
    label = task.label
    reason = obstacle(rows, label)
    if reason:
        return {name: MeasureResult(label, name, None, reason) for name in measures_of(task)}
    # The change is last minus first.
    compared = [rows] if before is None or obstacle(before, label) else [before, rows]
    return {name: _measure(label, name, compared, num_replicates, ndcg_at) for name in measures_of(task)}


def obstacle(rows, label):
    """Why a model's scores of a task cannot be measured.

    Args:
        rows: `ScoredRows`.
        label: of the task.

    Returns:
        Reason; empty where they can.
    """
    if label not in rows.predictions:
        return "the model has no such output"
    is_broken = ~np.isfinite(rows.predictions[label]) & (rows.masks[label] > 0)
    return f"{is_broken.sum():,} predictions are not finite" if is_broken.any() else ""


def _measure(label, name, compared, num_replicates, ndcg_at):
    rows = compared[-1]
    arguments = [rows.labels[label], *(each.predictions[label] for each in compared), rows.users, rows.user_days]
    options = {"num_replicates": num_replicates, "weights": rows.masks[label], "lists": rows.lists, "k": ndcg_at}
    try:
        if len(compared) == 1:
            return MeasureResult(label, name, bootstrap_interval(name, *arguments, **options))
        before, estimate, change = paired_estimates(name, *arguments, **options)
    except MetricError as error:
        return MeasureResult(label, name, None, str(error))
    return MeasureResult(label, name, estimate, before=before, change=change)
