"""What a run is made of, as it stands while the run goes on: versions of libraries and of these sources."""

import importlib.metadata
import json
import platform
import subprocess
from pathlib import Path

_LIBRARIES = (
    "smalltowers", "tensorflow", "tf-keras", "tensorflow-recommenders", "tfx", "tensorflow-transform",
    "tensorflow-model-analysis", "apache-beam", "pyarrow", "numpy",
)  # fmt: skip


def library_versions():
    """Versions of what a run is computed by.

    Returns:
        Dict from name to version, Python first; without libraries that are not installed.
    """
    versions = {"python": platform.python_version()}
    for name in _LIBRARIES:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return versions


def source_commit(folder=Path(__file__).parent):
    """Git commit of these sources.

    Args:
        folder: of the sources.

    Returns:
        Short hash, with "and changes" where files differ from it; empty outside a repository or without git.
    """
    git = ["git", "-C", str(folder)]
    try:
        # The installed package may lie in an environment within a repository of someone else's.
        subprocess.run([*git, "ls-files", "--error-unmatch", "."], check=True, capture_output=True)
        commit = subprocess.run([*git, "rev-parse", "--short=12", "HEAD"], check=True, capture_output=True, text=True)
        changes = subprocess.run([*git, "status", "--porcelain", "-uno"], check=True, capture_output=True, text=True)
    except (OSError, subprocess.CalledProcessError):
        return ""
    return commit.stdout.strip() + (" and changes" if changes.stdout else "")


def write_origin(path):
    """Records versions and commit.

    Args:
        path: of the JSON file.
    """
    origin = {"commit": source_commit(), "versions": library_versions()}
    Path(path).write_text(json.dumps(origin, indent=2), encoding="utf-8")


def read_origin(path):
    """Versions and commit that were recorded.

    Args:
        path: of the JSON file.

    Returns:
        Pair of commit and dict of versions; both empty where nothing was recorded.
    """
    if not Path(path).exists():
        return "", {}
    origin = json.loads(Path(path).read_text(encoding="utf-8"))
    return origin["commit"], origin["versions"]
