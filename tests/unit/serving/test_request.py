import numpy as np
import pytest
import tensorflow as tf

from serving.errors import FeatureValueError
from serving.ranker.request import ExampleEncoder, encoded_example


def decoded(example):
    columns = {}
    for name, feature in tf.train.Example.FromString(example).features.feature.items():
        (value,) = getattr(feature, feature.WhichOneof("kind")).value
        columns[name] = (feature.WhichOneof("kind"), value.decode() if isinstance(value, bytes) else value)
    return columns


def typed(columns):
    kind_by_type = {str: "bytes_list", int: "int64_list", float: "float_list"}
    return {name: (kind_by_type[type(value)], value) for name, value in columns.items() if value is not None}


def merged_rows(tables, user_id, item_ids, context, features):
    """What the examples must hold, column by column."""
    rows = []
    for item_id in item_ids:
        row = tables.items([item_id])[0]
        row.update(tables.user(user_id))
        row.update(context)
        for name, value in features.items():
            if not isinstance(value, dict):
                row[name] = value
            elif item_id in value:
                row[name] = value[item_id]
        rows.append(typed(row))
    return rows


@pytest.mark.parametrize("user_id", ["u1", "u2", "nobody"])
@pytest.mark.parametrize(
    "features",
    [
        {},
        {"age": 55.0},
        {"age": None},
        {"duration_seconds": 7.0},
        {"duration_seconds": None},
        {"num_likes": {"i1": 100, "x": 5}},
        {"num_likes": {"i3": None}, "surface": {"i2": "search"}, "country": "fr"},
    ],
)
def test_examples_hold_the_merged_columns(tables, user_id, features):
    item_ids, context = ["i2", "x", "i1", "i3"], {"surface": "feed", "hour": 9}
    encoder = ExampleEncoder(tables)
    wanted = merged_rows(tables, user_id, item_ids, context, features)
    for _ in range(2):  # the second time from memory
        assert [decoded(example) for example in encoder.encode(user_id, item_ids, context, features)] == wanted


def test_numpy_numbers_and_booleans_have_their_lists():
    example = encoded_example({"a": np.float32(0.5), "b": np.int64(3), "c": True})
    assert decoded(example) == {"a": ("float_list", 0.5), "b": ("int64_list", 3), "c": ("int64_list", 1)}


def test_integers_for_float_columns_become_floats(tables):
    features = {"age": 31, "duration_seconds": {"i1": 7}, "num_likes": 5}
    (example,) = ExampleEncoder(tables).encode("nobody", ["i1"], {}, features)
    columns = decoded(example)
    assert columns["age"] == ("float_list", 31.0)
    assert columns["duration_seconds"] == ("float_list", 7.0)
    assert columns["num_likes"] == ("int64_list", 5)


@pytest.mark.parametrize(("value", "message"), [([1], "a string or a number. Received: age="), (1 << 63, "fit 64 bits")])
def test_value_that_no_column_has_is_refused(value, message):
    with pytest.raises(FeatureValueError, match=message):
        encoded_example({"age": value})


@pytest.mark.parametrize("where", ["context", "features"])
def test_ids_are_no_features(tables, where):
    with pytest.raises(FeatureValueError, match="must come as ids"):
        ExampleEncoder(tables).encode("u1", ["i1"], **({"context": {}, "features": {}} | {where: {"item_id": "i9"}}))
