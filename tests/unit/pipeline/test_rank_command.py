import pytest

from pipeline.commands.rank import parse_feature
from pipeline.config import Config
from pipeline.errors import ConfigError


@pytest.mark.parametrize(
    ("text", "feature"),
    [
        ("country=12", ("country", "12")),
        ("age_days=12", ("age_days", 12)),
        ("duration_seconds=12", ("duration_seconds", 12.0)),
        ("country=a=b", ("country", "a=b")),
    ],
)
def test_values_take_the_type_of_their_column(config, text, feature):
    name, value = parse_feature(config, text)
    assert (name, value, type(value)) == (*feature, type(feature[1]))


@pytest.fixture
def history_config(tree):
    tree["data"]["history"] = {"aggregates": [{"key": ["user_id"]}], "sequences": [{"name": "last_items"}]}
    tree["model"]["features"] += [
        {"kind": "numeric", "name": "user_history"},
        {"kind": "numeric", "name": "item_age_hours"},
        {"kind": "sequence", "name": "last_items", "shares": "item_id"},
    ]
    return Config.model_validate(tree)


@pytest.mark.parametrize(
    ("text", "feature"),
    [
        ("user_history=1,0.5", ("user_history", [1.0, 0.5])),
        ("last_items=i1,i2", ("last_items", ["i1", "i2"])),
        ("last_items=", ("last_items", [])),
        ("item_age_hours=3", ("item_age_hours", 3.0)),
    ],
)
def test_values_of_history_columns_are_lists_and_floats(history_config, text, feature):
    assert parse_feature(history_config, text) == feature


def test_an_entry_of_another_type_is_named(history_config):
    with pytest.raises(ConfigError, match=r"--feature user_history must be of type list<item: float>. Received: 1,x"):
        parse_feature(history_config, "user_history=1,x")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("country", "must be of the form name=value. Received: country"),
        ("planet=mars", "must name a column that the model reads .* Received: planet"),
        ("age_days=old", "--feature age_days must be of type int64. Received: old"),
    ],
)
def test_wrong_features(config, text, message):
    with pytest.raises(ConfigError, match=message):
        parse_feature(config, text)
