"""What docs/ingestion.md tells people to write works."""

import re
import sys

import pytest
from apache_beam.options.pipeline_options import PipelineOptions

from benchmarks.ingest.report import PAGE
from data.columns import labelled_schema
from data.config import AttributionConfig, DataConfig
from data.schema import EngagementKind

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

TEXT = PAGE.read_text()
FLAGS = [flags.split() for flags in re.findall(r"\| `(--runner=[^`]+)` \|", TEXT)]


def test_configurations_are_valid_together():
    tables = [tomllib.loads(block)["data"] for block in re.findall(r"```toml\n(.*?)```", TEXT, re.DOTALL)]
    assert len(tables) == 3
    merged = {name: table for data in tables for name, table in data.items()}
    config = DataConfig.model_validate({**merged, "split": {"eval_days": 1}})
    assert config.satisfaction.survey_neutral == 3.0
    assert config.history.aggregates[1].windows == ("1h", "1d", "all")
    assert {"time_of_day", "user_time_of_day_history", "user_session"} <= set(labelled_schema(config).names)
    assert config.source.columns["engagements"]["watch_seconds"].scale == 0.001


def test_windows_are_the_default():
    hours_by_unit = {"minutes": 1 / 60, "hours": 1.0, "days": 24.0}
    found = {}
    for kinds, number, unit in re.findall(r"^\| ((?:`\w+`(?:, )?)+) \| (\d+) (\w+) \|$", TEXT, re.MULTILINE):
        found |= {kind: float(number) * hours_by_unit[unit] for kind in re.findall(r"\w+", kinds)}
    assert found == {kind.value: AttributionConfig().window_hours_of(kind) for kind in EngagementKind}


@pytest.mark.parametrize("flags", FLAGS, ids=lambda flags: flags[0])
def test_flags_are_beams(flags):
    known = PipelineOptions(flags).get_all_options(drop_default=False)
    values = dict(flag.removeprefix("--").split("=") for flag in flags)
    assert {name: str(known.get(name)) for name in values} == values


def test_all_runners_are_told():
    assert {flags[0].split("=")[1] for flags in FLAGS} == {
        "FnApiRunner", "PortableRunner", "FlinkRunner", "SparkRunner", "DataflowRunner",
    }  # fmt: skip
