import numpy as np
import pyarrow as pa
import pytest
import tensorflow as tf

from serving.errors import FeatureValueError
from serving.features.tables import FeatureTables
from serving.ranker.request import ExampleEncoder, encoded_example, hours_since
from tests.unit.serving.conftest import EMPTY_HISTORY, PAIRS

NOW_MS = 9_000_000


def decoded(example):
    columns = {}
    for name, feature in tf.train.Example.FromString(example).features.feature.items():
        values = getattr(feature, feature.WhichOneof("kind")).value
        columns[name] = (feature.WhichOneof("kind"), [one.decode() if isinstance(one, bytes) else one for one in values])
    return columns


def typed(columns):
    """Kind and values of all that is present; floats as the 32 bits that a tf.Example has for them."""
    kind_by_type = {str: "bytes_list", int: "int64_list", float: "float_list"}
    rows = {}
    for name, value in columns.items():
        values = value if isinstance(value, list) else [value]
        if value is not None and values:
            values = [float(np.float32(one)) if type(one) is float else one for one in values]
            rows[name] = (kind_by_type[type(values[0])], values)
    return rows


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
        assert [decoded(example) for example in encoder.encode(user_id, item_ids, context, features, NOW_MS)] == wanted


def test_numpy_numbers_and_booleans_have_their_lists():
    example = encoded_example({"a": np.float32(0.5), "b": np.int64(3), "c": True})
    assert decoded(example) == {"a": ("float_list", [0.5]), "b": ("int64_list", [3]), "c": ("int64_list", [1])}


def test_lists_have_all_their_values_and_empty_ones_are_absent():
    columns = {"a": [0.5, 2], "b": ["x", "y"], "c": np.array([1.5, 2.5], np.float32), "d": [], "e": (1, 2)}
    assert decoded(encoded_example(columns)) == {
        "a": ("float_list", [0.5, 2.0]),
        "b": ("bytes_list", ["x", "y"]),
        "c": ("float_list", [1.5, 2.5]),
        "e": ("int64_list", [1, 2]),
    }


def test_integers_for_float_columns_become_floats(tables):
    features = {"age": 31, "duration_seconds": {"i1": 7}, "num_likes": 5}
    (example,) = ExampleEncoder(tables).encode("nobody", ["i1"], {}, features, NOW_MS)
    columns = decoded(example)
    assert columns["age"] == ("float_list", [31.0])
    assert columns["duration_seconds"] == ("float_list", [7.0])
    assert columns["num_likes"] == ("int64_list", [5])


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({1}, r"a string or a number, or a list of either. Received: age=\{1\}"),
        ([1, "a"], r"a string or a number, or a list of either. Received: age=\[1, 'a'\]"),
        (1 << 63, "fit 64 bits"),
        ([1, 1 << 63], "fit 64 bits"),
    ],
)
def test_value_that_no_column_has_is_refused(value, message):
    with pytest.raises(FeatureValueError, match=message):
        encoded_example({"age": value})


@pytest.mark.parametrize("where", ["context", "features"])
def test_ids_are_no_features(tables, where):
    with pytest.raises(FeatureValueError, match="must come as ids"):
        ExampleEncoder(tables).encode("u1", ["i1"], **({"context": {}, "features": {}} | {where: {"item_id": "i9"}}), now_ms=0)


def history_rows(tables, user_id, item_ids, context, features):
    """What the examples must hold where there is history, from the tables' rows, candidate by candidate."""
    rows = []
    for item_id in item_ids:
        row = tables.items([item_id])[0]
        row["item_age_hours"] = hours(row.pop("first_impressed_at_ms", None))
        row.update(tables.user(user_id))
        row["user_idle_hours"] = hours(row.pop("last_impressed_at_ms", None))
        row.update(context)
        given = {
            name: value[item_id] if isinstance(value, dict) else value
            for name, value in features.items()
            if not isinstance(value, dict) or item_id in value
        }
        row.update(given)
        for name, column, edges in (("likes_bucket", "num_likes", (2, 50)), ("hour_bucket", "hour", (6, 12.1, 18))):
            value = row.get(column)
            row[name] = given.get(name, None if value is None else str(sum(edge <= value for edge in edges)))
        for table in PAIRS:
            _, column, *vectors = table.column_names
            row.update({vector: EMPTY_HISTORY[vector] for vector in vectors})
            for pair in table.to_pylist():
                if (pair["user_id"], pair[column]) == (user_id, row.get(column)):
                    row.update({vector: pair[vector] for vector in vectors})
        rows.append(typed({**row, **given}))
    return rows


def hours(at_ms):
    return None if at_ms is None else float(NOW_MS - at_ms) / 3.6e6


@pytest.mark.parametrize("user_id", ["u1", "u2", "nobody"])
@pytest.mark.parametrize(
    "features",
    [
        {},
        {"author_id": "b"},
        {"author_id": {"x": "a", "i1": "b"}},
        {"author_id": {"i1": None}},
        {"author_id": None, "num_likes": 3},
        {"item_age_hours": 2.5, "user_idle_hours": {"i1": 1.0}},
        {"item_age_hours": None, "user_idle_hours": None},
        {"item_history": [1.5, 2.5], "user_author_history": {"i1": [0.5, 0.5]}},
        {"user_author_history": [], "last_items": {"i2": ["i2"]}, "user_history": None},
        {"last_items": []},
        {"surface": "search", "hour": 12},
        {"surface": None, "hour": 12.5},
        {"surface": {"i1": "search", "x": None}, "hour": {"i3": 23}},
        {"user_surface_history": [1.5, 2.5], "likes_this_week": {"i3": [3.0]}},
        {"num_likes": {"x": 77, "i3": None}},
        {"num_likes": 2, "likes_bucket": {"i1": "0"}},
        {"num_likes": {"i1": 60}, "likes_bucket": "1"},
    ],
)
def test_examples_hold_history_and_ages(history_tables, user_id, features):
    item_ids, context = ["i2", "x", "i1", "i3"], {"surface": "feed", "hour": 5}
    encoder = ExampleEncoder(history_tables)
    wanted = history_rows(history_tables, user_id, item_ids, context, features)
    for _ in range(2):  # the second time from memory
        assert [decoded(example) for example in encoder.encode(user_id, item_ids, context, features, NOW_MS)] == wanted


def test_what_is_sent_of_a_hand_worked_case(history_tables):
    known, unknown = ExampleEncoder(history_tables).encode("u1", ["i3", "x"], {}, {}, NOW_MS)
    tenth, third = float(np.float32(0.1)), float(np.float32(0.3))
    assert decoded(known) == {
        "user_id": ("bytes_list", ["u1"]),
        "country": ("bytes_list", ["de"]),
        "user_history": ("float_list", [3.0, tenth]),
        "last_items": ("bytes_list", ["i3", "i1"]),
        "user_idle_hours": ("float_list", [float(np.float32(8 / 3.6))]),
        "item_id": ("bytes_list", ["i3"]),
        "num_likes": ("int64_list", [3]),
        "likes_bucket": ("bytes_list", ["1"]),
        "item_history": ("float_list", [6.0, third]),
        "author_history": ("float_list", [0.0]),
        "item_age_hours": ("float_list", [1.5]),
        "user_author_history": ("float_list", [0.0, 0.125]),
        "user_num_likes_history": ("float_list", [7.0]),
        "likes_this_week": ("float_list", [6.0]),
        "user_surface_history": ("float_list", [0.0, 0.75]),
        "user_likes_bucket_history": ("float_list", [2.5]),
    }
    assert decoded(unknown)["item_history"] == ("float_list", [0.0, 0.5])
    assert "item_age_hours" not in decoded(unknown)


def test_ages_follow_the_time_of_the_request(history_tables):
    encoder = ExampleEncoder(history_tables)
    for now_ms, age, idle in ((3_600_000, 1.0, 2.6 / 3.6), (7_200_000, 2.0, 6.2 / 3.6), (-5, 0.0, 0.0)):
        columns = decoded(encoder.encode("u1", ["i1"], {}, {}, now_ms)[0])
        assert columns["item_age_hours"] == ("float_list", [age])
        assert columns["user_idle_hours"] == ("float_list", [pytest.approx(idle, rel=1e-6)])


def test_published_items_age_from_their_publication():
    items = pa.table({"item_id": ["i1", "i2"], "published_at_ms": pa.array([3_600_000, None], pa.int64())})
    encoder = ExampleEncoder(FeatureTables(pa.table({"user_id": ["u1"]}), items))
    first, second = (decoded(example) for example in encoder.encode("u1", ["i1", "i2"], {}, {}, NOW_MS))
    assert first["item_age_hours"] == ("float_list", [1.5])
    assert set(second) == {"user_id", "item_id"}


def test_unknown_times_have_no_age():
    assert hours_since(None, 5) is None


def test_a_list_cannot_be_half_of_a_pair(history_tables):
    message = r"feature author_id must be one value, as user_author_history goes by it. Received: \['a', 'b'\]"
    for features in ({"author_id": ["a", "b"]}, {"author_id": {"i1": ["a", "b"]}}):
        with pytest.raises(FeatureValueError, match=message):
            ExampleEncoder(history_tables).encode("u1", ["i1"], {}, features, NOW_MS)


@pytest.mark.parametrize(
    ("features", "message"),
    [
        ({"num_likes": "many"}, r"num_likes must be of type int, as likes_bucket follows from it. Received: \['many'\]"),
        ({"num_likes": {"i1": [3]}}, r"num_likes must be of type int, as likes_bucket follows from it. Received: \[\[3\]\]"),
        ({"num_likes": 1 << 64}, "num_likes must be of type int, as likes_bucket follows from it"),
        ({"hour": "noon"}, r"hour must be of type float, as hour_bucket follows from it. Received: \['noon'\]"),
    ],
)
def test_what_has_no_bucket_is_named(history_tables, features, message):
    with pytest.raises(FeatureValueError, match=message):
        ExampleEncoder(history_tables).encode("u1", ["i1"], {}, features, NOW_MS)


def test_integers_in_lists_for_vectors_become_floats(history_tables):
    features = {"item_history": [1, 2], "user_author_history": {"i1": [3, 4]}, "item_age_hours": 2}
    (example,) = ExampleEncoder(history_tables).encode("u1", ["i1"], {}, features, NOW_MS)
    assert decoded(example)["item_history"] == ("float_list", [1.0, 2.0])
    assert decoded(example)["user_author_history"] == ("float_list", [3.0, 4.0])
    assert decoded(example)["item_age_hours"] == ("float_list", [2.0])
