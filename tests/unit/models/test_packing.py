import hypothesis
import numpy as np
import pyarrow as pa
import pytest
import tensorflow as tf
from hypothesis import strategies as st

from models.errors import FeatureError
from models.packing import IDS, NUMBERS, packed_examples, packed_spec, unpack

SPEC = {
    "tag": tf.io.FixedLenFeature([], tf.int64),
    "history": tf.io.FixedLenFeature([2], tf.float32),
    "last_items": tf.io.FixedLenFeature([3], tf.int64),
    "age": tf.io.FixedLenFeature([], tf.float32),
    "one": tf.io.FixedLenFeature([1], tf.float32),
    "item": tf.io.FixedLenFeature([], tf.int64),
    "click": tf.io.FixedLenFeature([], tf.float32),
}
COLUMNS = {
    "tag": np.array([1, 2**40]),
    "history": np.array([[0.5, -1], [2, 3]], "f4"),
    "last_items": np.array([[4, 5, 0], [0, 0, 0]]),
    "age": np.array([7, 8], "f4"),
    "one": np.array([[9], [10]], "f4"),
    "item": np.array([11, 12]),
    "click": np.array([0, 1], "f4"),
}


def record_batch(columns):
    """Columns as TensorFlow Transform makes them: a list in every row."""
    lists = {name: pa.array([np.atleast_1d(row) for row in column]) for name, column in columns.items()}
    return pa.record_batch([array.cast(pa.large_list(array.type.value_type)) for array in lists.values()], list(lists))


def written(columns):
    """Lists of the packed columns by name, one a row."""
    rows = [tf.train.Example.FromString(example).features.feature for example in packed_examples(record_batch(columns))]
    ids = [list(row[IDS].int64_list.value) for row in rows]
    return ids, [list(row[NUMBERS].float_list.value) for row in rows]


def read(columns, spec):
    return unpack(tf.io.parse_example(packed_examples(record_batch(columns)), packed_spec(spec)), spec)


def test_entries_stand_by_name_single_ones_first():
    ids, numbers = written(COLUMNS)
    assert ids == [[11, 1, 4, 5, 0], [12, 2**40, 0, 0, 0]]
    assert numbers == [[7, 0, 9, 0.5, -1], [8, 1, 10, 2, 3]]
    assert {name: (feature.shape, feature.dtype) for name, feature in packed_spec(SPEC).items()} == {
        IDS: ([5], tf.int64),
        NUMBERS: ([5], tf.float32),
    }


def test_examples_come_back_as_they_went():
    columns = read(COLUMNS, SPEC)
    assert set(columns) == set(COLUMNS)
    for name, column in COLUMNS.items():
        assert columns[name].dtype == SPEC[name].dtype
        assert columns[name].shape == column.shape
        np.testing.assert_array_equal(columns[name], column)


def test_a_part_gives_its_own_columns():
    packed = tf.io.parse_example(packed_examples(record_batch(COLUMNS)), {NUMBERS: packed_spec(SPEC)[NUMBERS]})
    columns = unpack(packed, SPEC)
    assert set(columns) == {"age", "click", "history", "one"}
    np.testing.assert_array_equal(columns["history"], COLUMNS["history"])


def test_columns_of_one_type_alone():
    spec = {"age": SPEC["age"]}
    assert set(packed_spec(spec)) == {NUMBERS}
    assert read({"age": COLUMNS["age"]}, spec)["age"].numpy().tolist() == [7, 8]


def test_a_batch_without_rows_has_no_examples():
    assert packed_examples(record_batch(COLUMNS).slice(0, 0)) == []


@hypothesis.settings(deadline=None, max_examples=50)
@hypothesis.given(
    st.dictionaries(
        st.text("abcdef", min_size=1), st.tuples(st.sampled_from(["i8", "f4"]), st.none() | st.integers(1, 4)), min_size=1
    ),
    st.integers(0, 2**32 - 1),
)
def test_any_columns_come_back(kinds, seed):
    generator = np.random.default_rng(seed)
    columns = {
        name: generator.integers(100, size=(3,) if size is None else (3, size)).astype(dtype)
        for name, (dtype, size) in kinds.items()
    }
    spec = {
        name: tf.io.FixedLenFeature([] if size is None else [size], tf.as_dtype(np.dtype(dtype)))
        for name, (dtype, size) in kinds.items()
    }
    again = read(columns, spec)
    assert set(again) == set(columns)
    for name, column in columns.items():
        assert again[name].shape == column.shape
        np.testing.assert_array_equal(again[name], column)


@pytest.mark.parametrize(
    ("feature", "message"),
    [
        (tf.io.VarLenFeature(tf.int64), "transformed column x must have one shape.*Received: VarLenFeature"),
        (tf.io.FixedLenFeature([2, 3], tf.int64), "transformed column x must have one shape"),
        (tf.io.FixedLenFeature([], tf.string), "transformed column x must be int64 or float32. Received: string"),
    ],
)
def test_refuses_what_cannot_be_packed(feature, message):
    with pytest.raises(FeatureError, match=message):
        packed_spec({"x": feature})
