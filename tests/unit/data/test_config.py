import json
import os
import subprocess
import sys

import pydantic
import pytest
from apache_beam.options.pipeline_options import DirectOptions, StandardOptions

from data.run import options_of
from tests.unit.data.rows import data_config


@pytest.mark.parametrize("name", ["click", "satisfaction_mask", "user_id", "impressed_at", "is_dropped", "published_at_ms"])
def test_a_declared_column_must_be_new(name):
    with pytest.raises(pydantic.ValidationError, match=rf"must not bear the name of .*; rename .* Received: {name}"):
        data_config(context_columns={name: "float"})


def test_a_name_is_declared_once():
    with pytest.raises(pydantic.ValidationError, match=r"Received: age"):
        data_config(user_columns={"age": "int"}, context_columns={"age": "int"})


def test_pure_modules_load_no_framework():
    modules = ["config", "schema", "attribution", "split", "batches", "counts", "simulator", "ingest"]
    imports = "; ".join(f"import data.{module}" for module in modules)
    check = f"{imports}; import sys; print({{'apache_beam', 'tensorflow', 'grpc', 'tfx_bsl'}} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


@pytest.mark.parametrize(
    ("tree", "message"),
    [
        ({"attribution": {"clock_skew_seconds": 700.0}, "history": {}}, r"delay_seconds must be at least .*: 600.0 and 700.0"),
        ({"attribution": {"window_hours": {"click": float("inf")}}}, r"window_hours.click\n.*finite"),
        ({"satisfaction": {"threshold": float("nan")}}, r"finite"),
        ({"satisfaction": {"threshold": 0}}, r"threshold must be positive, else silence would satisfy. Received: 0"),
        ({"split": {"eval_from": "2026-01-05", "eval_until": "2026-01-04"}}, r"Received: 2026-01-05, 2026-01-04"),
        ({"split": {"eval_from": "2026-01-05", "train_from": "2026-01-05"}}, r"train_from must lie before eval_from"),
        ({"history": {"aggregates": [{"key": ["user_id"], "windows": ["1d", "1d"]}]}}, r"windows must hold every name once"),
        (
            {"history": {"aggregates": [{"key": ["user_id", "item_id"]}]}},
            r"aggregates.0.key must be user_id, item_id",
        ),
        (
            {"history": {"sequences": [{"name": "s", "column": "tag"}]}},
            r"sequences.0.column must be item_id or a",
        ),
        ({"history": {"published_column": "at"}}, r"published_column must be a column of data.item_columns. Received: at"),
        ({"history": {"prior": {"click_rate": 1.5}}}, r"prior.click_rate must be a rate within 0 and 1"),
    ],
)
def test_what_cannot_be_meant_is_refused(tree, message):
    with pytest.raises(pydantic.ValidationError, match=message):
        data_config(**tree)


def test_graded_satisfaction_can_be_written_in_a_file():
    assert data_config(satisfaction={"threshold": "graded"}).satisfaction.threshold == "graded"
    again = data_config(satisfaction={"threshold": "graded"}).model_dump_json()
    assert data_config(**json.loads(again)).satisfaction.threshold == "graded"


@pytest.mark.parametrize(
    ("flags", "workers", "mode"),
    [
        ([], None, "multi_threading"),
        (["--direct_num_workers=1"], 1, "in_memory"),
        (["--direct_num_workers=3", "--direct_running_mode=multi_processing"], 3, "multi_processing"),
    ],
)
def test_a_local_runner_uses_all_cores_unless_told_otherwise(flags, workers, mode):
    options = options_of(flags)
    direct = options.view_as(DirectOptions)
    assert (direct.direct_num_workers, direct.direct_running_mode) == (workers or len(os.sched_getaffinity(0)), mode)
    assert options.view_as(StandardOptions).runner == "FnApiRunner"


def test_other_runners_are_left_alone():
    options = options_of(["--runner=FlinkRunner"])
    assert options.view_as(StandardOptions).runner == "FlinkRunner"
    assert options.view_as(DirectOptions).direct_running_mode == "in_memory"
