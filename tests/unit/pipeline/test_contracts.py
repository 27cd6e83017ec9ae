"""The import contracts hold (make checks runs them); here, that a violation would be seen."""

import ast
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[3]
PACKAGES = ("data", "models", "serving", "pipeline", "benchmarks", "tests")


@pytest.fixture
def copied(tmp_path):
    for package in PACKAGES:
        shutil.copytree(PROJECT / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(PROJECT / "pyproject.toml", tmp_path)
    return tmp_path


def lint_imports(folder):
    command = [str(Path(sys.executable).parent / "lint-imports"), "--no-cache"]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    ("module", "line", "contract"),
    [
        ("models/metrics.py", "import tfx", "Only the pipeline knows TFX"),
        ("models/metrics.py", "import data.auc", "Models and serving see only the contract of data"),
        ("models/losses.py", "import data.join", "Models and serving see only the contract of data"),
        ("models/ranker.py", "import serving.config", "Imports run one way"),
        ("data/split.py", "import pipeline.config", "Imports run one way"),
        ("data/attribution.py", "import apache_beam", "The pure modules of data"),
        ("serving/ranker/blend.py", "import tensorflow", "Blending and the traffic split are arithmetic"),
        ("serving/experiments/split.py", "import grpc", "Blending and the traffic split are arithmetic"),
        ("pipeline/config.py", "import benchmarks.logs", "Imports run one way"),
        ("models/heads/head.py", "import pandas", "Models are pure TensorFlow"),
    ],
)
def test_planted_violation_is_caught(copied, module, line, contract):
    path = copied / module
    path.write_text(path.read_text() + f"\n\n{line}\n")
    result = lint_imports(copied)
    assert result.returncode != 0
    assert any(contract in text and "BROKEN" in text for text in result.stdout.splitlines())


def test_every_module_of_data_stands_in_a_contract():
    text = (PROJECT / "pyproject.toml").read_text()
    for path in (PROJECT / "data").iterdir():
        is_contract = path.stem in ("__init__", "__pycache__", "schema", "columns", "config", "source_config")
        if not is_contract:
            assert f'"data.{path.stem}"' in text, path


@pytest.mark.parametrize("package", PACKAGES[:-1])
def test_init_files_hold_a_docstring_alone(package):
    for path in (PROJECT / package).rglob("__init__.py"):
        body = ast.parse(path.read_text()).body
        assert [ast.get_docstring(ast.Module(body, [])) is not None, len(body)] == [True, 1], path
