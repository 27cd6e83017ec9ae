"""Offline comparison of two pushed versions on the same evaluation rows."""

import dataclasses
from pathlib import Path

import numpy as np

from data.schema import EVAL_SPLIT
from pipeline.config import CONFIG_FILE, Config
from pipeline.errors import VersionError
from pipeline.measuring import measure_task, obstacle
from pipeline.metadata import live_artifacts, newest_first, open_metadata
from pipeline.scoring import score


@dataclasses.dataclass(frozen=True)
class Comparison:
    """Two versions on the same rows.

    Attributes:
        differences: tuple of `pipeline.measuring.MeasureResult`s of B, with their change against A.
        undefined: lines that say which measure the rows do not define, and why.
        num_rows: evaluation rows.
        num_users: users among them, the unit of the bootstrap.
        ndcg_at: places of a list that counted for NDCG.
    """

    differences: tuple
    undefined: tuple
    num_rows: int
    num_users: int
    ndcg_at: int


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
        VersionError: If a version or the rows are missing, a version was trained on the days of the rows, or it lacks one of
            A's outputs or gives numbers that are not finite.
    """
    config_a, config_b = load_version_config(version_a), load_version_config(version_b)
    tasks = config_a.model.tasks
    folder = examples or newest_evaluation_rows(config_a)
    ndcg_at = config_a.evaluation.ndcg_at
    rows_a = score(version_a, folder, [task.label for task in tasks])
    rows_b = score(version_b, folder, [task.label for task in tasks])
    for version, config in ((version_a, config_a), (version_b, config_b)):
        _require_unseen(version, config, rows_a)
    for version, rows in ((version_a, rows_a), (version_b, rows_b)):
        for task in tasks:
            if reason := obstacle(rows, task.label):
                raise VersionError(f"{version} cannot be compared on {task.label}: {reason}")
    results = [result for task in tasks for result in measure_task(task, rows_b, rows_a, num_replicates, ndcg_at).values()]
    return Comparison(
        tuple(result for result in results if result.change is not None),
        tuple(f"{result.title}: {result.reason}" for result in results if result.change is None),
        len(rows_a.users),
        len(np.unique(rows_a.users)),
        ndcg_at,
    )


def _require_unseen(version, config, rows):
    eval_from = str(config.data.split.eval_from)
    if not rows.are_since(eval_from).all():
        first_day = min(rows.keys["day"]).decode()
        raise VersionError(
            f"{version} was trained on days before {eval_from}, but the evaluation rows begin on {first_day}; "
            "name rows that neither version has seen with --examples"
        )


def decide(differences):
    """Which version to keep, from intervals alone.

    Args:
        differences: `MeasureResult`s of B with their change against A.

    Returns:
        `Verdict`: B only if it is better somewhere and nowhere worse, beyond its interval; else A.
    """
    worse = [d.title for d in differences if d.is_worse]
    better = [d.title for d in differences if d.is_better]
    if worse:
        return Verdict("A", f"B is worse on {', '.join(worse)}")
    if better:
        return Verdict("B", f"B is better on {', '.join(better)} and worse on nothing")
    return Verdict("A", "no difference beyond its interval, so the version in service stays")
