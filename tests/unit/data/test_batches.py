import numpy as np
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from data import batches

rows_strategy = st.lists(st.tuples(st.sampled_from("abcdefg"), st.integers(0, 9)), max_size=20)


def table_of(rows):
    return pa.table({"key": [key for key, _ in rows], "value": [value for _, value in rows]}, schema=SCHEMA)


SCHEMA = pa.schema([("key", pa.string()), ("value", pa.int64())])


@given(rows_strategy, st.integers(1, 5))
def test_partitions_are_disjoint_by_key_and_lose_nothing(rows, num_partitions):
    parts = dict(batches.partition(table_of(rows), "key", num_partitions))
    assert all(0 <= number < num_partitions and part.num_rows for number, part in parts.items())
    assert sorted(row for part in parts.values() for row in zip(*part.to_pydict().values(), strict=True)) == sorted(rows)
    keys = [set(part["key"].to_pylist()) for part in parts.values()]
    assert sum(map(len, keys)) == len({key for key, _ in rows})


def test_the_hash_is_the_same_everywhere():
    assert batches.hash_of(pa.chunked_array([["a", "b"], [""]])).tolist() == [
        13950350942979735504,
        12688059582079114975,
        1760245841805064774,
    ]


def test_another_key_gives_an_independent_hash():
    values = pa.array([str(number) for number in range(4_000)])
    low, high = batches.hash_of(values), batches.hash_of(values, "smalltowers-hold")
    assert abs(np.corrcoef(low / 2.0**64, high / 2.0**64)[0, 1]) < 4 / np.sqrt(4_000)


@given(rows_strategy, rows_strategy)
def test_join_is_a_look_up(rows, columns):
    table = batches.distinct_keys(table_of(columns).rename_columns(["key", "more"]), "key")
    least = {key: min(value for other, value in columns if other == key) for key, _ in columns}
    assert dict(zip(*table.to_pydict().values(), strict=True)) == least
    joined = batches.join_columns(table_of(rows), table, "key")
    assert joined.to_pylist() == [{"key": key, "value": value, "more": least.get(key)} for key, value in rows]


@given(rows_strategy, st.lists(st.sampled_from("abcxyz")))
def test_added_keys_complete_a_table(rows, keys):
    table = batches.distinct_keys(table_of(rows), "key")
    known = dict(zip(*table.to_pydict().values(), strict=True))
    completed = batches.add_keys(table, "key", pa.chunked_array([keys], type=pa.string()))
    expected = [{"key": key, "value": known.get(key)} for key in sorted({*known, *keys})]
    assert completed.to_pylist() == expected
