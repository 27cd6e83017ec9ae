import gzip
import subprocess
import sys

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from data import storage
from data.errors import LogFormatError
from tests.unit.data.memory_files import MemoryFiles


def content_of(path, size=-1):
    with storage.open_content(str(path)) as content:
        return content.read(size)


def test_local_files_are_matched_and_opened_without_beam(tmp_path):
    (tmp_path / "a.jsonl").write_text("{}")
    script = (
        "import sys\nfrom data import ingest, storage\n"
        f"(file,) = storage.match({str(tmp_path / '*.jsonl')!r})\n"
        "with storage.open_content(file.path) as content: assert content.read() == b'{}'\n"
        "print(*sys.modules)"
    )
    loaded = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout.split()
    assert not {"apache_beam", "tensorflow", "tfx_bsl", "grpc"} & set(loaded)


def test_a_glob_names_files_in_order_with_size_and_time(tmp_path):
    for name in ("b.csv", "a.csv", "c.txt", "deep/d.csv"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(name)
    (tmp_path / "e.csv").mkdir()
    assert [file.path for file in storage.match(f"{tmp_path}/*.csv")] == [f"{tmp_path}/a.csv", f"{tmp_path}/b.csv"]
    assert [file.path for file in storage.match(f"{tmp_path}/**/*.csv")][-1] == f"{tmp_path}/deep/d.csv"
    assert storage.match(f"{tmp_path}/*.none") == []
    stat = (tmp_path / "c.txt").stat()
    assert storage.stored_file(f"{tmp_path}/c.txt") == storage.StoredFile(f"{tmp_path}/c.txt", 5, stat.st_mtime_ns)


def test_other_file_systems_are_matched_and_opened():
    with MemoryFiles({"memory://day/a.csv": b"one", "memory://day/b.csv": b"three", "memory://else.csv": b""}):
        found = storage.match("memory://day/*.csv")
        assert [(file.path, file.num_bytes) for file in found] == [("memory://day/a.csv", 3), ("memory://day/b.csv", 5)]
        assert storage.stored_file("memory://day/b.csv") == found[1]
        assert found[1].changed_at_ns == 1_767_225_600 * 10**9
        assert content_of("memory://day/a.csv") == b"one"
        with storage.open_stored("memory://day/b.csv") as file:
            file.seek(2)
            assert file.read() == b"ree"


@pytest.mark.parametrize("call", [storage.stored_file, storage.open_stored, content_of])
def test_a_missing_file_is_named(tmp_path, call):
    with pytest.raises(LogFormatError, match=r"none.csv: No such file or directory"):
        call(str(tmp_path / "none.csv"))
    with MemoryFiles({}), pytest.raises(LogFormatError, match=r"^memory://none.csv: "):
        call("memory://none.csv")


def test_an_unknown_file_system_is_named():
    with pytest.raises(LogFormatError, match=r"^nowhere://x/\*: the file system does not answer: .*nowhere://"):
        storage.match("nowhere://x/*")
    with pytest.raises(LogFormatError, match=r"^nowhere://x: cannot be opened: "):
        storage.open_stored("nowhere://x")


@settings(deadline=None, max_examples=40)
@given(parts=st.lists(st.binary(max_size=300), max_size=4), sizes=st.lists(st.integers(1, 90), min_size=1, max_size=4))
@pytest.mark.parametrize(("suffix", "compress"), [(".gz", gzip.compress), (".zst", zstandard.compress), ("", bytes)])
def test_compressed_content_is_the_content(tmp_path_factory, suffix, compress, parts, sizes):
    path = tmp_path_factory.mktemp("content") / f"log.jsonl{suffix}"
    path.write_bytes(b"".join(compress(part) for part in parts))
    pieces = []
    with storage.open_content(str(path)) as content:
        while piece := content.read(sizes[len(pieces) % len(sizes)]):
            pieces.append(piece)
    assert b"".join(pieces) == b"".join(parts)
    assert all(len(piece) == sizes[index % len(sizes)] for index, piece in enumerate(pieces[:-1]))


@pytest.mark.parametrize(("suffix", "compress"), [(".gz", gzip.compress), (".zst", zstandard.compress)])
def test_a_cut_stream_does_not_pass_for_a_short_one(tmp_path, suffix, compress):
    whole = compress(bytes(range(256)) * 100)
    (tmp_path / f"log{suffix}").write_bytes(whole[:-8])
    with pytest.raises(EOFError, match="end"):
        content_of(tmp_path / f"log{suffix}")
