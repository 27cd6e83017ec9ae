"""Measured processes: a command in a fresh process, its output, and the most memory that it and its children held."""

import dataclasses
import os
import pathlib
import signal
import subprocess
import tempfile
import threading

_POLL_SECONDS = 0.05
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
# Environment of a process whose output is read.
QUIET = {"TF_CPP_MIN_LOG_LEVEL": "3", "TF_USE_LEGACY_KERAS": "1", "PYTHONWARNINGS": "ignore"}


class ProcessError(Exception):
    """A measured command failed or took too long."""


@dataclasses.dataclass(frozen=True)
class Measured:
    """A command that ended well.

    Attributes:
        output: its standard output.
        peak_bytes: greatest sum of resident memory over all its processes, polled every 50 ms. Pages that processes share
            count in each of them; a peak shorter than a poll may be missed.
    """

    output: str
    peak_bytes: int


def measure(command, timeout_seconds, folder=None):
    """Runs a command in a session of its own and watches the memory of all its processes.

    Args:
        command: list of arguments.
        timeout_seconds: after so long it is killed with all its children.
        folder: where it runs; None for the current folder.

    Returns:
        `Measured`.

    Raises:
        ProcessError: If it fails or takes too long.
    """
    with tempfile.TemporaryFile("w+") as errors, tempfile.TemporaryFile("w+") as output:
        process = subprocess.Popen(
            command, stdout=output, stderr=errors, cwd=folder, env={**os.environ, **QUIET}, start_new_session=True
        )
        has_ended = threading.Event()
        peaks = [0]
        watch = threading.Thread(target=_watch, args=(process.pid, has_ended, peaks))
        watch.start()
        try:
            code = process.wait(timeout_seconds)
        except subprocess.TimeoutExpired:
            raise ProcessError(f"{' '.join(command)} must end within {timeout_seconds:g} s") from None
        finally:
            has_ended.set()
            watch.join()
            _kill_session(process)
        errors.seek(0)
        if code:
            last_lines = " / ".join(errors.read().strip().splitlines()[-3:])
            raise ProcessError(f"{' '.join(command)} must exit with 0. Received: {code}: {last_lines}")
        output.seek(0)
        return Measured(output.read(), peaks[0])


def session_bytes(session):
    """Resident memory of all processes of a session.

    Args:
        session: id of the session, the process id of its first process.

    Returns:
        Bytes; 0 if none is left.
    """
    total = 0
    for folder in pathlib.Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                # The name in parentheses may hold spaces; after it come state, parent, group and session.
                if int((folder / "stat").read_text().rpartition(")")[2].split()[3]) == session:
                    total += int((folder / "statm").read_text().split()[1]) * _PAGE_BYTES
            except (FileNotFoundError, ProcessLookupError):
                continue  # It ended between the listing and the look.
    return total


def _watch(session, has_ended, peaks):
    while not has_ended.wait(_POLL_SECONDS):
        peaks[0] = max(peaks[0], session_bytes(session))


def _kill_session(process):
    """Ends what is left of the session, and nothing else: the group is the process's own."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        return
    finally:
        process.wait()
