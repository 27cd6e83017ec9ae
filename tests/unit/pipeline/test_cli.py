import os
import subprocess
import sys

import click
import pytest
from click.testing import CliRunner

from pipeline.cli import cli, main
from pipeline.terminal import ARITHMETIC_VARIABLE

COMMANDS = ("compare", "compile", "demo", "fetch", "rank", "report", "run", "serve", "simulate", "skew")


def smalltowers(*arguments):
    script = "import sys; from pipeline.cli import main; sys.exit(main())"
    return subprocess.run([sys.executable, "-c", script, *arguments], capture_output=True, text=True, check=False)


def test_help_loads_no_framework():
    """The reason why help answers at once."""
    script = (
        "import sys\nfrom click.testing import CliRunner\nfrom pipeline.cli import cli\n"
        "assert CliRunner().invoke(cli, ['--help']).exit_code == 0\n"
        "print(*sys.modules)"
    )
    loaded = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout.split()
    assert not {"tensorflow", "tfx", "apache_beam", "pyarrow", "pandas", "numpy", "grpc", "pydantic"} & set(loaded)


def test_commands_are_these():
    assert tuple(sorted(cli.commands)) == COMMANDS


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(command):
    result = CliRunner().invoke(cli, [command, "--help"])
    assert result.exit_code == 0
    assert cli.commands[command].help in " ".join(result.output.split())
    options = [p for p in cli.commands[command].params if isinstance(p, click.Option) and p.name != "help"]
    assert all(option.help or option.required for option in options)


@pytest.mark.parametrize(("command", "wanted"), [("run", "0"), ("demo", "0"), ("serve", "1")])
def test_a_service_multiplies_by_the_faster_library(command, wanted, monkeypatch):
    monkeypatch.setattr("sys.argv", ["smalltowers", command, "--help"])
    for given in (None, "as the user says"):
        # What is set ends with the test.
        monkeypatch.setenv(ARITHMETIC_VARIABLE, given or "")
        if given is None:
            monkeypatch.delenv(ARITHMETIC_VARIABLE)
        with pytest.raises(SystemExit, match="0"):
            main()
        assert os.environ[ARITHMETIC_VARIABLE] == (given or wanted)


def test_error_of_the_user_is_one_line():
    result = smalltowers("run", "absent.toml")
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr == "smalltowers: no configuration at absent.toml; those that ship lie in configs/\n"


def test_unknown_key_is_one_line():
    result = smalltowers("run", "configs/demo.toml", "--set", "train.speed=11")
    assert (result.returncode, result.stderr) == (2, "smalltowers: configs/demo.toml: train.speed: unknown key\n")


def test_missing_log_is_one_line():
    result = smalltowers("run", "configs/kuairand.toml", "--set", "data.source.path=nowhere")
    assert result.returncode == 2
    assert result.stderr.count("\n") == 1
    assert "nowhere" in result.stderr


def test_missing_schema_file_is_one_line(tmp_path):
    settings = [f"job.root={tmp_path}", "job.schema_file=nowhere.pbtxt"]
    header_by_log = {
        "impressions": "impression_id,user_id,item_id,impressed_at",
        "engagements": "event_id,user_id,item_id,kind,engaged_at",
        "users": "user_id,segment,age_group",
        "items": "item_id,category,author_id,duration_seconds",
    }
    for log, header in header_by_log.items():
        (tmp_path / f"{log}.csv").write_text(header + "\n")
        settings.append(f"data.source.{log}={tmp_path}/{log}.csv")
    result = smalltowers("run", "configs/demo.toml", *[part for setting in settings for part in ("--set", setting)])
    assert result.returncode == 2
    assert result.stderr.count("\n") == 1
    assert "job.schema_file must be a TFDV schema in text format. Received: nowhere.pbtxt" in result.stderr


def test_a_skew_watch_without_a_log_is_one_line(tmp_path):
    result = smalltowers("skew", "configs/demo.toml", "--set", f"job.root={tmp_path}", "--version", "7")
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr.count("\n") == 1
    assert f"must lie at {tmp_path}/exposures/exposures-*. Received: none" in result.stderr


def test_comparing_what_is_no_version_is_one_line(tmp_path):
    result = smalltowers("compare", str(tmp_path), str(tmp_path))
    assert result.returncode == 2
    assert result.stderr.count("\n") == 1
    assert "no model in" in result.stderr
