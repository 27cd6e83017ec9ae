import pytest

from pipeline.commands.rank import parse_feature
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
