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


@pytest.fixture
def pair_config(tree):
    """Neither tag nor duration_seconds is a feature: one is half of a pair, the other the source of a bucket that is half."""
    tree["data"]["item_columns"] |= {"tag": "string"}
    tree["data"]["bucket_columns"] = {
        "length": {"column": "duration_seconds", "edges": [10, 60]},
        "unused": {"column": "age_days", "edges": [1]},
    }
    tree["data"]["history"] = {"aggregates": [{"key": ["user_id", "tag"]}, {"key": ["user_id", "length"]}]}
    tree["model"]["features"] = [
        {"kind": "numeric", "name": "user_tag_history"},
        {"kind": "numeric", "name": "user_length_history"},
    ]
    return Config.model_validate(tree)


@pytest.mark.parametrize(
    ("text", "feature"),
    [("tag=sport", ("tag", "sport")), ("length=2", ("length", "2")), ("duration_seconds=7", ("duration_seconds", 7.0))],
)
def test_what_a_request_derives_others_from_may_be_given(pair_config, text, feature):
    assert parse_feature(pair_config, text) == feature


def test_what_nothing_is_derived_from_may_not_be_given(pair_config):
    with pytest.raises(
        ConfigError, match=r"depends on \(user_tag_history, .*, tag, length, duration_seconds\)\. Received: age"
    ):
        parse_feature(pair_config, "age_days=3")


def test_a_cross_is_no_column(tree):
    tree["model"]["features"] += [{"kind": "cross", "name": "place", "of": ["item_id", "country"]}]
    with pytest.raises(ConfigError, match=r"must name a column .* Received: place"):
        parse_feature(Config.model_validate(tree), "place=x")


def test_an_entry_of_another_type_is_named(history_config):
    with pytest.raises(ConfigError, match=r"--feature user_history must be of type list<item: float>. Received: 1,x"):
        parse_feature(history_config, "user_history=1,x")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("country", "must be of the form name=value. Received: country"),
        ("planet=mars", "must name a column that the ranking depends on .* Received: planet"),
        ("age_days=old", "--feature age_days must be of type int64. Received: old"),
    ],
)
def test_wrong_features(config, text, message):
    with pytest.raises(ConfigError, match=message):
        parse_feature(config, text)
