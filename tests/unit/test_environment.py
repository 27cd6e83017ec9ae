import subprocess
from pathlib import Path

PROJECT = Path(__file__).parents[2]


def test_environment_script_parses():
    subprocess.run(["bash", "-n", str(PROJECT / "deploy" / "environment.sh")], check=True)
