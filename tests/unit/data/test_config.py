import json
import os
import subprocess
import sys

import pydantic
import pytest
from apache_beam.options.pipeline_options import DirectOptions, StandardOptions

from data.columns import candidate_columns, labelled_schema
from data.run import options_of
from tests.unit.data.rows import data_config

HOUR = {"context_columns": {"hour": "int"}}


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
        ({"history": {"aggregates": [{"key": ["user_id"], "windows": ["60m", "1h"]}]}}, r"windows must hold every length once"),
        ({"history": {"aggregates": [{"key": ["user_id"], "windows": ["10s"]}]}}, r"must be all, or a number .* Received: 10s"),
        ({"history": {"aggregates": [{"key": ["user_id"], "windows": ["٣d"]}]}}, r"must be all, or a number .* Received: ٣d"),
        (
            {"history": {"aggregates": [{"key": ["user_id"], "windows": ["1234567890m"]}]}},
            r"a number of at most nine digits and its unit, .* Received: 1234567890m",
        ),
        ({"history": {"refresh_hours": 1e300}}, r"history.refresh_hours\n.*less than or equal to 8784"),
        ({"history": {"refresh_hours": 1e-12}}, r"history.refresh_hours\n.*must be 0 \(at once\) or at least 1e-06 .* 1e-12"),
        (
            {"history": {"aggregates": [{"key": ["user_id"], "refresh_hours": 1e300}]}},
            r"aggregates.0.refresh_hours\n.*less than or equal to 8784",
        ),
        (
            {"history": {"sequences": [{"name": "s", "refresh_hours": 1e-12}]}},
            r"sequences.0.refresh_hours\n.*must be 0 \(at once\)",
        ),
        ({"history": {"delay_seconds": 1e300}}, r"delay_seconds\n.*less than or equal to 31622400"),
        (
            {"history": {"aggregates": [{"key": ["user_id", "item_id"]}]}},
            r"aggregates.0.key must be user_id, item_id",
        ),
        (
            {"history": {"sequences": [{"name": "s", "column": "tag"}]}},
            r"sequences.0.column must be item_id or a",
        ),
        (
            {"history": {"aggregates": [{"key": ["user_id", "age"]}]}, "user_columns": {"age": "string"}},
            r"aggregates.0.key must be .*; or user_id and such a column, surface, .* Received: \['user_id', 'age'\]",
        ),
        ({"history": {"aggregates": [{"key": ["surface"]}]}}, r"aggregates.0.key must be .* Received: \['surface'\]"),
        (
            {"history": {"aggregates": [{"key": ["user_id"]}, {"key": ["user_id"], "windows": ["1h"]}]}},
            r"aggregates.1.name must be given, and no other column's. Received: the column user_history twice",
        ),
        (
            {"history": {"aggregates": [{"key": ["user_id"], "name": "s"}], "sequences": [{"name": "a"}, {"name": "s"}]}},
            r"sequences.1.name must be given, and no other column's. Received: the column s twice",
        ),
        (
            {"history": {"aggregates": [{"key": ["user_id"], "measures": ["ctr"]}]}},
            r"must be one of .*share_rate.* Received: ctr",
        ),
        ({"history": {"aggregates": [{"key": ["user_id"], "measures": ["watched_0s_rate"]}]}}, r"Received: watched_0s_rate"),
        ({"history": {"aggregates": [{"key": ["user_id"], "measures": ["survey_rate"]}]}}, r"Received: survey_rate"),
        (
            {"history": {"aggregates": [{"key": ["user_id"], "measures": ["watched_90pct_rate"]}]}},
            r"aggregates.0.measures need history.duration for watched_90pct_rate. Received: none",
        ),
        (
            {"history": {"duration": {"column": "tag"}}, "item_columns": {"tag": "string"}},
            r"history.duration.column must be a numeric column of data.item_columns. Received: tag",
        ),
        ({"history": {"prior": {"impressions": 3.0}}}, r"prior must be of rates and means. Received: impressions"),
        ({"history": {"aggregates": [{"key": ["user_id"], "name": "click"}]}}, r"must not bear .* Received: click"),
        ({"history": {"aggregates": [{"key": ["user_id"], "name": "a-b"}]}}, r"aggregates.0.name\n.*pattern"),
        (
            {"bucket_columns": {"b": {"column": "tag", "edges": [1]}}, "item_columns": {"tag": "string"}},
            r"bucket_columns.b.column must be a numeric column of data.item_columns or .* Received: tag",
        ),
        ({"bucket_columns": {"b": {"column": "age", "edges": [1]}}, "user_columns": {"age": "int"}}, r"Received: age"),
        ({**HOUR, "bucket_columns": {"b": {"column": "hour", "edges": [2, 2]}}}, r"edges must ascend. Received: \[2.0, 2.0\]"),
        ({**HOUR, "bucket_columns": {"b": {"column": "hour", "edges": []}}}, r"bucket_columns.b.edges\n.*at least 1"),
        ({**HOUR, "bucket_columns": {"hour": {"column": "hour", "edges": [2]}}}, r"must not bear .* Received: hour"),
        ({"history": {"published_column": "at"}}, r"published_column must be a column of data.item_columns. Received: at"),
        ({"history": {"prior": {"click_rate": 1.5}}}, r"prior.click_rate must be a rate within 0 and 1"),
    ],
)
def test_what_cannot_be_meant_is_refused(tree, message):
    with pytest.raises(pydantic.ValidationError, match=message):
        data_config(**tree)


def test_a_user_may_be_counted_with_whatever_an_impression_is_shown_with():
    keys = [["user_id", name] for name in ("surface", "hour", "time_of_day", "tag", "length")]
    config = data_config(
        **HOUR,
        item_columns={"tag": "string", "seconds": "float"},
        bucket_columns={"length": {"column": "seconds", "edges": [9]}, "time_of_day": {"column": "hour", "edges": [12]}},
        history={"aggregates": [{"key": key} for key in [*keys, ["length"]]], "sequences": [{"name": "s", "column": "length"}]},
    )
    columns = [*(f"user_{key[1]}_history" for key in keys), "length_history", "s"]
    assert [name for name in labelled_schema(config).names if name in columns] == columns
    of_candidates = {"item_id", "position", "tag", "seconds", "length", "length_history", "item_age_hours"}
    assert set(candidate_columns(config)) == of_candidates | {"user_tag_history", "user_length_history"}


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
