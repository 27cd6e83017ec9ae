import gzip

import pyarrow as pa
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from data.encoding import encode
from data.errors import LogFormatError
from data.examples import decode, read_examples

SCHEMA = pa.schema([("name", pa.string()), ("count", pa.int64()), ("share", pa.float32())])
rows_strategy = st.lists(
    st.fixed_dictionaries(
        {
            "name": st.one_of(st.none(), st.text(max_size=5)),
            "count": st.one_of(st.none(), st.integers(-(2**63), 2**63 - 1)),
            "share": st.one_of(st.none(), st.floats(width=32, allow_nan=False)),
        }
    ),
    max_size=10,
)


@settings(deadline=None)
@given(rows_strategy)
def test_round_trip(rows):
    table = pa.Table.from_pylist(rows, schema=SCHEMA)
    assert decode(encode(table).to_pylist(), SCHEMA).equals(table)


def test_tensorflow_reads_the_same_and_null_is_absent():
    table = pa.table({"name": ["é", None], "count": [7, None], "share": [0.5, None]}, schema=SCHEMA)
    spec = {
        "name": tf.io.FixedLenFeature([], tf.string, "default"),
        "count": tf.io.FixedLenFeature([], tf.int64, -1),
        "share": tf.io.FixedLenFeature([], tf.float32, -2.0),
    }
    parsed = tf.io.parse_example(encode(table).to_pylist(), spec)
    assert parsed["name"].numpy().tolist() == ["é".encode(), b"default"]
    assert parsed["count"].numpy().tolist() == [7, -1]
    assert parsed["share"].numpy().tolist() == [0.5, -2.0]


def test_files_that_tensorflow_wrote(tmp_path):
    table = pa.table({"name": ["a", "b", "c"], "count": [1, 2, 3], "share": [0.5, 1.5, None]}, schema=SCHEMA)
    paths = [str(tmp_path / "one.gz"), str(tmp_path / "two")]
    for path, part in zip(paths, (table.slice(0, 2), table.slice(2)), strict=True):
        with tf.io.TFRecordWriter(path, "GZIP" if path.endswith(".gz") else "") as writer:
            for example in encode(part).to_pylist():
                writer.write(example)
    assert read_examples(paths, SCHEMA).equals(table)
    assert read_examples(paths, SCHEMA.remove(1)).column_names == ["name", "share"]
    assert read_examples([], SCHEMA).num_rows == 0


@pytest.mark.parametrize("cut", [1, 10, 30])
def test_a_cut_file_is_named(tmp_path, cut):
    table = pa.table({"name": ["a"], "count": [1], "share": [0.5]}, schema=SCHEMA)
    path = tmp_path / "part.gz"
    with tf.io.TFRecordWriter(str(tmp_path / "plain")) as writer:
        writer.write(encode(table)[0].as_py())
    path.write_bytes(gzip.compress((tmp_path / "plain").read_bytes()[:-cut]))
    with pytest.raises(LogFormatError, match=r"part.gz: cannot be read"):
        read_examples([str(path)], SCHEMA)
