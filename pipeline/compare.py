"""Offline comparison of two pushed versions on the same evaluation rows."""

import dataclasses
from pathlib import Path

from ml_metadata import metadata_store
from ml_metadata.proto import metadata_store_pb2

from data.schema import EVAL_SPLIT
from pipeline.config import Config
from pipeline.errors import VersionError
from pipeline.trainer_module import CONFIG_FILE


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
    connection = metadata_store_pb2.ConnectionConfig()
    connection.sqlite.filename_uri = str(config.metadata_file)
    connection.sqlite.connection_mode = metadata_store_pb2.SqliteMetadataSourceConfig.READONLY
    artifacts = metadata_store.MetadataStore(connection).get_artifacts_by_type("Examples")
    live = [a for a in artifacts if a.state == metadata_store_pb2.Artifact.LIVE and "LogExampleGen" in a.uri]
    if not live:
        raise VersionError(f"{config.metadata_file} records no evaluation rows; name them with --examples")
    newest = max(live, key=lambda artifact: artifact.create_time_since_epoch)
    return Path(newest.uri, f"Split-{EVAL_SPLIT}")


def decide(differences):
    """Which version to keep, from intervals alone.

    Args:
        differences: `TaskDifference`s of B against A.

    Returns:
        `Verdict`: B only if it is better somewhere and nowhere worse, beyond its interval; else A.
    """
    worse = [str(d.name) for d in differences if d.is_worse]
    better = [str(d.name) for d in differences if d.is_better]
    if worse:
        return Verdict("A", f"B is worse on {', '.join(worse)}")
    if better:
        return Verdict("B", f"B is better on {', '.join(better)} and worse on nothing")
    return Verdict("A", "no difference beyond its interval, so the version in service stays")
