import pydantic
import pytest

from data.schema import KEY_COLUMNS, LABELS, mask_name, weight_name
from models.config import ModelConfig, SmallTowerConfig, is_simpler, num_parameters
from models.heads.config import OrdinalHeadConfig

AGE = {"kind": "numeric", "name": "age"}


@pytest.mark.parametrize("name", [*LABELS, *map(mask_name, LABELS), *map(weight_name, LABELS), *KEY_COLUMNS])
def test_refuses_features_that_hold_the_answer_or_identify_the_row(name):
    with pytest.raises(pydantic.ValidationError, match=f"features.name must not be a label.* Received: {name}"):
        ModelConfig(features=[AGE, {"kind": "numeric", "name": name}])


TAB = {"kind": "categorical", "name": "tab"}
TASKS = {"click": {"label": "click", "head": "binary"}, "satisfaction": {"label": "satisfaction", "head": "binary"}}


def sequence(**changes):
    return {"kind": "sequence", "name": "last", **changes}


def refuses(changes, message):
    with pytest.raises(pydantic.ValidationError, match=message):
        ModelConfig(**{"features": [AGE], **changes})


@pytest.mark.parametrize(
    ("features", "message"),
    [
        ([AGE, AGE], "features.name must hold every name once. Received: age twice"),
        ([], "at least 1 item"),
        ([AGE, sequence(shares="age")], r"features.last.shares must be a categorical .* of \[\]. Received: age"),
        ([TAB, sequence(shares="tab", dimension=2)], "dimension has no meaning beside shares. Received: shares=tab"),
        ([TAB, sequence(shares="tab", min_count=2)], "min_count has no meaning beside shares"),
        ([sequence(pooling="attention")], "shares must name the candidate's feature where pooling is attention"),
        ([TAB, sequence(shares="tab", target="tab")], "target and attention_units belong to pooling attention"),
        (
            [AGE, TAB, sequence(shares="tab", pooling="attention", target="age")],
            "features.last.target must be a categorical feature of the table of tab. Received: age",
        ),
        ([{**TAB, "hash_buckets": 9, "min_count": 2}], "min_count has no meaning beside hash_buckets"),
        ([TAB, {**TAB, "name": "x", "shares": "tab", "dimension": 3}], "dimension has no meaning beside shares"),
        (
            [TAB, {**TAB, "name": "x", "shares": "tab"}, {**TAB, "name": "y", "shares": "x"}],
            r"features.y.shares must be a categorical feature with a table, of \['tab'\]. Received: x",
        ),
        (
            [AGE, TAB, {"kind": "cross", "name": "both", "of": ["tab", "age"]}],
            r"features.both.of must be categorical features, of \['tab'\]. Received: age",
        ),
        ([TAB, {"kind": "cross", "name": "both", "of": ["tab"]}], "at least 2 items"),
    ],
)
def test_refuses_features_that_do_not_fit(features, message):
    refuses({"features": features}, message)


@pytest.mark.parametrize(
    ("tasks", "message"),
    [
        ([], "at least 1 item"),
        ([TASKS["click"]] * 2, "tasks.label must hold every name once"),
        ([{"label": "watch_seconds", "head": "binary"}], "watch_seconds must serve a seconds. Received: binary"),
        ([{"label": "click", "head": "log1p"}], "task click must serve a probability. Received: log1p"),
        ([{"label": "satisfaction", "head": "tweedie"}], "must serve a probability or grade. Received: tweedie"),
        ([TASKS["click"] | {"given": "satisfaction"}, TASKS["satisfaction"]], r"tasks.0.given .* of \[\]. Received: sat"),
        ([{"label": "watch_seconds", "head": "log1p", "given": "click"}], "given belongs to a task with a binary head"),
        ([{"label": "watch_seconds", "head": "log1p", "calibration": "platt"}], "must be isotonic or none. Received: platt"),
        (
            [{"label": "watch_seconds", "head": {"kind": "duration_quantile", "duration": "length"}}],
            "tasks.0.head.duration must be a numeric feature, not a piecewise one. Received: length",
        ),
        ([{"label": "watch_seconds", "head": {"kind": "tweedie", "power": 2.0}}], "less than 2"),
        ([{"label": "age", "head": "binary"}], "features.name must not be a label, a mask or a weight. Received: age"),
    ],
)
def test_refuses_tasks_that_do_not_fit(tasks, message):
    refuses({"tasks": tasks}, message)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"small_tower": {"tasks": ["like"]}}, r"small_tower.tasks must be labels of tasks \(click.* Received: like"),
        ({"small_tower": {"tasks": ["click", "click"]}}, "small_tower.tasks must hold every name once"),
        ({"small_tower": {"kind": "pooled", "width": 5}}, "must divide the units of the body's output, 64. Received: width=5"),
        ({"small_tower": {"kind": "linear", "width": 4}}, "small_tower.width has no meaning for kind linear"),
        ({"small_tower": {"kind": "mlp", "width": 64}}, "must have fewer parameters than the main tower and no more rank"),
        ({"tower_units": []}, "small_tower must have fewer parameters"),
        ({"tower_units": [8], "small_tower": {"kind": "bottleneck", "width": 9}}, "no more rank"),
        ({"bias_tower": {"features": ["tab"]}}, "bias_tower.features must be names of features. Received: tab"),
        ({"bias_tower": {"features": ["age"]}}, "must leave a feature to the body"),
        ({"features": [AGE, TAB], "bias_tower": {"features": ["tab"], "tasks": ["like"]}}, "bias_tower.tasks must be labels"),
        (
            {"features": [AGE, TAB, sequence(shares="tab")], "bias_tower": {"features": ["tab"]}},
            "bias_tower.features must not share tables with the body. Received: last",
        ),
        ({"body": {"kind": "shared_bottom", "units": []}}, "at least 1 item"),
        ({"body": {"kind": "mmoe", "num_experts": 1}}, "greater than or equal to 2"),
        ({"body": {"kind": "custom", "layer": "mine"}}, "String should match pattern"),
        ({"members": 0}, "greater than or equal to 1"),
    ],
)
def test_refuses_parts_that_do_not_fit(changes, message):
    refuses(changes, message)


@pytest.mark.parametrize(
    ("kind", "width", "parameters"),
    [("linear", 1, 65), ("pooled", 4, 17), ("bottleneck", 8, 64 * 8 + 8 + 9), ("mlp", 8, 64 * 8 + 8 + 9)],
)
def test_a_small_tower_is_simpler_by_parameters_and_rank(kind, width, parameters):
    hidden = (width,) if kind in ("bottleneck", "mlp") else ()
    inputs = 64 // width if kind == "pooled" else 64
    assert num_parameters((inputs, *hidden, 1)) == parameters
    small = SmallTowerConfig(kind=kind, width=width)
    assert is_simpler(small, 64, (32,), num_outputs=1)
    assert is_simpler(small, 64, (8,), num_outputs=1) == (kind in ("linear", "pooled"))


def test_a_linear_small_tower_of_many_outputs_may_outgrow_a_narrow_main_tower():
    """Of 20 thresholds: 64 x 20 weights against 64 x 16 + 16 x 20."""
    tasks = [{"label": "watch_seconds", "head": {"kind": "ordinal", "num_thresholds": 20}}]
    assert ModelConfig(features=[AGE], tasks=tasks, tower_units=[32]).tower_units == (32,)
    refuses({"tasks": tasks, "tower_units": [16]}, "fewer parameters .* no more rank.*, 20 outputs of watch_seconds")
    tasks = [TASKS["click"], *tasks]
    assert ModelConfig(features=[AGE], tasks=tasks, tower_units=[16], small_tower={"tasks": ["click"]}).members == 1


def test_features_are_dealt_to_body_and_bias_tower():
    config = ModelConfig(features=[AGE, TAB], bias_tower={"features": ["tab"]})
    assert [feature.name for feature in config.body_features] == ["age"]
    assert [feature.name for feature in config.bias_features] == ["tab"]


def test_a_head_may_be_named_by_its_kind_alone():
    config = ModelConfig(features=[AGE], tasks=[{"label": "watch_seconds", "head": "ordinal"}], small_tower=None)
    assert config.tasks[0].head == OrdinalHeadConfig()


def test_survives_json():
    tab = {"kind": "categorical", "name": "tab", "default": 3}
    config = ModelConfig(features=[AGE, tab, {"kind": "sequence", "name": "last", "shares": "tab"}], small_tower={"gamma": 0})
    assert ModelConfig.model_validate_json(config.model_dump_json()) == config


def test_sizes_are_filled_in_where_numbers_are_read():
    category = {"kind": "categorical", "name": "tab"}
    config = ModelConfig(features=[AGE, category, {"kind": "numeric", "name": "user_history"}])
    sized = config.sized({"user_history": 15, "tab": 2, "unread": 3})
    assert [getattr(feature, "size", "none") for feature in sized.features] == [None, "none", 15]
    assert sized.sized({"user_history": 15}) == sized
    assert config.features[2].size is None
    with pytest.raises(ValueError, match=r"features.user_history.size must be 9, as the data's. Received: 15"):
        sized.sized({"user_history": 9})
