import pydantic
import pytest

from data.schema import KEY_COLUMNS, LABELS, mask_name, weight_name
from models.config import ModelConfig

AGE = {"kind": "numeric", "name": "age"}


@pytest.mark.parametrize("name", [*LABELS, *map(mask_name, LABELS), *map(weight_name, LABELS), *KEY_COLUMNS])
def test_refuses_features_that_hold_the_answer_or_identify_the_row(name):
    with pytest.raises(pydantic.ValidationError, match=f"features.name must not be a label.* Received: {name}"):
        ModelConfig(features=[AGE, {"kind": "numeric", "name": name}])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"features": [AGE, AGE]}, "features.name must hold every name once. Received: age twice"),
        ({"features": []}, "at least 1 item"),
        ({"tasks": []}, "at least 1 item"),
        ({"tasks": [{"label": "click", "head": "binary"}] * 2}, "tasks.label must hold every name once"),
        ({"tasks": [{"label": "watch_seconds", "head": "binary"}]}, "head of the task watch_seconds must be log1p"),
        ({"tasks": [{"label": "click", "head": "log1p"}]}, "head of the task click must be binary"),
        ({"small_tower": {"tasks": ["like"]}}, r"small_tower.tasks must be labels of tasks \(click.* Received: like"),
        ({"small_tower": {"tasks": ["click", "click"]}}, "small_tower.tasks must hold every name once"),
        ({"small_tower": {"kind": "pooled", "width": 5}}, "small_tower.width must divide the last of bottom_units"),
        ({"small_tower": {"kind": "linear", "width": 4}}, "small_tower.width belongs to kind pooled"),
        ({"tower_units": []}, "small_tower must be simpler than the main tower"),
        (
            {"features": [AGE, {"kind": "sequence", "name": "last", "shares": "age"}]},
            r"features.last.shares must be a categorical feature, one of \[\]. Received: age",
        ),
        ({"features": [{"kind": "sequence", "name": "last"}]}, "one of dimension and shares must be given. Received: dim"),
        (
            {"features": [{"kind": "sequence", "name": "last", "dimension": 2, "shares": "item_id"}]},
            "one of dimension and shares must be given",
        ),
        (
            {"features": [{"kind": "sequence", "name": "last", "shares": "item_id", "min_count": 2}]},
            "min_count and num_oov_buckets must be set at the feature that is shared. Received: shares=item_id",
        ),
        ({"bottom_units": []}, "at least 1 item"),
        ({"bottom_units": [0]}, "greater than or equal to 1"),
    ],
)
def test_refuses_what_makes_no_sense(changes, message):
    with pytest.raises(pydantic.ValidationError, match=message):
        ModelConfig(**{"features": [AGE], **changes})


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
