import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tensorflow as tf

from data.errors import OutputError
from data.examples import read_examples
from data.outputs import remove_unfinished, renamed_when_whole, require_no_shards, write_shard, write_table

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


def test_a_failed_attempt_leaves_nothing_for_readers_of_the_whole_folder(tmp_path, monkeypatch):
    def fail(table):
        raise OSError("no space left")

    with monkeypatch.context() as patched:
        patched.setattr("data.outputs.tfrecords_of", fail)
        with pytest.raises(OSError, match="no space left"):
            write_shard(str(tmp_path), 0, 1, TABLE)
    assert list(tmp_path.iterdir()) == []
    write_shard(str(tmp_path), 0, 1, TABLE)
    # As one of a worker that was killed, which could clear nothing away.
    (tmp_path / ".unfinished-data_tfrecord-00000-of-00001.gz.1").write_bytes(b"half")
    assert len(tf.io.gfile.glob(f"{tmp_path}/*")) == 2
    remove_unfinished(str(tmp_path))
    assert [path.name for path in tmp_path.iterdir()] == ["data_tfrecord-00000-of-00001.gz"]


def test_shards_of_another_run_are_not_joined(tmp_path):
    require_no_shards(str(tmp_path / "new"))
    write_shard(str(tmp_path), 0, 2, TABLE)
    with pytest.raises(OutputError, match=r"must be new or without examples. Received: .*data_tfrecord-00000-of-00002.gz"):
        require_no_shards(str(tmp_path))
