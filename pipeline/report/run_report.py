"""What a run's page tells: one typed tree, whatever it was read from."""

import dataclasses
import datetime

import pyarrow as pa

from data.counts import Counts
from models.history import History
from models.measures.probability import ReliabilityBin
from pipeline.config import Config
from pipeline.gate import Evaluation

PUSHED, HELD_BACK, STOPPED = "pushed", "held back", "stopped"


@dataclasses.dataclass(frozen=True)
class Verdict:
    """How a run ended.

    Attributes:
        state: `PUSHED`, `HELD_BACK` or `STOPPED`.
        version: that was pushed; empty for none.
        folder: of the pushed version; empty for none.
        reasons: why nothing was pushed, one line each.
        notes: what did not stop the push and should be known, one line each.
    """

    state: str
    version: str = ""
    folder: str = ""
    reasons: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def title(self):
        """The verdict in a few words."""
        if self.state == PUSHED:
            return f"Pushed as version {self.version}"
        return "Not pushed" if self.state == HELD_BACK else "Stopped before the end"


@dataclasses.dataclass(frozen=True)
class Output:
    """One artifact that a component gave out.

    Attributes:
        key: its name among the component's outputs.
        artifact_id: in ML Metadata.
        uri: where it lies.
    """

    key: str
    artifact_id: int
    uri: str


@dataclasses.dataclass(frozen=True)
class Component:
    """One component of a run.

    Attributes:
        name: its id in the graph.
        state: "done", "cached", or what else ML Metadata says, as "failed".
        execution_id: in ML Metadata.
        seconds: wall time.
        outputs: `Output`s.
    """

    name: str
    state: str
    execution_id: int
    seconds: float
    outputs: tuple[Output, ...]


@dataclasses.dataclass(frozen=True)
class Origin:
    """What a run was made of.

    Attributes:
        run_id: in ML Metadata.
        fingerprint: of input files and of this project's sources that read them.
        commit: of the sources; empty where they are not in a repository.
        versions: of libraries by name.
    """

    run_id: str
    fingerprint: str
    commit: str
    versions: dict[str, str]


@dataclasses.dataclass(frozen=True)
class RunReport:
    """All that the page of a run tells. What the run did not come to is None or empty.

    Attributes:
        config: `Config` that it ran with.
        started_at: UTC.
        seconds: from the first component's start to the last one's end.
        verdict: `Verdict`.
        components: in the order in which they ran.
        origin: `Origin`.
        counts: fates of all records.
        labels: table of `data.report.LABEL_COUNTS_SCHEMA`.
        previous_labels: of the run before; None where there was none.
        anomalies: of the data, one line each.
        history: of the training.
        evaluation: by the gate.
        slices: `pipeline.evaluation.SliceResult`s, all rows first.
        uncalibrated: by label, reliability on the evaluation rows before calibration, of the tasks that are calibrated.
        tuned: values that the search found, by dotted key.
    """

    config: Config
    started_at: datetime.datetime
    seconds: float
    verdict: Verdict
    components: tuple[Component, ...]
    origin: Origin
    counts: Counts | None = None
    labels: pa.Table | None = None
    previous_labels: pa.Table | None = None
    anomalies: tuple[str, ...] = ()
    history: History | None = None
    evaluation: Evaluation | None = None
    slices: tuple = ()
    uncalibrated: dict[str, tuple[ReliabilityBin, ...]] = dataclasses.field(default_factory=dict)
    tuned: dict[str, float | int | str] = dataclasses.field(default_factory=dict)
