import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from serving.errors import FeatureTableError
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
        (pa.table({"user_id": ["u1"], "age": [1.5]}), "string, int64 and float32 columns. Received: age: double"),
        (
            pa.table([pa.array(["u1"]), pa.array(["de"]), pa.array(["de"])], names=["user_id", "country", "country"]),
            "must name each column once",
        ),
    ],
)
def test_table_that_breaks_the_contract_is_refused(users, message):
    with pytest.raises(FeatureTableError, match=message):
        FeatureTables(users, ITEMS)
