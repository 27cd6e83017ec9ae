"""Configuration of evaluation: what is measured by slice, and what a model must reach to be pushed."""

import itertools

import pyarrow as pa
import pydantic

from data.columns import aggregate_column, aggregate_entries
from data.config import FrozenConfig
from models.heads.config import GRADE, PROBABILITY, SECONDS
from models.measures.registry import measures_of

_MEASURE_BY_SERVED = {PROBABILITY: "auc", GRADE: "xauc", SECONDS: "xauc"}


class SliceConfig(FrozenConfig):
    """Rows that are measured apart, by the value of a column.

    Attributes:
        column: one value of which makes a slice; a column alone may be given as a string.
        entry: of a column of the past, the number in it by which rows are told apart, such as "impressions_7d"; None for a
            column with one value a row.
        edges: rising numbers that cut a numeric column into ranges, each with its lower edge; none for a slice a value.
    """

    column: str
    entry: str | None = None
    edges: tuple[float, ...] = ()

    @property
    def name(self):
        """The column's name, with that of the entry."""
        return self.column if self.entry is None else f"{self.column}.{self.entry}"

    @pydantic.model_validator(mode="before")
    @classmethod
    def _column_alone(cls, value):
        return {"column": value} if isinstance(value, str) else value

    @pydantic.model_validator(mode="after")
    def _edges_rise(self):
        if any(second <= first for first, second in itertools.pairwise(self.edges)):
            raise ValueError(f"edges must rise. Received: {list(self.edges)}")
        return self


class GateConfig(FrozenConfig):
    """What a task must reach.

    Attributes:
        measure: name in `models.metrics.MEASURES`, one of those of the task's head; None for "auc" of a probability, and "xauc"
            of a grade or of seconds.
        floor: worst value that passes; None for no floor.
        tolerance: by how much the measure may be worse than that of the model in service, in its own unit.
    """

    measure: str | None = None
    floor: float | None = None
    tolerance: float = pydantic.Field(0.0, ge=0)

    def measure_of(self, task):
        """Name of the measure by which a task is gated.

        Args:
            task: `TaskConfig`.

        Returns:
            Key of `models.metrics.MEASURES`.
        """
        return self.measure or _MEASURE_BY_SERVED[task.head.serves]


class EvaluationConfig(FrozenConfig):
    """What is measured, by slice too, and what a model must reach to be pushed.

    Attributes:
        slices: within whose rows every measure is also computed.
        gates: by label; a task without one is held to the model in service alone, by its default measure.
        replicates: of the bootstrap by user, for every interval.
        ndcg_at: places of a list that count for NDCG.
    """

    slices: tuple[SliceConfig, ...] = (SliceConfig(column="surface"),)
    gates: dict[str, GateConfig] = {}
    replicates: int = pydantic.Field(300, ge=100)
    ndcg_at: int = pydantic.Field(10, ge=1)

    def gate(self, label):
        """Gate of a task.

        Args:
            label: of the task.

        Returns:
            `GateConfig`.
        """
        return self.gates.get(label, GateConfig())


def check_gates(gates, tasks):
    """Refuses gates that do not fit the tasks.

    Args:
        gates: `EvaluationConfig.gates`.
        tasks: `TaskConfig`s.

    Raises:
        ValueError: If a gate's label is no task, or its measure none of the task's; names the key.
    """
    task_by_label = {task.label: task for task in tasks}
    for label, gate in gates.items():
        if label not in task_by_label:
            raise ValueError(f"evaluation.gates.{label} must be named as a task, one of {', '.join(task_by_label)}")
        known = measures_of(task_by_label[label])
        if gate.measure is not None and gate.measure not in known:
            raise ValueError(f"evaluation.gates.{label}.measure must be one of {', '.join(known)}. Received: {gate.measure}")


def check_slice(key, slice_, type_, data):
    """Refuses a slice that its column cannot be cut into.

    Args:
        key: dotted key of the slice.
        slice_: `SliceConfig`.
        type_: Arrow type of its column.
        data: `data.config.DataConfig`.

    Raises:
        ValueError: If the column holds several values a row and none is named, or edges and type do not fit; names the key.
    """
    entries = entries_of(slice_.column, data)
    if slice_.entry is not None and slice_.entry not in entries:
        allowed = f"one of {', '.join(entries)}" if entries else "absent: the column holds no numbers of the past"
        raise ValueError(f"{key}.entry must be {allowed}. Received: {slice_.entry}")
    if slice_.entry is None and pa.types.is_list(type_):
        wanted = "name an entry of its numbers" if entries else "be a column with one value a row"
        raise ValueError(f"{key} must {wanted}. Received: {slice_.column}")
    if slice_.edges and pa.types.is_string(type_):
        raise ValueError(f"{key}.edges must be absent for a column of strings. Received: {slice_.column}")
    # A fraction a value would make a slice a row.
    if not slice_.edges and (entries or pa.types.is_floating(type_)):
        raise ValueError(f"{key}.edges must be given for a column of fractions. Received: {slice_.name}")


def entries_of(column, data):
    """What the numbers of a column of the past are.

    Args:
        column: name.
        data: `data.config.DataConfig`.

    Returns:
        Tuple of names in the order of the numbers; empty for any other column.
    """
    aggregates = data.history.aggregates if data.history else ()
    return next((aggregate_entries(each) for each in aggregates if aggregate_column(each) == column), ())
