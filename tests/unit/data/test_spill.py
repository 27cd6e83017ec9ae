import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data.batches import partition
from data.spill import Part, SpillWriter, read_parts, write_batches

SCHEMA = pa.schema([("key", pa.string()), ("value", pa.int64()), ("list", pa.list_(pa.float32()))])


def table_of(keys):
    return pa.table([keys, range(len(keys)), [[float(len(key))] for key in keys]], schema=SCHEMA)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return str(tmp_path_factory.mktemp("spill"))


@settings(deadline=None)
@given(st.lists(st.lists(st.sampled_from("abcdefg"), max_size=6), max_size=4), st.integers(1, 5), st.sampled_from([1, 10_000]))
def test_what_is_spilled_comes_back_in_the_part_of_its_key(folder, blocks, num_parts, max_bytes):
    writer = SpillWriter(folder, "key", num_parts, max_bytes)
    parts_by_number = {}
    for block in blocks:
        for number, part in writer.add(table_of(block)):
            parts_by_number.setdefault(number, []).append(part)
    for number, part in writer.flush():
        parts_by_number.setdefault(number, []).append(part)
    assert writer.flush() == []
    everything = pa.concat_tables([SCHEMA.empty_table(), *map(table_of, blocks)])
    expected = {number: sorted(table["key"].to_pylist()) for number, table in partition(everything, "key", num_parts)}
    assert {n: sorted(read_parts(parts)["key"].to_pylist()) for n, parts in parts_by_number.items()} == expected


def test_a_single_part_without_a_key(folder):
    writer = SpillWriter(folder, None, 7)
    assert writer.add(table_of("ab")) == []
    ((number, part),) = writer.flush()
    assert number == 0
    assert read_parts([part]).equals(table_of("ab"))


def test_parts_of_several_files_come_in_one_order(folder):
    first = write_batches(folder, [table_of("a"), table_of("bb")])
    second = write_batches(folder, [table_of("ccc")])
    parts = [Part(second, 0), Part(first, 1), Part(first, 0)]
    assert read_parts(parts).equals(read_parts(parts[::-1]))
    assert sorted(read_parts(parts)["key"].to_pylist()) == ["a", "b", "b", "c", "c", "c"]
    assert all(column.num_chunks == 1 for column in read_parts(parts).columns)


def test_no_part_needs_a_schema(folder):
    assert read_parts([], SCHEMA).num_rows == 0
    with pytest.raises(ValueError, match=r"parts must hold at least one, or schema be given"):
        read_parts([])


def test_slices_are_written_as_what_they_show(folder):
    path = write_batches(folder, [table_of("abcdef").slice(2, 3)])
    assert read_parts([Part(path, 0)]).equals(table_of("abcdef").slice(2, 3))


def test_nothing_is_written_where_the_folder_is_gone(tmp_path):
    """A worker that is late, after its run has failed and been cleared away, must not bring the folder back."""
    with pytest.raises(OSError, match="gone"):
        write_batches(str(tmp_path / "gone"), [table_of("a")])
    assert not (tmp_path / "gone").exists()
