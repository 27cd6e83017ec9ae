import os

import pytest

from pipeline.fingerprint import inputs_digest, sources_digest


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


def test_packages_differ():
    assert sources_digest("models") == sources_digest("models") != sources_digest("data")
