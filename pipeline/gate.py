"""The gate: may a model go into service? Told by task, from floors and from the model in service."""

import dataclasses
from pathlib import Path

import numpy as np
import pydantic

from models.errors import MetricError
from models.heads.config import SECONDS
from models.measures.probability import ReliabilityBin, reliability_bins
from pipeline.measuring import MeasureResult, measure_task, obstacle

METRICS_FILE = "metrics.json"


@dataclasses.dataclass(frozen=True)
class GateResult:
    """What the gate says of one task.

    Attributes:
        measure: by which the task is gated.
        floor: worst value that passes; None for none.
        tolerance: by how much the measure may be worse than that of the model in service.
        blocks: one line for each reason to hold the model back; empty if the task passes.
        notes: one line for each thing that could not be judged.
    """

    measure: str
    floor: float | None
    tolerance: float
    blocks: tuple[str, ...]
    notes: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class TaskResult:
    """One task of a model on the evaluation rows.

    Attributes:
        label: of the task.
        serves: "probability", "grade" or "seconds".
        num_rows: rows with a known label.
        measures: by name.
        reliability: bins of equal mass, of probabilities and grades; empty for seconds and where nothing is measured.
        gate: what the gate says.
    """

    label: str
    serves: str
    num_rows: int
    measures: dict[str, MeasureResult]
    reliability: tuple[ReliabilityBin, ...]
    gate: GateResult


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """A model on the evaluation rows, and whether it may go into service.

    Attributes:
        tasks: one `TaskResult` a task, in the order of the configuration.
        num_rows: evaluation rows.
        num_users: users among them, the unit of the bootstrap.
        num_replicates: of the bootstrap.
        in_service: what the model was compared with, as "version 17"; empty for none.
        ndcg_at: places of a list that counted for NDCG.
        caveat: what limits the comparison with the model in service: that it has seen some or all of the rows, which are not
            compared then, or may have seen them, as its training days are unknown; empty for nothing.
    """

    tasks: tuple[TaskResult, ...]
    num_rows: int
    num_users: int
    num_replicates: int
    in_service: str
    ndcg_at: int
    caveat: str = ""

    @property
    def is_blessed(self):
        """Whether no task holds the model back."""
        return not self.blocks

    @property
    def blocks(self):
        """Lines that say why the model is held back; empty if it is not."""
        return tuple(line for task in self.tasks for line in task.gate.blocks)

    @property
    def notes(self):
        """Lines that say what could not be judged."""
        of_tasks = (line for task in self.tasks for line in task.gate.notes)
        return (self.caveat, *of_tasks) if self.caveat else tuple(of_tasks)

    @property
    def is_compared_throughout(self):
        """Whether all rows were compared with a model in service that has seen none of them."""
        return bool(self.in_service) and not self.caveat

    def task(self, label):
        """One task.

        Args:
            label: of the task.

        Returns:
            `TaskResult`.
        """
        return next(task for task in self.tasks if task.label == label)


def evaluate_candidate(candidate, in_service, tasks, evaluation):
    """Measures a model by task and judges it.

    A task is held back where its measure is worse than its floor, where the 95% interval of the paired change against the model
    in service lies wholly beyond what is tolerated, and where nothing can be measured although there is a floor.

    No correction is made for several tasks: a model just as good as the one in service is held back by chance in 2 to 3% of
    cases a task (measured on 1,400 simulated ones), so in up to 9% for three. That costs a training run; a gate that is the
    laxer the more tasks there are would cost the users.

    What the model in service was trained on it scores better than what it will meet: changes are measured on the days that it
    has not seen. Where none of these rows is of such a day, floors alone count.

    Args:
        candidate: `ScoredRows` of the model.
        in_service: `pipeline.scoring.InService` on the same rows; None for none.
        tasks: `TaskConfig`s.
        evaluation: `EvaluationConfig`.

    Returns:
        `Evaluation`.
    """
    is_compared, caveat = _comparable(candidate, in_service)
    before = in_service.rows.where(is_compared) if is_compared.any() else None
    name = in_service.name if is_compared.any() else ""
    results = []
    for task in tasks:
        label = task.label
        measures, without_change = _measured(task, candidate, before, is_compared, evaluation)
        fault = obstacle(candidate, label)
        gate = judge(task, measures, evaluation.gate(label), name, fault)
        # Rows without a known label are served like all others.
        if not fault and (num_broken := np.count_nonzero(~np.isfinite(candidate.predictions[label]))):
            line = f"{label}: {num_broken:,} predictions of rows without a known label are not finite"
            gate = dataclasses.replace(gate, blocks=(line, *gate.blocks))
        reason = (before and obstacle(before, label)) or without_change.get(gate.measure)
        if reason:
            gate = dataclasses.replace(gate, notes=(f"{label} is not compared with {name}: {reason}", *gate.notes))
        if in_service and _is_unjudged(measures[gate.measure], gate):
            line = f"{label} passed unjudged: it has no floor, and no change against {in_service.name} was measured"
            gate = dataclasses.replace(gate, notes=(*gate.notes, line))
        num_rows = int(np.count_nonzero(candidate.masks[label] > 0))
        reliability = () if fault else _reliability(task, candidate)
        results.append(TaskResult(label, task.head.serves, num_rows, measures, reliability, gate))
    num_rows, num_users = len(candidate.users), len(np.unique(candidate.users))
    return Evaluation(tuple(results), num_rows, num_users, evaluation.replicates, name, evaluation.ndcg_at, caveat)


def _comparable(candidate, in_service):
    """(rows,) bool, which rows count for the comparison with the model in service, and what is to be said of the others."""
    is_any = np.ones(len(candidate.users), bool)
    if in_service is None:
        return ~is_any, ""
    name, first_day = in_service.name, in_service.unseen_from
    if first_day is None:
        return is_any, f"on which days {name} was trained is not known: of rows that it has seen, changes speak for it"
    is_unseen = candidate.are_since(first_day)
    if is_unseen.all():
        return is_unseen, ""
    if is_unseen.any():
        return is_unseen, f"changes, and the values of {name}, are of the rows from {first_day} on, which it has not seen"
    return is_unseen, f"no comparison with {name}: all these rows are of days before {first_day}, up to which it was trained"


def _is_unjudged(result, gate):
    # Of a measure that is not defined there is a note already.
    return result.value is not None and gate.floor is None and result.change is None and not gate.blocks


def _measured(task, candidate, before, is_compared, evaluation):
    """`MeasureResult` by name, values of all rows and changes of those that are compared; and why these define no change."""
    options = (evaluation.replicates, evaluation.ndcg_at)
    if before is None or is_compared.all():
        return measure_task(task, candidate, before, *options), {}
    found = measure_task(task, candidate, None, *options)
    compared = measure_task(task, candidate.where(is_compared), before, *options)
    changed = {
        name: dataclasses.replace(result, before=compared[name].before, change=compared[name].change)
        for name, result in found.items()
    }
    return changed, {name: result.reason for name, result in compared.items() if found[name].estimate}


def judge(task, measures, gate, in_service_name="", fault=""):
    """What the gate says of a task's measures.

    Args:
        task: `TaskConfig`.
        measures: `MeasureResult` by name.
        gate: `GateConfig`.
        in_service_name: of what the measures were compared with, as "version 17"; empty for none.
        fault: why the model's scores cannot be measured; empty where they can.

    Returns:
        `GateResult`; a model at fault is held back with or without a floor.
    """
    result = measures[gate.measure_of(task)]
    blocks, notes = [], []
    if result.value is None:
        line = f"{result.title} is not defined: {result.reason}"
        if gate.floor is not None:
            line += f", and its floor is {gate.floor:g}"
        (blocks if fault or gate.floor is not None else notes).append(line)
    elif gate.floor is not None and _misses(result, gate.floor):
        limit = "floor" if result.higher_is_better else "ceiling"
        blocks.append(f"{result.title} is {_with_interval(result.estimate)}, the {limit} is {gate.floor:g}")
    if result.is_worse_by_more_than(gate.tolerance):
        verb = "fell" if result.higher_is_better else "rose"
        tolerated = f"; {gate.tolerance:g} is tolerated" if gate.tolerance else ""
        blocks.append(
            f"{result.title} {verb} by {_with_interval(_loss(result))} against the model in service, "
            f"{in_service_name}{tolerated}"
        )
    return GateResult(result.name, gate.floor, gate.tolerance, tuple(blocks), tuple(notes))


def _misses(result, floor):
    return result.value < floor if result.higher_is_better else result.value > floor


def _loss(result):
    """The change in the bad direction."""
    change = result.change
    if not result.higher_is_better:
        return change
    return dataclasses.replace(change, estimate=-change.estimate, low=-change.high, high=-change.low)


def _with_interval(estimate):
    return f"{estimate.estimate:.4f} ({estimate.low:.4f} to {estimate.high:.4f})"


def _reliability(task, rows):
    if task.head.serves == SECONDS:
        return ()
    columns = rows.labels[task.label], rows.predictions[task.label]
    try:
        return reliability_bins(*columns, weights=rows.masks[task.label])
    except MetricError:
        # No label of the task is known; its measures say so.
        return ()


_EVALUATION = pydantic.TypeAdapter(Evaluation)


def write_evaluation(evaluation, folder):
    """Writes `metrics.json`.

    Args:
        evaluation: `Evaluation`.
        folder: of the artifact.
    """
    Path(folder, METRICS_FILE).write_bytes(_EVALUATION.dump_json(evaluation, indent=2))


def read_evaluation(folder):
    """What the gate wrote.

    Args:
        folder: of the artifact.

    Returns:
        `Evaluation`.
    """
    return _EVALUATION.validate_json(Path(folder, METRICS_FILE).read_bytes())
