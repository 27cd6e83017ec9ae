import os
import sys

import pytest

from benchmarks.processes import ProcessError, measure, session_bytes

# The child holds its memory for ten polls.
_CHILD = "import time; block = bytearray(96 << 20); time.sleep(0.5)"
_PARENT = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {_CHILD!r}], check=True); print('done')"


def test_memory_of_children_counts():
    measured = measure([sys.executable, "-c", _PARENT], 60)
    assert measured.output == "done\n"
    assert 96 << 20 < measured.peak_bytes < 400 << 20


def test_a_failure_says_why():
    with pytest.raises(ProcessError, match=r"must exit with 0. Received: 3: no such log"):
        measure([sys.executable, "-c", "import sys; print('no such log', file=sys.stderr); sys.exit(3)"], 60)


def test_a_process_that_takes_too_long_is_ended():
    with pytest.raises(ProcessError, match=r"must end within 0.3 s"):
        measure([sys.executable, "-c", "import time; time.sleep(60)"], 0.3)


def test_memory_of_a_session():
    assert session_bytes(os.getsid(0)) > 10 << 20
    assert session_bytes(2**30) == 0
