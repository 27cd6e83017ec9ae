"""What a person sees: this program's own lines on the terminal, everything that frameworks print in a log file."""

import contextlib
import os
import sys
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path

from rich.console import Console

ARITHMETIC_VARIABLE = "TF_ENABLE_ONEDNN_OPTS"  # of the environment; TensorFlow reads it once


@contextlib.contextmanager
def framework_noise_to(log_file) -> Iterator[Console]:
    """Sends all output of this process, C++ included, to a file, and gives back a console that still reaches the terminal.

    Args:
        log_file: appended to; its folder is made.

    Yields:
        rich.console.Console: writes to the terminal.
    """
    path = Path(log_file)
    path.parent.mkdir(parents=True, exist_ok=True)
    sys.stdout.flush()
    sys.stderr.flush()
    terminal, errors = os.dup(1), os.dup(2)
    console_stream = os.fdopen(os.dup(terminal), "w", encoding="utf-8")
    log = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    try:
        os.dup2(log, 1)
        os.dup2(log, 2)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield Console(file=console_stream, force_terminal=os.isatty(terminal) or None, markup=False)
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os.dup2(terminal, 1)
        os.dup2(errors, 2)
        for descriptor in (terminal, errors, log):
            os.close(descriptor)
        console_stream.close()


def temporary_log(command):
    """A new log file for a command that belongs to no job's folder.

    Args:
        command: its name.

    Returns:
        Path.
    """
    descriptor, path = tempfile.mkstemp(prefix=f"smalltowers-{command}-", suffix=".log")
    os.close(descriptor)
    return path


def quiet_environment():
    """Sets what TensorFlow, TFRS and gRPC read from the environment; call it before they are imported."""
    os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    os.environ.setdefault("GRPC_VERBOSITY", "ERROR")


def choose_arithmetic(is_serving):
    """Sets by which library TensorFlow multiplies matrices, unless the environment says so; call it before it is imported.

    oneDNN multiplies the candidates of a request faster, but to other last digits from machine to machine; the small batches
    of a training gain nothing by it.

    Args:
        is_serving: whether this process serves.
    """
    os.environ.setdefault(ARITHMETIC_VARIABLE, "1" if is_serving else "0")
