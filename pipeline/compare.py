"""Offline comparison of two pushed versions on the same evaluation rows."""

import dataclasses
from pathlib import Path

import numpy as np

from data.schema import EVAL_SPLIT
from models.bootstrap import NUM_PAIRS, Difference, paired_difference
from models.errors import MetricError
from models.heads.config import GRADE, PROBABILITY, SECONDS
from models.measures.registry import MEASURES, statistic_of
from pipeline.config import CONFIG_FILE, Config
from pipeline.errors import VersionError
from pipeline.metadata import live_artifacts, newest_first, open_metadata
from pipeline.scoring import score


@dataclasses.dataclass(frozen=True)
class TaskDifference:
    """How a measure of one task differs between two versions.

    Attributes:
        label: of the task.
        measure: name, as in `models.metrics`.
        value_a: of version A on all rows.
        value_b: of version B on all rows.
        difference: B minus A with its 95% interval.
    """

    label: str
    measure: str
    value_a: float
    value_b: float
    difference: Difference

    @property
    def is_better(self):
        """Whether B is better than A beyond the interval."""
        return self.difference.low > 0 if self._higher_is_better else self.difference.high < 0

    @property
    def is_worse(self):
        """Whether B is worse than A beyond the interval."""
        return self.difference.high < 0 if self._higher_is_better else self.difference.low > 0

    @property
    def _higher_is_better(self):
        return MEASURES[self.measure].higher_is_better


@dataclasses.dataclass(frozen=True)
class Comparison:
    """Two versions on the same rows.

    Attributes:
        differences: tuple of `TaskDifference`.
        undefined: lines that say which measure the rows do not define, and why.
        num_rows: evaluation rows.
        num_users: users among them, the unit of the bootstrap.
    """

    differences: tuple
    undefined: tuple
    num_rows: int
    num_users: int


@dataclasses.dataclass(frozen=True)
class Verdict:
    """Which version to keep.

    Attributes:
        keeps: "A" or "B".
        reason: one line.
    """

    keeps: str
    reason: str


def load_version_config(version_folder):
    """Configuration with which a pushed version was trained.

    Args:
        version_folder: `<root>/models/<name>/<version>`.

    Returns:
        `Config`.

    Raises:
        VersionError: If the folder holds no model or no configuration.
    """
    folder = Path(version_folder)
    if not (folder / "saved_model.pb").exists():
        raise VersionError(f"no model in {folder}; versions lie in <root>/models/<name>/<number>")
    try:
        return Config.model_validate_json((folder / CONFIG_FILE).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise VersionError(f"{folder}: {CONFIG_FILE} is missing; it was not pushed by this pipeline") from None


def newest_evaluation_rows(config):
    """Folder of the evaluation rows that the job's last ingestion wrote.

    Args:
        config: `Config`.

    Returns:
        `Path`.

    Raises:
        VersionError: If the job's metadata knows none.
    """
    if not config.metadata_file.exists():
        raise VersionError(f"no run is recorded at {config.metadata_file}; name evaluation rows with --examples")
    store = open_metadata(config.metadata_file)
    live = [artifact for artifact in live_artifacts(store, "Examples") if "LogExampleGen" in artifact.uri]
    if not live:
        raise VersionError(f"{config.metadata_file} records no evaluation rows; name them with --examples")
    newest = newest_first(store, live)[0]
    return Path(newest.uri, f"Split-{EVAL_SPLIT}")


def compare(version_a, version_b, examples=None, num_replicates=1_000):
    """Scores two pushed versions on the same evaluation rows.

    Args:
        version_a: folder of the version in service.
        version_b: folder of its challenger.
        examples: folder of evaluation rows; None for those of A's last run.
        num_replicates: of the bootstrap by user.

    Returns:
        `Comparison` by task.

    Raises:
        VersionError: If a version or the rows are missing, or a version was trained on the days of the rows.
    """
    config_a, config_b = load_version_config(version_a), load_version_config(version_b)
    tasks = config_a.model.tasks
    folder = examples or newest_evaluation_rows(config_a)
    rows_a = score(version_a, folder, [task.label for task in tasks])
    rows_b = score(version_b, folder, [task.label for task in tasks])
    for version, config in ((version_a, config_a), (version_b, config_b)):
        _require_unseen(version, config, rows_a)
    differences, undefined = [], []
    for task in tasks:
        for measure in _MEASURES_BY_SERVED[task.head.serves]:
            try:
                differences.append(_difference(rows_a, rows_b, task.label, measure, num_replicates))
            except MetricError as error:
                undefined.append(f"{task.label} {measure}: {error}")
    users = rows_a.keys["user_id"]
    return Comparison(tuple(differences), tuple(undefined), len(users), len(np.unique(users)))


def _require_unseen(version, config, rows):
    first_day, eval_from = min(rows.keys["day"]).decode(), str(config.data.split.eval_from)
    if first_day < eval_from:
        raise VersionError(
            f"{version} was trained on days before {eval_from}, but the evaluation rows begin on {first_day}; "
            "name rows that neither version has seen with --examples"
        )


_MEASURES_BY_SERVED = {
    PROBABILITY: ("auc", "gauc", "log_loss"),
    GRADE: ("xauc", "ndcg", "log_loss"),
    SECONDS: ("xauc", "mean_absolute_error"),
}


def _difference(rows_a, rows_b, label, measure, num_replicates):
    truths, weights = rows_a.labels[label], rows_a.masks[label]
    predictions = [rows.predictions[label] for rows in (rows_a, rows_b)]
    keys = {"groups": rows_a.user_days, "lists": rows_a.lists}
    difference = paired_difference(
        measure, truths, *predictions, rows_a.keys["user_id"], num_replicates=num_replicates, weights=weights, **keys
    )
    # On the pairs of the bootstrap, so that the values differ by just the difference.
    values = [statistic_of(measure, truths, scores, weights, num_pairs=NUM_PAIRS, **keys).value for scores in predictions]
    return TaskDifference(label, measure, *values, difference)


def decide(differences):
    """Which version to keep, from intervals alone.

    Args:
        differences: `TaskDifference`s of B against A.

    Returns:
        `Verdict`: B only if it is better somewhere and nowhere worse, beyond its interval; else A.
    """
    worse = [f"{d.label} {d.measure}" for d in differences if d.is_worse]
    better = [f"{d.label} {d.measure}" for d in differences if d.is_better]
    if worse:
        return Verdict("A", f"B is worse on {', '.join(worse)}")
    if better:
        return Verdict("B", f"B is better on {', '.join(better)} and worse on nothing")
    return Verdict("A", "no difference beyond its interval, so the version in service stays")
