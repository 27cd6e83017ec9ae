import re
import sys
from pathlib import Path

import pytest

from models.config import ModelConfig
from pipeline.config import Config
from pipeline.evaluation_config import GateConfig, SliceConfig

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

PAGE = Path(__file__).parents[3] / "docs" / "evaluation.md"
HISTORY = {
    "aggregates": [{"key": ["user_id"], "windows": ["1d", "7d"], "measures": ["impressions", "click_rate"]}],
    "sequences": [{"name": "last_items"}],
    "published_column": "age_days",
}


def configured(tree, **evaluation):
    tree["data"]["history"] = HISTORY
    return Config.model_validate({**tree, "evaluation": evaluation}).evaluation


@pytest.mark.parametrize(
    ("slice_", "message"),
    [
        ("planet", r"evaluation\.slices\.0 must be a column .* Received: planet"),
        ("last_items", r"evaluation\.slices\.0 must be a column with one value a row\. Received: last_items"),
        ("user_history", r"evaluation\.slices\.0 must name an entry of its numbers\. Received: user_history"),
        (
            {"column": "user_history", "entry": "clicks_1d", "edges": [1]},
            r"evaluation\.slices\.0\.entry must be one of impressions_1d, click_rate_1d, .* Received: clicks_1d",
        ),
        (
            {"column": "country", "entry": "impressions_1d", "edges": [1]},
            r"evaluation\.slices\.0\.entry must be absent: the column holds no numbers of the past\. Received: impressions_1d",
        ),
        (
            {"column": "user_history", "entry": "impressions_7d"},
            r"evaluation\.slices\.0\.edges must be given .* Received: user_history\.impressions_7d",
        ),
        ("duration_seconds", r"evaluation\.slices\.0\.edges must be given .* Received: duration_seconds"),
        ({"column": "country", "edges": [1]}, r"evaluation\.slices\.0\.edges must be absent .* Received: country"),
        ({"column": "item_age_hours", "edges": [24, 24]}, r"edges must rise\. Received: \[24\.0, 24\.0\]"),
    ],
)
def test_slices_that_cannot_be_cut_name_the_key(tree, slice_, message):
    with pytest.raises(ValueError, match=message):
        configured(tree, slices=[slice_])


@pytest.mark.parametrize(
    ("gates", "message"),
    [
        ({"like": {}}, r"evaluation\.gates\.like must be named as a task, one of click, watch_seconds, satisfaction"),
        (
            {"watch_seconds": {"measure": "auc"}},
            r"evaluation\.gates\.watch_seconds\.measure must be one of mean_absolute_error_seconds, xauc\. Received: auc",
        ),
        ({"click": {"tolerance": -0.1}}, r"evaluation\.gates\.click\.tolerance\n.*greater than or equal to 0"),
        ({"click": {"minimum": 0.1}}, r"evaluation\.gates\.click\.minimum\n.*Extra inputs"),
    ],
)
def test_gates_that_do_not_fit_name_the_key(tree, gates, message):
    with pytest.raises(ValueError, match=message):
        configured(tree, gates=gates)


def test_slices_of_every_kind(tree):
    slices = configured(
        tree,
        slices=["country", "age_days", {"column": "user_history", "entry": "click_rate_7d", "edges": [0.1, 0.5]}],
    ).slices
    assert slices == (
        SliceConfig(column="country"),
        SliceConfig(column="age_days"),
        SliceConfig(column="user_history", entry="click_rate_7d", edges=(0.1, 0.5)),
    )
    assert [each.name for each in slices] == ["country", "age_days", "user_history.click_rate_7d"]


def test_tasks_are_gated_by_the_order_of_what_they_serve(tree):
    tasks = ModelConfig.model_fields["tasks"].default
    gates = configured(tree, gates={"click": {"measure": "gauc"}})
    assert [gates.gate(task.label).measure_of(task) for task in tasks] == ["gauc", "xauc", "auc"]
    assert gates.gate("satisfaction") == GateConfig(measure=None, floor=None, tolerance=0.0)


def test_example_of_the_page_is_valid(tree):
    [block] = re.findall(r"```toml\n(.*?)```", PAGE.read_text(), re.DOTALL)
    evaluation = configured(tree, **tomllib.loads(block)["evaluation"])
    assert [each.name for each in evaluation.slices] == ["surface", "item_age_hours", "user_history.impressions_7d"]
    assert evaluation.gates.keys() == {"click", "watch_seconds"}
