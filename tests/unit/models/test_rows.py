import numpy as np
import pyarrow as pa
import pytest
import tensorflow as tf

from models.errors import TrainingError
from models.packing import packed_examples
from models.rows import TransformedRows

SPEC = {
    "id": tf.io.FixedLenFeature([], tf.int64),
    "x": tf.io.FixedLenFeature([], tf.float32),
    "vector": tf.io.FixedLenFeature([2], tf.float32),
}
# Uneven, so that files end within a block and within a batch.
FILE_ROWS = (300, 1, 421, 278)
NUM_ROWS = sum(FILE_ROWS)


def columns(ids):
    return {
        "id": pa.array([[value] for value in ids], pa.list_(pa.int64())),
        "x": pa.array([[value / 2] for value in ids], pa.list_(pa.float32())),
        "vector": pa.array([[value, -value] for value in ids], pa.list_(pa.float32())),
    }


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("rows")
    ids = iter(range(NUM_ROWS))
    for number, num_rows in enumerate(FILE_ROWS):
        of_file = columns([next(ids) for _ in range(num_rows)])
        with tf.io.TFRecordWriter(str(folder / f"rows-{number}.gz"), "GZIP") as writer:
            for example in packed_examples(pa.record_batch(list(of_file.values()), list(of_file))):
                writer.write(example)
    return folder


@pytest.fixture
def rows(folder):
    return TransformedRows([str(folder / "*.gz")], SPEC)


def batches_of(rows, **changes):
    arguments = {"batch_size": 64, "window_rows": 200, "seed": 3, "epoch": 0, **changes}
    return [rows.columns(packed)["id"].numpy().tolist() for packed in rows.shuffled_batches(**arguments)]


def flat(batches):
    return [value for batch in batches for value in batch]


def test_every_row_comes_once_in_whole_batches(rows):
    batches = batches_of(rows)
    assert [len(batch) for batch in batches] == [64] * 15 + [40]
    assert sorted(flat(batches)) == list(range(NUM_ROWS))
    assert flat(batches) != list(range(NUM_ROWS))


def test_order_follows_from_seed_and_epoch(rows):
    assert batches_of(rows) == batches_of(rows)
    assert batches_of(rows) != batches_of(rows, seed=4)
    assert batches_of(rows) != batches_of(rows, epoch=1)


def test_files_come_in_another_order_in_another_epoch(rows):
    """A window smaller than a file shows where the files lie."""
    starts = {tuple(value // 100 for value in batches_of(rows, epoch=epoch, window_rows=1)[0][:1]) for epoch in range(8)}
    assert len(starts) > 1


@pytest.mark.parametrize("first_batch", [0, 1, 3, 4, 7, 8, 15, 16, 30])
def test_going_on_within_an_epoch_gives_the_rest_of_it(rows, first_batch):
    assert batches_of(rows, first_batch=first_batch) == batches_of(rows)[first_batch:]


@pytest.mark.parametrize("changes", [{}, {"epoch": 5, "first_batch": 4}, {"window_rows": 1, "drop_remainder": True}])
def test_rows_in_memory_come_as_from_files(rows, changes):
    wanted, read = batches_of(rows, **changes), rows.read(["x", "id"])[0]
    with rows.held(max_mib=1) as is_held:
        assert is_held
        rows.files = ("/nowhere/rows.gz",) * len(rows.files)
        assert batches_of(rows, **changes) == wanted
        held, num_rows = rows.read(["x", "id"])
        assert (set(held), num_rows, rows.read([])) == ({"x", "id"}, NUM_ROWS, ({}, NUM_ROWS))
        for name, column in held.items():
            np.testing.assert_array_equal(np.sort(column), np.sort(read[name]))


def test_what_was_held_is_read_from_files_again(rows):
    with rows.held(max_mib=1):
        pass
    rows.files = ("/nowhere/rows.gz",) * len(rows.files)
    with pytest.raises(tf.errors.NotFoundError, match="/nowhere"):
        batches_of(rows)


@pytest.mark.parametrize("estimate", [NUM_ROWS, 10])
def test_rows_that_take_more_memory_than_they_may_are_read_from_files(rows, monkeypatch, estimate):
    """A row takes 20 bytes; an estimate that is too low is noticed on the way."""
    monkeypatch.setattr("models.rows._MIB", 20 * 900)
    monkeypatch.setattr(rows, "estimate", lambda: estimate)
    wanted = batches_of(rows)
    with rows.held(max_mib=1) as is_held:
        assert not is_held
        assert batches_of(rows) == wanted
    with rows.held(max_mib=0) as is_held:
        assert not is_held


def test_rows_are_mixed_within_windows_alone(rows):
    """The window is rounded up to 256 rows: the rows of a window are those that reading would have given."""
    in_order = flat(batches_of(rows, window_rows=1, batch_size=1))
    mixed = flat(batches_of(rows, window_rows=200))
    for start in range(0, NUM_ROWS, 256):
        assert sorted(mixed[start : start + 256]) == sorted(in_order[start : start + 256])
    assert mixed[:256] != in_order[:256]


def test_columns_of_a_row_stay_together(rows):
    for packed in rows.shuffled_batches(64, 500, seed=1, epoch=0):
        batch = {name: column.numpy() for name, column in rows.columns(packed).items()}
        np.testing.assert_array_equal(batch["x"], batch["id"] / 2)
        np.testing.assert_array_equal(batch["vector"], np.stack([batch["id"], -batch["id"]], axis=1))


def test_a_smaller_last_batch_can_be_left_out(rows):
    assert {len(batch) for batch in batches_of(rows, drop_remainder=True)} == {64}


def test_plain_batches_hold_every_row_once(rows):
    batches = [rows.columns(packed)["id"].numpy().tolist() for packed in rows.batches(128)]
    assert [len(batch) for batch in batches] == [128] * 7 + [104]
    assert sorted(flat(batches)) == list(range(NUM_ROWS))


@pytest.mark.parametrize("names", [["x"], ["vector", "id"], []])
def test_columns_can_be_read_whole(rows, names):
    read, num_rows = rows.read(names)
    assert num_rows == NUM_ROWS
    assert set(read) == set(names)
    if "x" in names:
        np.testing.assert_array_equal(np.sort(read["x"]), np.arange(NUM_ROWS) / 2)
    if "vector" in names:
        np.testing.assert_array_equal(read["vector"], np.stack([read["id"], -read["id"]], axis=1))


def test_number_of_rows_is_estimated_from_sizes(rows):
    assert rows.estimate() == pytest.approx(NUM_ROWS, rel=0.05)


def test_a_file_without_rows_is_no_trouble(folder, tmp_path):
    with tf.io.TFRecordWriter(str(tmp_path / "empty.gz"), "GZIP"):
        pass
    empty = TransformedRows([str(tmp_path / "*.gz")], SPEC)
    assert batches_of(empty) == []
    assert empty.read(["x"]) == ({}, 0)
    assert empty.estimate() == 1
    both = TransformedRows([str(folder / "*.gz"), str(tmp_path / "*.gz")], SPEC)
    assert len(flat(batches_of(both))) == NUM_ROWS


def test_a_pattern_without_files_is_an_error(folder):
    with pytest.raises(TrainingError, match=r"must lie in files of TFRecords. Received: /nowhere/\*, which matches no file"):
        TransformedRows([str(folder / "*.gz"), "/nowhere/*"], SPEC)
