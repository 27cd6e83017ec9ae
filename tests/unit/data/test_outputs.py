import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tensorflow as tf

from data.examples import read_examples
from data.outputs import renamed_when_whole, write_shard, write_table

SCHEMA = pa.schema([("name", pa.string()), ("number", pa.int64()), ("vector", pa.list_(pa.float32()))])
TABLE = pa.table([["a", None, "c"], [1, 2, None], [[0.5, 1.0], [], [2.0]]], schema=SCHEMA)


def test_a_shard_is_read_by_us_and_by_tensorflow(tmp_path):
    write_shard(str(tmp_path / "train"), 3, 8, TABLE)
    (path,) = (tmp_path / "train").iterdir()
    assert path.name == "data_tfrecord-00003-of-00008.gz"
    assert read_examples([str(path)], SCHEMA).equals(TABLE)
    # TensorFlow checks the checksums of the records.
    examples = [tf.train.Example.FromString(record.numpy()) for record in tf.data.TFRecordDataset(str(path), "GZIP")]
    assert [example.features.feature["number"].int64_list.value for example in examples] == [[1], [2], []]


def test_a_second_attempt_replaces_the_first(tmp_path):
    write_shard(str(tmp_path), 0, 1, TABLE)
    write_shard(str(tmp_path), 0, 1, TABLE.slice(1))
    (path,) = tmp_path.iterdir()
    assert read_examples([str(path)], SCHEMA).equals(TABLE.slice(1))


def test_nothing_bears_the_name_until_it_is_whole(tmp_path):
    path = tmp_path / "table.parquet"

    def pieces():
        yield TABLE
        assert not path.exists()
        raise RuntimeError("killed")

    with pytest.raises(RuntimeError, match="killed"):
        write_table(str(path), SCHEMA, pieces())
    assert not path.exists()
    assert not list(tmp_path.glob("[!.]*"))
    write_table(str(path), SCHEMA, [TABLE, TABLE])
    assert pq.read_table(path).num_rows == 6


def test_a_failed_attempt_leaves_the_earlier_file(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("before")

    def fail():
        with renamed_when_whole(str(path)) as file:
            file.write(b"after")
            raise RuntimeError("killed")

    with pytest.raises(RuntimeError, match="killed"):
        fail()
    assert path.read_text() == "before"
