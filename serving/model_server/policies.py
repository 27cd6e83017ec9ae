"""Which of the versions in a folder are wanted, and whether their files are complete. Knows no TensorFlow."""

import contextlib
import dataclasses
import pathlib
import time

MAX_VERSION_NUMBER = (1 << 63) - 1  # the protocol's int64


@dataclasses.dataclass(frozen=True)
class VersionPolicy:
    """Which versions are served, as in TF Serving.

    Attributes:
        num_latest: how many of the newest that load; None for no such limit.
        specific: the only numbers to serve; None for any.
    """

    num_latest: int | None = 1
    specific: frozenset | None = None

    def candidates(self, numbers):
        """Version numbers that may be served, newest first.

        Args:
            numbers: of the versions that there are.

        Returns:
            List; of a policy of the latest all, because one that does not load gives way to the next.
        """
        return sorted((number for number in numbers if self.specific is None or number in self.specific), reverse=True)

    def is_met(self, num_served):
        """Whether no further version is wanted.

        Args:
            num_served: versions that are served.

        Returns:
            bool.
        """
        return self.num_latest is not None and num_served >= self.num_latest


def version_folders(base_path):
    """The versions below a folder.

    Args:
        base_path: folder of a model.

    Returns:
        Dict from version number to path; other names are no versions. Empty if there is no such folder.
    """
    base_path = pathlib.Path(base_path)
    if not base_path.is_dir():
        return {}
    paths = [path for path in base_path.iterdir() if path.name.isascii() and path.name.isdecimal() and path.is_dir()]
    return {int(path.name): path for path in sorted(paths) if int(path.name) <= MAX_VERSION_NUMBER}


def fingerprint(folder):
    """Files of a version folder, so that a change is seen.

    Args:
        folder: path of the version folder.

    Returns:
        Frozen set of (path, size in bytes, time of the last change in nanoseconds since 1970).
    """
    files = set()
    for path in folder.rglob("*"):
        with contextlib.suppress(FileNotFoundError):  # files come and go while a version is copied or deleted
            stat = path.stat()
            # A copy keeps the time at which the content was modified; that of the change is the time of copying.
            files.add((str(path), stat.st_size, stat.st_ctime_ns))
    return frozenset(files)


class Settling:
    """Tells files that rest from files that are still being written."""

    def __init__(self, settle_seconds):
        """Nothing seen yet.

        Args:
            settle_seconds: how long files must have been unchanged.
        """
        self._settle_seconds = settle_seconds
        self._first_seen_by_folder = {}

    def has_settled(self, folder, files):
        """Whether the files of a version have rested long enough.

        Args:
            folder: path of the version folder.
            files: its `fingerprint` now.

        Returns:
            bool. By the times of the files, or, where the clock of a file server is ahead, by what was seen before.
        """
        newest_ns = max((changed_ns for _, _, changed_ns in files), default=folder.stat().st_ctime_ns)
        if (time.time_ns() - newest_ns) / 1e9 >= self._settle_seconds:
            return True
        seen_files, seen_at = self._first_seen_by_folder.get(folder, (None, None))
        now = time.monotonic()
        if seen_files != files:
            self._first_seen_by_folder[folder] = files, now
            return False
        return now - seen_at >= self._settle_seconds
