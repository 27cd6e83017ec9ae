import os
import subprocess
import sys

SCRIPT = """
import ctypes, os, sys, warnings
from pipeline.terminal import framework_noise_to
print("before", flush=True)
with framework_noise_to(sys.argv[1]) as console:
    print("python noise")
    os.write(2, b"native noise\\n")
    warnings.warn("warned")
    console.print("for the user")
print("after", flush=True)
"""


def test_noise_goes_to_the_file_and_the_console_to_the_terminal(tmp_path):
    log = tmp_path / "logs" / "noise.log"
    result = subprocess.run([sys.executable, "-c", SCRIPT, str(log)], capture_output=True, text=True, check=True)
    assert result.stdout.splitlines() == ["before", "for the user", "after"]
    assert result.stderr == ""
    assert sorted(log.read_text().splitlines()) == ["native noise", "python noise"]
    assert os.path.getsize(log)
