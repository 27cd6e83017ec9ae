"""What every command of a benchmark does with what was found."""

import argparse
import json
import os
import re
import subprocess
import sys
import types

import pytest

from benchmarks import command
from benchmarks.command import Found, command_line, make_parser, run
from benchmarks.figures import PROJECT, Figure, write_result
from benchmarks.packages import PackageError

NAMES = ("census", "census_trees", "history", "ingest", "kuairand", "serving", "training")


@pytest.fixture
def benchmark(tmp_path, monkeypatch):
    """A benchmark of one figure: `value` decides whether its target holds, an error is raised if there is one."""
    page = tmp_path / "page.md"
    page.write_text("<!-- benchmarks.race: begin -->\nold\n<!-- benchmarks.race: end -->\n")

    def measure(options, folder, say):
        os.write(1, b"noise of a framework\n")
        if made.error:
            raise made.error
        say("Running ...")
        made.folder = folder
        return Found("10 laps", {"speed": Figure(made.value, "m/s", at_least=2)}, "| table |", ("--repeats", "3"))

    made = types.SimpleNamespace(
        measure=measure, PAGE=page, SEEDS=(0, 1), PACKAGES=("numpy",), value=2.5, error=None, folder=None
    )
    monkeypatch.setitem(sys.modules, "benchmarks.race.benchmark", made)
    monkeypatch.setattr(command.importlib, "import_module", lambda name: sys.modules[name])
    monkeypatch.setattr(command, "write_result", lambda *arguments: write_result(*arguments, folder=tmp_path / "results"))
    monkeypatch.setattr(command, "temporary_log", lambda name: tmp_path / f"{name}.log")
    return made


def options(quick=False, **others):
    return argparse.Namespace(quick=quick, **others)


@pytest.mark.parametrize(("value", "code"), [(2.5, 0), (1.5, 1)])
def test_a_full_run_writes_result_and_page_and_tells_by_its_code_whether_targets_hold(benchmark, tmp_path, capfd, value, code):
    benchmark.value = value
    assert run("race", options()) == code
    result = json.loads((tmp_path / "results" / "race.json").read_text())
    assert (result["command"], result["seeds"]) == ("python -m benchmarks.race --repeats 3", [0, 1])
    assert result["figures"]["speed"]["value"] == value
    assert benchmark.PAGE.read_text() == "<!-- benchmarks.race: begin -->\n| table |\n<!-- benchmarks.race: end -->\n"
    assert "10 laps" in capfd.readouterr().out


def test_a_quick_run_writes_nothing_and_judges_nothing(benchmark, tmp_path, capfd):
    benchmark.value = 1.0
    before = benchmark.PAGE.read_text()
    assert run("race", options(quick=True)) == 0
    assert not (tmp_path / "results").exists()
    assert benchmark.PAGE.read_text() == before
    out = " ".join(capfd.readouterr().out.split())
    assert "10 laps: too few to judge, nothing is written" in out
    assert ">= 2" not in out


def test_what_frameworks_print_goes_to_a_file(benchmark, tmp_path, capfd):
    run("race", options(quick=True))
    said = capfd.readouterr()
    assert "noise" not in said.out + said.err
    assert "noise of a framework" in (tmp_path / "race.log").read_text()


def test_a_package_that_cannot_be_had_is_one_line(benchmark, capfd):
    benchmark.error = PackageError("torch must be installed")
    assert run("race", options()) == 2
    assert capfd.readouterr().out.splitlines()[-1] == "torch must be installed"


def test_data_on_its_way_lies_where_it_is_wanted_and_is_gone_then(benchmark, tmp_path):
    (tmp_path / "here").mkdir()
    run("race", options(quick=True, folder=tmp_path / "here"))
    assert benchmark.folder.parent == tmp_path / "here"
    assert not benchmark.folder.exists()


def test_a_parser_says_what_the_command_does():
    parser = make_parser("race", "A race.\n\nMore of it.", quick="one lap")
    assert (parser.prog, parser.description) == (command_line("race"), "A race.")
    assert re.search(r"--quick\s+one lap; writes nothing", parser.format_help())
    assert parser.parse_args(["--quick"]).quick


def test_no_command_loads_a_framework_before_the_terminal_is_quiet():
    """What TensorFlow and Beam print while they are imported would stand above the table."""
    loaded = "[name for name in ('tensorflow', 'apache_beam', 'tfx') if name in sys.modules]"
    code = f"import sys; {'; '.join(f'import benchmarks.{name}.__main__' for name in NAMES)}; print({loaded})"
    found = subprocess.run([sys.executable, "-c", code], cwd=PROJECT, capture_output=True, text=True, check=True)
    assert (found.stdout, found.stderr) == ("[]\n", "")


@pytest.mark.parametrize("name", NAMES)
def test_every_benchmark_has_a_page_with_its_block(name):
    benchmark = command.importlib.import_module(f"benchmarks.{name}.benchmark")
    assert benchmark.PAGE.read_text().count(f"<!-- benchmarks.{name}: begin -->") == 1
    assert callable(benchmark.measure)
    assert benchmark.SEEDS
    assert benchmark.PACKAGES
