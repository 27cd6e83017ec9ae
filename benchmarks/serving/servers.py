"""Servers in processes of their own, for as long as they are measured."""

import collections.abc
import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time

from benchmarks.figures import PROJECT
from benchmarks.packages import PackageError
from benchmarks.processes import QUIET, ProcessError, session_bytes

# What `smalltowers serve` chooses by itself, for all contenders alike.
_SERVING = {"TF_ENABLE_ONEDNN_OPTS": "1"}
_START_SECONDS = 180
_ASK_SECONDS = 120
_POLL_SECONDS = 0.05


class RunningServer:
    """A server process.

    Args:
        process: `subprocess.Popen`, the first of a session of its own.
        ports: by name, as the server printed them.
    """

    def __init__(self, process, ports):
        self._process = process
        self.ports = ports

    @property
    def bytes(self):
        """Resident memory, now."""
        return session_bytes(self._process.pid)

    def ask(self):
        """Has a process that waits for it do once what it is there for.

        Returns:
            The JSON that it prints.

        Raises:
            ProcessError: If it ends, or takes too long.
        """
        watch = threading.Timer(_ASK_SECONDS, self._process.kill)
        watch.start()
        try:
            self._process.stdin.write("\n")
            self._process.stdin.flush()
            line = self._process.stdout.readline()
        except BrokenPipeError:
            line = ""
        finally:
            watch.cancel()
        if not line:
            raise ProcessError(f"{' '.join(self._process.args)} must answer. Received: nothing")
        return json.loads(line)


@contextlib.contextmanager
def running(module, arguments, folder) -> collections.abc.Iterator[RunningServer]:
    """A module of this project as a server.

    Args:
        module: dotted name; its first line on standard output is JSON: its ports by name.
        arguments: list of texts.
        folder: `pathlib.Path` for its log.

    Yields:
        `RunningServer`, a client too: one waits for a line before it asks, so that loads can take turns.

    Raises:
        ProcessError: If it ends before it serves, or takes longer than it may.
    """
    log_path = folder / f"{module.rpartition('.')[2]}.log"
    command = [sys.executable, "-m", module, *map(str, arguments)]
    with log_path.open("w") as log:
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            cwd=PROJECT,
            env={**os.environ, **QUIET, **_SERVING},
            start_new_session=True,
        )
        try:
            watch = threading.Timer(_START_SECONDS, process.kill)
            watch.start()
            line = process.stdout.readline()
            watch.cancel()
            if not line:
                raise ProcessError(f"{' '.join(command)} must serve. Received: {log_path.read_text().strip()[-300:]}")
            yield RunningServer(process, json.loads(line))
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            process.stdout.close()
            with contextlib.suppress(BrokenPipeError):
                process.stdin.close()


def redis_binary():
    """Where the program of Redis lies.

    Returns:
        Path.

    Raises:
        PackageError: If `redis-server` is not installed.
    """
    binary = shutil.which("redis-server")
    if binary is None:
        raise PackageError("redis-server must be installed, as by `apt-get install redis-server`. Received: none")
    return binary


@contextlib.contextmanager
def running_redis(folder) -> collections.abc.Iterator[str]:
    """A Redis of its own.

    Args:
        folder: `pathlib.Path` for what it writes.

    Yields:
        Its URL.

    Raises:
        PackageError: If `redis-server` is not installed.
        ProcessError: If it does not answer.
    """
    binary = redis_binary()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [binary, "--bind", "127.0.0.1", "--port", str(port), "--save", "", "--dir", str(folder)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        _wait_for(port)
        yield f"redis://127.0.0.1:{port}/0"
    finally:
        process.kill()
        process.wait()


def _wait_for(port):
    give_up_at = time.monotonic() + _START_SECONDS
    while time.monotonic() < give_up_at:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        time.sleep(_POLL_SECONDS)
    raise ProcessError(f"redis-server must answer on port {port}. Received: nothing")
