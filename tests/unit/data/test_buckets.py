import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data.buckets import Bucketing, append_buckets, bucketings, from_json, item_bucketings, to_json
from data.config import BucketConfig
from data.schema import ColumnType
from tests.unit.data import history_oracle as oracle
from tests.unit.data.rows import data_config

SECONDS = Bucketing("length", "seconds", ColumnType.FLOAT, (7.0, 10.3, 60.0))
HOURS = Bucketing("time_of_day", "hour", ColumnType.INT, (6.0, 12.5))


def test_a_value_on_an_edge_lies_above_it():
    assert SECONDS.buckets_of([0.0, 6.99, 7, 10.29, 10.3, 60.0, 1e30, -5.0]).to_pylist() == list("00112330")
    assert HOURS.buckets_of([-1, 5, 6, 12, 13, 1 << 62]).to_pylist() == list("001122")


def test_what_is_missing_or_no_number_has_no_bucket():
    assert SECONDS.buckets_of([None, float("nan"), float("inf"), float("-inf")]).to_pylist() == [None, None, "3", "0"]
    assert HOURS.buckets_of([None]).to_pylist() == [None]
    assert SECONDS.buckets_of([]).type == pa.string()


single_floats = st.floats(width=32, allow_nan=True, allow_infinity=False)
edge_lists = st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=5, unique=True).map(sorted)


@settings(deadline=None)
@given(st.lists(st.none() | single_floats, max_size=20), edge_lists, st.integers(0, 20))
def test_buckets_are_those_of_the_definition_in_any_chunks(values, edges, cut):
    bucketing = Bucketing("b", "x", ColumnType.FLOAT, tuple(edges))
    expected = [oracle.bucket(value, BucketConfig(column="x", edges=edges)) for value in values]
    chunks = pa.chunked_array([values[:cut], values[cut:]], pa.float32())
    assert bucketing.buckets_of(values).to_pylist() == expected
    assert bucketing.buckets_of(chunks).to_pylist() == expected


@settings(deadline=None)
@given(st.lists(st.integers(-(2**40), 2**40), min_size=1, max_size=20), edge_lists)
def test_a_greater_number_lies_in_no_lower_bucket(values, edges):
    found = Bucketing("b", "x", ColumnType.INT, tuple(edges)).buckets_of(sorted(values)).to_pylist()
    assert list(map(int, found)) == sorted(map(int, found))
    assert found == [str(sum(edge <= value for edge in edges)) for value in sorted(values)]


@pytest.mark.parametrize("value", ["7", [7.0], {7.0}])
def test_what_is_of_another_type_is_refused(value):
    with pytest.raises(pa.ArrowException, match="Could not convert"):
        SECONDS.buckets_of([value])


def test_tables_get_their_columns():
    table = pa.table({"seconds": pa.array([1.0, None, 8.0], pa.float32()), "hour": pa.array([7, 3, None])})
    appended = append_buckets(table, (SECONDS, HOURS))
    assert appended.select(["seconds", "hour"]) == table
    assert appended.select(["length", "time_of_day"]).to_pydict() == {
        "length": ["0", None, "1"],
        "time_of_day": ["1", "0", None],
    }
    assert append_buckets(table.slice(0, 0), (SECONDS,)).schema.field("length").type == pa.string()


def test_configured_columns_of_items_and_of_the_context():
    config = data_config(
        item_columns={"seconds": "float"},
        context_columns={"hour": "int"},
        bucket_columns={
            "length": {"column": "seconds", "edges": [7, 10.3, 60]},
            "time_of_day": {"column": "hour", "edges": [6, 12.5]},
        },
    )
    assert bucketings(config) == (SECONDS, HOURS)
    assert item_bucketings(config) == (SECONDS,)
    assert from_json(to_json(bucketings(config))) == (SECONDS, HOURS)
    assert from_json(to_json(())) == ()
