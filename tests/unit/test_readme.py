"""What the README tells people to write works."""

import re
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from data.config import DataConfig
from data.schema import ENGAGEMENT_SCHEMA, IMPRESSION_SCHEMA, EngagementKind
from pipeline.cli import cli
from pipeline.config import Config

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

PROJECT = Path(__file__).parents[2]
README = (PROJECT / "README.md").read_text()


def test_configurations_are_valid():
    blocks = re.findall(r"```toml\n(.*?)```", README, re.DOTALL)
    assert blocks
    for block in blocks:
        Config.model_validate(tomllib.loads(block))


def test_examples_of_ingestion_are_valid():
    text = (PROJECT / "docs" / "ingestion.md").read_text()
    blocks = [tomllib.loads(block)["data"] for block in re.findall(r"```toml\n(.*?)```", text, re.DOTALL)]
    assert len(blocks) >= 3
    source = {"kind": "events", "impressions": "a.csv", "engagements": "b.csv"}
    for block in blocks:
        tree = {"source": source, "split": {"eval_days": 1}, "item_columns": {"category": "string"}}
        DataConfig.model_validate({**tree, **block})


def test_commands_exist():
    commands = re.findall(r"smalltowers (\w+)", README)
    assert {"run", "serve", "rank", "compare", "compile"} <= set(commands) <= set(cli.commands)
    for command in set(commands):
        assert CliRunner().invoke(cli, [command, "--help"]).exit_code == 0


@pytest.mark.parametrize("name", [*IMPRESSION_SCHEMA.names, *ENGAGEMENT_SCHEMA.names, *(kind.value for kind in EngagementKind)])
def test_schemas_are_whole(name):
    assert f"`{name}`" in README


def test_links_lead_somewhere():
    for target in re.findall(r"\]\((?!https?:)([^)#]+)\)", README):
        assert (PROJECT / target).exists(), target
