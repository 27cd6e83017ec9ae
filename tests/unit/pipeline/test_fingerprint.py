import os

import pytest

from data.errors import LogFormatError
from pipeline.fingerprint import inputs_digest, sources_digest
from tests.unit.data.memory_files import MemoryFiles, MemoryFileSystem


@pytest.fixture
def logs(tmp_path):
    paths = [tmp_path / name for name in ("a.jsonl", "b.jsonl")]
    for path in paths:
        path.write_text("{}\n")
        os.utime(path, ns=(0, 0))
    return paths


def test_same_files_in_any_order_agree(logs):
    assert inputs_digest(logs) == inputs_digest(reversed(logs))


def test_change_of_size_time_or_name_shows(logs, tmp_path):
    before = inputs_digest(logs)
    os.utime(logs[0], ns=(0, 1))
    touched = inputs_digest(logs)
    logs[1].write_text("{} {}\n")
    os.utime(logs[1], ns=(0, 0))
    grown = inputs_digest(logs)
    renamed = inputs_digest([logs[0].rename(tmp_path / "c.jsonl"), logs[1]])
    assert len({before, touched, grown, renamed}) == 4


def test_relative_and_absolute_path_of_a_file_agree(logs, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert inputs_digest(["a.jsonl", "b.jsonl"]) == inputs_digest(logs)


def test_remote_files_count_by_size_and_time(monkeypatch):
    path = "memory://logs/a.jsonl"
    with MemoryFiles({path: b"{}"}):
        before = inputs_digest([path])
        assert inputs_digest([path]) == before
        MemoryFileSystem.content_by_path[path] += b" "
        grown = inputs_digest([path])
        monkeypatch.setattr("tests.unit.data.memory_files.CHANGED_AT_SECONDS", 1)
        touched = inputs_digest([path])
        assert len({before, grown, touched}) == 3
    with MemoryFiles({}), pytest.raises(LogFormatError, match=r"memory://logs/a.jsonl: No such file"):
        inputs_digest([path])


def test_packages_differ():
    assert sources_digest("models") == sources_digest("models") != sources_digest("data")
