import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from data.buckets import Bucketing, to_json
from data.schema import ColumnType
from serving.errors import FeatureTableError
from serving.features.pairs import PairHistory
from serving.features.tables import FeatureTables

USERS = pa.table({"user_id": ["u1", "u2"], "age": pa.array([30.0, None], pa.float32())})
ITEMS = pa.table({"item_id": ["i1", "i2"], "num_likes": pa.array([3, None], pa.int64()), "author_id": [None, "b"]})


def test_rows_come_back_from_the_files(tmp_path):
    pq.write_table(USERS, tmp_path / "users.parquet")
    pq.write_table(ITEMS, tmp_path / "items.parquet")
    tables = FeatureTables.load(tmp_path)

    assert tables.user("u1") == {"user_id": "u1", "age": 30.0}
    assert tables.user("u2") == {"user_id": "u2", "age": None}
    assert tables.items(["i2", "i1"]) == [
        {"item_id": "i2", "num_likes": None, "author_id": "b"},
        {"item_id": "i1", "num_likes": 3, "author_id": None},
    ]
    assert tables.item_ids == ["i1", "i2"]
    assert tables.item_columns == {"item_id", "num_likes", "author_id"}


def test_unknown_ids_have_nothing_but_their_id():
    tables = FeatureTables(USERS, ITEMS)
    assert tables.user("nobody") == {"user_id": "nobody"}
    assert tables.items(["x", "i1"]) == [{"item_id": "x"}, {"item_id": "i1", "num_likes": 3, "author_id": None}]
    assert tables.items([]) == []
    assert (tables.has_user("u1"), tables.has_user("x"), tables.has_item("i1"), tables.has_item("x")) == (
        True,
        False,
        True,
        False,
    )


def test_a_changed_row_does_not_change_the_table():
    tables = FeatureTables(USERS, ITEMS)
    tables.user("u1")["age"] = 99.0
    assert tables.user("u1")["age"] == 30.0


def test_missing_file_is_named(tmp_path):
    pq.write_table(USERS, tmp_path / "users.parquet")
    with pytest.raises(FeatureTableError, match=r"must hold items.parquet. .* Run the pipeline first"):
        FeatureTables.load(tmp_path)


def test_file_that_is_no_parquet_is_named(tmp_path):
    (tmp_path / "users.parquet").write_text("user_id,age")
    with pytest.raises(FeatureTableError, match=r"users.parquet must be a Parquet file. Received: "):
        FeatureTables.load(tmp_path)


@pytest.mark.parametrize(
    ("users", "message"),
    [
        (USERS.select(["age", "user_id"]), "must begin with the column user_id: string. Received: age: float"),
        (pa.table({"user_id": pa.array([1, 2])}), "must begin with the column user_id: string. Received: user_id: int64"),
        (pa.table({}), "must begin with the column user_id: string. Received: no column"),
        (pa.table({"user_id": ["u1", None]}), "must give every row a user_id. Received: 1 nulls"),
        (pa.table({"user_id": ["u1", "u2", "u1"]}), "must hold each user_id once. Received: 'u1' twice"),
        (pa.table({"user_id": ["u1"], "age": [1.5]}), "string, int64 and float32 columns, and lists .* Received: age: double"),
        (
            pa.table([pa.array(["u1"]), pa.array(["de"]), pa.array(["de"])], names=["user_id", "country", "country"]),
            "must name each column once",
        ),
    ],
)
def test_table_that_breaks_the_contract_is_refused(users, message):
    with pytest.raises(FeatureTableError, match=message):
        FeatureTables(users, ITEMS)


VECTOR = pa.list_(pa.float32())
HISTORY_USERS = pa.table(
    {
        "user_id": ["u1", "u2"],
        "user_history": pa.array([[1.0, 2.0], None], VECTOR),
        "last_items": pa.array([["i2", "i1"], []], pa.list_(pa.string())),
    }
)
PAIRS = pa.table(
    {"user_id": ["u2", "u1", "u2"], "tag": ["a", "a", "b"], "user_tag_history": pa.array([[1.0], [2.0], [3.0]], VECTOR)}
)
EMPTY = {"user_history": [0, 0.5], "user_tag_history": [0.25]}


def numbers_by_value(history):
    return {value: history.of(value).tolist() for value in history.row_by_value}


def history_folder(folder, empty=EMPTY):
    pq.write_table(HISTORY_USERS, folder / "users.parquet")
    pq.write_table(ITEMS, folder / "items.parquet")
    pq.write_table(PAIRS, folder / "user_id_x_tag.parquet")
    (folder / "empty_history.json").write_text(empty if isinstance(empty, str) else json.dumps(empty))
    return folder


def test_history_comes_back_from_the_files(tmp_path):
    tables = FeatureTables.load(history_folder(tmp_path))
    assert tables.user("u1") == {"user_id": "u1", "user_history": [1.0, 2.0], "last_items": ["i2", "i1"]}
    assert tables.user("u2") == {"user_id": "u2", "user_history": [0.0, 0.5], "last_items": []}
    assert tables.user("nobody") == {"user_id": "nobody", "user_history": [0.0, 0.5]}
    assert tables.items(["i1"]) == FeatureTables(USERS, ITEMS).items(["i1"])
    assert tables.float_columns == {"user_history", "user_tag_history"}
    (pair,) = tables.pairs
    assert (pair.column, pair.vector, pair.empty.tolist()) == ("tag", "user_tag_history", [0.25])
    assert numbers_by_value(pair.history("u2")) == {"a": [1.0], "b": [3.0]}
    assert numbers_by_value(pair.history("u1")) == {"a": [2.0]}
    assert numbers_by_value(pair.history("nobody")) == {}
    assert pair.history("u2").of_all(["b", "c", None, "a"]).tolist() == [[3.0], [0.25], [0.25], [1.0]]


def test_pairs_of_another_configuration_are_left_alone(tmp_path):
    history_folder(tmp_path, {"user_history": [0, 0.5]})
    assert FeatureTables.load(tmp_path).pairs == ()


def test_a_table_of_pairs_holds_several_histories(tmp_path):
    folder = history_folder(tmp_path, EMPTY | {"tags_today": [0]})
    both = PAIRS.append_column("tags_today", pa.array([[4.0], [5.0], [6.0]], VECTOR))
    both = both.append_column("of_another_configuration", pa.array([[7.0]] * 3, VECTOR))
    pq.write_table(both, folder / "user_id_x_tag.parquet")
    first, second = FeatureTables.load(folder).pairs
    assert [(pair.column, pair.vector) for pair in (first, second)] == [("tag", "user_tag_history"), ("tag", "tags_today")]
    assert numbers_by_value(first.history("u2")) == {"a": [1.0], "b": [3.0]}
    assert numbers_by_value(second.history("u2")) == {"a": [4.0], "b": [6.0]}


def test_a_history_in_two_tables_is_refused(tmp_path):
    pq.write_table(PAIRS.rename_columns(["user_id", "surface", "user_tag_history"]), tmp_path / "user_id_x_surface.parquet")
    message = "user_tag_history must stand in one table .* Received: user_id_x_surface.parquet and user_id_x_tag.parquet"
    with pytest.raises(FeatureTableError, match=message):
        FeatureTables.load(history_folder(tmp_path))


def test_columns_of_buckets_come_back_from_their_file(tmp_path):
    folder = history_folder(tmp_path)
    assert FeatureTables.load(folder).bucketings == ()
    columns = (Bucketing("age_bucket", "age", ColumnType.FLOAT, (18.0, 65.5)), Bucketing("h", "hour", ColumnType.INT, (12.0,)))
    (folder / "buckets.json").write_text(to_json(columns))
    assert FeatureTables.load(folder).bucketings == columns


@pytest.mark.parametrize(
    ("text", "received"),
    [
        ("{", "Expecting"),
        ("[1]", r"column, type and edges must be given by name. Received: \[1\]"),
        ('{"a": {"column": "b"}}', "column, type and edges must be given by name"),
        ('{"a": {"column": "b", "type": "float", "edges": 3}}', "column, type and edges must be given by name"),
        ('{"a": {"column": "b", "type": "real", "edges": []}}', "'real' is not a valid ColumnType"),
    ],
)
def test_buckets_that_are_no_buckets_are_refused(tmp_path, text, received):
    (history_folder(tmp_path) / "buckets.json").write_text(text)
    with pytest.raises(FeatureTableError, match=f"buckets.json must be JSON of columns of buckets. Received: {received}"):
        FeatureTables.load(tmp_path)


def test_an_empty_table_of_pairs_is_a_table():
    (pair,) = FeatureTables(HISTORY_USERS, ITEMS, [PAIRS.slice(0, 0)], EMPTY).pairs
    assert numbers_by_value(pair.history("u1")) == {}


def test_a_changed_empty_history_does_not_change_the_table():
    tables = FeatureTables(HISTORY_USERS, ITEMS, [PAIRS], EMPTY)
    tables.user("nobody")["user_history"][0] = 99.0
    assert tables.user("nobody")["user_history"] == [0.0, 0.5]


def test_missing_empty_history_is_named(tmp_path):
    (history_folder(tmp_path) / "empty_history.json").unlink()
    message = "users.parquet must have an empty history for every list of float32. Received: none for user_history"
    with pytest.raises(FeatureTableError, match=message):
        FeatureTables.load(tmp_path)


@pytest.mark.parametrize(
    ("empty", "message"),
    [
        ("{", "empty_history.json must be JSON. Received: Expecting"),
        ("[1]", r"empty_history.json must hold a list of numbers by column. Received: \[1\]"),
        ('{"user_history": [1, "a"]}', "must hold a list of numbers by column"),
        (EMPTY | {"tag_history": [0]}, "empty_history.json must name columns of the tables. Received: tag_history"),
        (EMPTY | {"user_history": [0]}, "users.parquet must hold 1 numbers a row in user_history.* Received: 2"),
        (
            EMPTY | {"user_tag_history": [0, 0]},
            "user_id_x_tag.parquet must hold 2 numbers a row in user_tag_hist.* Received: 1",
        ),
    ],
)
def test_empty_history_that_does_not_fit_is_refused(tmp_path, empty, message):
    with pytest.raises(FeatureTableError, match=message):
        FeatureTables.load(history_folder(tmp_path, empty))


def test_pairs_that_are_no_parquet_are_named(tmp_path):
    (history_folder(tmp_path) / "user_id_x_tag.parquet").write_text("user_id,tag")
    with pytest.raises(FeatureTableError, match=r"user_id_x_tag.parquet must be a Parquet file. Received: "):
        FeatureTables.load(tmp_path)


@pytest.mark.parametrize(
    ("pairs", "message"),
    [
        (PAIRS.select(["tag", "user_id", "user_tag_history"]), "must hold user_id, an item column and a list .* tag: string"),
        (PAIRS.select(["user_id", "user_tag_history"]), "must hold user_id, an item column and a list of float32"),
        (pa.table({}), "must hold user_id, an item column and a list of float32. Received: no column"),
        (pa.concat_tables([PAIRS, PAIRS.slice(2)]), "user_id_x_tag.parquet must hold each pair once. Received: 1 repeated"),
        (
            PAIRS.set_column(0, "user_id", [["u1", None, "u2"]]),
            "user_id_x_tag.parquet must give every row a user_id. Received: 1 nulls",
        ),
        (
            PAIRS.set_column(1, "tag", [["a", "b", None]]),
            "user_id_x_tag.parquet must give every row a tag. Received: 1 nulls",
        ),
        (
            PAIRS.set_column(2, "user_tag_history", pa.array([[1.0], None, [2.0]], VECTOR)),
            "user_id_x_tag.parquet must give every row a user_tag_history. Received: 1 nulls",
        ),
        (
            PAIRS.set_column(2, "user_tag_history", pa.array([[1.0], [None], [2.0]], VECTOR)),
            "user_id_x_tag.parquet must hold numbers in user_tag_history. Received: a null within a row",
        ),
    ],
)
def test_pairs_that_break_the_contract_are_refused(pairs, message):
    with pytest.raises(FeatureTableError, match=message):
        FeatureTables(HISTORY_USERS, ITEMS, [pairs], EMPTY)


def test_histories_of_numbered_values_are_those_of_the_values():
    numbers = np.array([[1, 2], [3, 4], [0, 9]], np.float32)
    history, values = PairHistory({"a": 0, "gone": 1}, numbers), ["b", None, "a", "b"]
    code_by_value = {value: code for code, value in enumerate(dict.fromkeys(values))}
    found = history.of_codes(np.array([code_by_value[value] for value in values]), code_by_value)
    np.testing.assert_array_equal(found, history.of_all(values))
    np.testing.assert_array_equal(found[2:], [[1, 2], [0, 9]])
