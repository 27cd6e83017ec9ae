import pyarrow as pa
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from tfx_bsl.coders import example_coder

from data.encoding import encode, tfrecords_of
from data.examples import decode

SCHEMA = pa.schema(
    [
        ("text", pa.string()),
        ("count", pa.int64()),
        ("share", pa.float32()),
        ("known", pa.float32()),
        ("vector", pa.list_(pa.float32())),
        ("ragged", pa.list_(pa.float32())),
        ("words", pa.list_(pa.string())),
    ]
)
numbers = st.floats(width=32, allow_nan=False)
rows_strategy = st.lists(
    st.fixed_dictionaries(
        {
            "text": st.none() | st.text(max_size=300),
            "count": st.none() | st.integers(-(2**63), 2**63 - 1),
            "share": st.none() | numbers,
            "known": numbers,
            "vector": st.lists(numbers, min_size=3, max_size=3),
            "ragged": st.lists(numbers, max_size=70),
            "words": st.lists(st.text(max_size=5), max_size=3),
        }
    ),
    max_size=8,
)


def example_of(row):
    """The example as TensorFlow's own message."""
    example = tf.train.Example()
    for field in SCHEMA:
        value = row[field.name]
        if value is None:
            continue
        values = value if isinstance(value, list) else [value]
        feature = example.features.feature[field.name]
        if field.name in ("text", "words"):
            feature.bytes_list.value.extend(value.encode() for value in values)
        elif field.name == "count":
            feature.int64_list.value.extend(values)
        else:
            feature.float_list.value.extend(values)
    return example


def with_values(example):
    return {name: feature for name, feature in example.features.feature.items() if feature.ByteSize() > 2}


@settings(deadline=None)
@given(rows_strategy)
def test_messages_are_those_that_tensorflow_builds(rows):
    records = encode(pa.Table.from_pylist(rows, schema=SCHEMA)).to_pylist()
    assert len(records) == len(rows)
    for record, row in zip(records, rows, strict=True):
        found, expected = tf.train.Example.FromString(record), example_of(row)
        assert {n: str(f) for n, f in with_values(found).items()} == {n: str(f) for n, f in with_values(expected).items()}


@settings(deadline=None)
@given(rows_strategy)
def test_the_coder_of_tfx_reads_what_was_written(rows):
    table = pa.Table.from_pylist(rows, schema=SCHEMA)
    assert decode(encode(table).to_pylist(), SCHEMA).equals(table)


@settings(deadline=None)
@given(rows_strategy, st.integers(0, 8), st.integers(0, 8))
def test_a_slice_is_written_as_what_it_shows(rows, start, length):
    table = pa.Table.from_pylist(rows, schema=SCHEMA)
    copied = pa.Table.from_pylist(rows[start : start + length], schema=SCHEMA)
    assert encode(table.slice(start, length)).equals(encode(copied))


def test_size_is_not_more_than_that_of_the_coder_of_tfx():
    columns = {"text": [["a"], ["bb"]], "count": [[1], [300]], "share": [[0.5], [1.5]]}
    lists = [pa.array(values, pa.list_(type_)) for values, type_ in zip(columns.values(), COLUMN_TYPES, strict=True)]
    theirs = example_coder.RecordBatchToExamples(pa.RecordBatch.from_arrays(lists, names=list(columns)))
    ours = encode(pa.table({name: [value[0] for value in values] for name, values in columns.items()}, schema=PLAIN_SCHEMA))
    assert [len(record) for record in ours.to_pylist()] == [len(record) for record in theirs]


COLUMN_TYPES = (pa.binary(), pa.int64(), pa.float32())
PLAIN_SCHEMA = pa.schema([("text", pa.string()), ("count", pa.int64()), ("share", pa.float32())])


@pytest.mark.parametrize("num_rows", [0, 1, 3])
def test_tensorflow_accepts_the_frames(tmp_path, num_rows):
    table = pa.Table.from_pylist(
        [{"text": "x" * (100 * n), "count": -n, "words": ["a"]} for n in range(num_rows)], schema=SCHEMA
    )
    path = tmp_path / "records"
    path.write_bytes(tfrecords_of(table))
    records = [record.numpy() for record in tf.data.TFRecordDataset(str(path))]
    assert records == encode(table).to_pylist()


def test_a_column_without_any_value_is_absent():
    (record,) = encode(pa.table({"text": pa.nulls(1, pa.string()), "count": [1]})).to_pylist()
    assert list(tf.train.Example.FromString(record).features.feature) == ["count"]


def test_no_column_at_all():
    assert encode(pa.table({"text": pa.nulls(2, pa.string())})).to_pylist() == [b"", b""]
