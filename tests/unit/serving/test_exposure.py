import collections
import dataclasses
import errno
import json
import math
import os
import pathlib
import signal
import subprocess
import sys
import threading

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serving.errors import ExposureLogError
from serving.exposure import segments
from serving.exposure.config import ExposureConfig
from serving.exposure.log import ExposureLog
from serving.exposure.record import PREDICTED_COLUMNS, ROW_SCHEMA, ShownItems, exposure_lines
from tests.unit.serving.exposures import exposure


def rows_of(folder):
    """Rows of all closed segments, in the order of their names."""
    rows = []
    for path in sorted(pathlib.Path(folder).iterdir()):
        if path.name.startswith("."):
            continue
        if path.suffix == ".parquet":
            rows += pq.read_table(path).to_pylist()
        else:
            rows += map(json.loads, path.read_text(encoding="utf-8").splitlines())
    return rows


def config(**keys):
    return ExposureConfig(**{"sync_seconds": 0.01, "retry_seconds": 0.01} | keys)


def test_rows_of_an_answer():
    shown = exposure(num_items=3, hour=7, tag="é\n")
    columns = (
        shown.items.click,
        shown.items.watch_seconds,
        shown.items.satisfaction,
        shown.items.score,
        shown.items.propensity,
    )
    for column, value in zip(columns, (math.nan, math.nan, math.nan, math.inf, 0.25), strict=True):
        column[2] = value
    first, second, third = map(json.loads, exposure_lines(shown).decode().splitlines())
    assert first == {
        "impression_id": "r1:1",
        "request_id": "r1",
        "user_id": "u1",
        "item_id": "i0",
        "position": 1,
        "surface": "feed",
        "hour": 7,
        "tag": "é\n",
        "impressed_at": 1_768_000_000_123,
        "model_version": "1795",
        "arm": "treatment",
        "propensity": 1.0,
        "features_version": 42,
        "is_degraded": False,
        "num_shown": 3,
        "predicted_click": 0.5,
        "predicted_watch_seconds": 7.25,
        "predicted_satisfaction": 0.125,
        "score": 1.5,
    }
    assert first.keys() - {"hour", "tag"} == set(ROW_SCHEMA.names) - {"served_features"}
    assert (second["impression_id"], second["position"], second["item_id"]) == ("r1:2", 2, "i1")
    assert [third[name] for name in ("predicted_click", "predicted_watch_seconds", "score", "propensity")] == [
        None,
        None,
        None,
        0.25,
    ]
    assert exposure_lines(exposure(num_items=0)) == exposure_lines() == b""
    several = exposure("a"), exposure("b", num_items=0), exposure("c", num_items=5, hour=3)
    assert exposure_lines(*several) == b"".join(map(exposure_lines, several))


@pytest.mark.parametrize("file_format", ["jsonl", "parquet"])
@pytest.mark.parametrize("sync_seconds", [0.0, 0.01, 60.0])
def test_answers_of_many_threads_are_logged_once_and_whole(tmp_path, file_format, sync_seconds):
    log = ExposureLog(config(format=file_format, sync_seconds=sync_seconds, segment_records=30), tmp_path)

    def append(thread):
        for number in range(25):
            log.append(exposure(f"{thread}-{number}", num_items=3, hour=number), 10.0)

    threads = [threading.Thread(target=append, args=(thread,)) for thread in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    log.close()
    rows = rows_of(tmp_path)
    by_request = collections.defaultdict(list)
    for row in rows:
        by_request[row["request_id"]].append((row["position"], row["item_id"], row["hour"]))
    assert by_request == {f"{t}-{n}": [(p, f"i{p - 1}", n) for p in (1, 2, 3)] for t in range(4) for n in range(25)}
    counts = log.counts()
    assert (counts.appended, counts.synced, counts.refused, counts.waiting, counts.disk_error) == (100, 100, 0, 0, None)
    assert not list(tmp_path.glob(".*"))
    # A writer that need not sync at once may meet all answers together.
    assert len(list(tmp_path.iterdir())) > 1 or sync_seconds > 0


def test_a_segment_ends_by_age_without_another_answer(tmp_path, wait_until):
    log = ExposureLog(config(segment_seconds=0.05), tmp_path)
    log.append(exposure(), 1.0)
    wait_until(lambda: len(rows_of(tmp_path)) == 2)
    log.close()
    assert len(rows_of(tmp_path)) == 2


def test_a_safe_answer_is_on_the_disk_when_it_is_given(tmp_path):
    log = ExposureLog(config(sync_seconds=0), tmp_path)
    for number in range(3):
        log.append(exposure(f"r{number}"), 1.0)
        (journal,) = tmp_path.glob(".*.open")
        assert journal.read_bytes() == b"".join(exposure_lines(exposure(f"r{each}")) for each in range(number + 1))
        assert log.counts().synced == number + 1
    log.close()


class FullDisk:
    """Takes so many bytes, then refuses, as a full disk does: part of a write may still be taken."""

    def __init__(self, monkeypatch):
        self.num_free = math.inf
        self._write = os.write
        monkeypatch.setattr(segments.os, "write", self.write)

    def write(self, descriptor, content):
        if self.num_free <= 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        taken = self._write(descriptor, content[: int(min(len(content), self.num_free))])
        self.num_free -= taken
        return taken


@pytest.mark.parametrize("file_format", ["jsonl", "parquet"])
def test_a_full_disk_is_told_counted_and_heals(tmp_path, monkeypatch, wait_until, file_format):
    disk = FullDisk(monkeypatch)
    log = ExposureLog(config(queue_records=3, format=file_format), tmp_path)
    log.append(exposure("before"), 1.0)
    wait_until(lambda: log.counts().synced == 1)
    disk.num_free = 100  # less than an answer
    for number in range(3):
        log.append(exposure(f"kept {number}"), 1.0)
    wait_until(lambda: log.counts().disk_failures > 1 and log.counts().waiting == 3)
    assert log.counts().disk_error == "No space left on device"
    with pytest.raises(ExposureLogError, match=r"logged before it is given. Received: the disk refuses: No space left"):
        log.append(exposure("refused"), 1.0)
    disk.num_free = math.inf
    wait_until(lambda: log.counts().synced == 4)
    log.append(exposure("after"), 1.0)
    log.close()
    assert [row["request_id"] for row in rows_of(tmp_path)][::2] == ["before", "kept 0", "kept 1", "kept 2", "after"]
    counts = log.counts()
    assert (counts.appended, counts.synced, counts.refused, counts.disk_error) == (5, 5, 1, None)


def test_an_answer_that_waits_for_a_full_disk_is_taken_back(tmp_path, monkeypatch):
    disk = FullDisk(monkeypatch)
    log = ExposureLog(config(sync_seconds=0), tmp_path)
    disk.num_free = 0
    with pytest.raises(ExposureLogError, match="the disk refuses: No space left on device"):
        log.append(exposure("taken back"), 0.1)
    disk.num_free = math.inf
    log.append(exposure("given"), 10.0)
    log.close()
    assert {row["request_id"] for row in rows_of(tmp_path)} == {"given"}
    assert (log.counts().appended, log.counts().refused) == (1, 1)


def test_a_disk_that_fails_to_sync_is_written_again(tmp_path, monkeypatch):
    sync, failures = os.fsync, [OSError(errno.EIO, "Input/output error")] * 2

    def fail_twice(descriptor):
        if failures:
            raise failures.pop()
        sync(descriptor)

    log = ExposureLog(config(sync_seconds=0), tmp_path)
    monkeypatch.setattr(segments.os, "fsync", fail_twice)
    log.append(exposure("r1"), 10.0)
    log.append(exposure("r2"), 10.0)
    log.close()
    assert [row["impression_id"] for row in rows_of(tmp_path)] == ["r1:1", "r1:2", "r2:1", "r2:2"]
    assert log.counts().disk_failures == 2


def test_a_disk_that_stays_full_ends_in_an_error(tmp_path, monkeypatch):
    disk = FullDisk(monkeypatch)
    log = ExposureLog(config(), tmp_path)
    disk.num_free = 0
    log.append(exposure(), 1.0)
    with pytest.raises(ExposureLogError, match=r"must be written before the end. Received: 1 answers wait, No space left"):
        log.close(0.2)
    with pytest.raises(ExposureLogError, match="Received: the log is closed"):
        log.append(exposure(), 1.0)


def test_back_pressure_waits_for_room(tmp_path, monkeypatch, wait_until):
    disk = FullDisk(monkeypatch)
    log = ExposureLog(config(queue_records=1, when_full="wait"), tmp_path)
    disk.num_free = 0
    log.append(exposure("r1"), 1.0)
    wait_until(lambda: log.counts().disk_failures > 0)
    with pytest.raises(ExposureLogError, match="the disk refuses"):
        log.append(exposure("late"), 0.05)
    appended = threading.Thread(target=log.append, args=(exposure("r2"), 10.0))
    appended.start()
    disk.num_free = math.inf
    appended.join()
    log.close()
    assert [row["request_id"] for row in rows_of(tmp_path)][::2] == ["r1", "r2"]


KILLED = """
import sys
from serving.exposure.config import ExposureConfig
from serving.exposure.log import ExposureLog
from tests.unit.serving.exposures import exposure

log = ExposureLog(ExposureConfig(sync_seconds=float(sys.argv[2]), when_full="wait"), sys.argv[1])
for number in range(1_000_000):
    log.append(exposure(f"r{number}", num_items=5), 10.0)
    print(number + 1 if sys.argv[2] == "0.0" else log.counts().synced, flush=True)
"""


@pytest.mark.parametrize("file_format", ["jsonl", "parquet"])
@pytest.mark.parametrize("sync_seconds", [0.0, 0.05])
def test_after_a_kill_what_was_given_is_there(tmp_path, sync_seconds, file_format):
    process = subprocess.Popen([sys.executable, "-c", KILLED, tmp_path, str(sync_seconds)], stdout=subprocess.PIPE, text=True)
    num_safe = 0
    while num_safe < 200:
        num_safe = int(process.stdout.readline())
    process.send_signal(signal.SIGKILL)
    num_safe = max([num_safe, *map(int, process.stdout.read().splitlines())])
    process.wait()
    process.stdout.close()
    # A journal whose last answer was cut in two.
    (journal,) = tmp_path.glob(".*.open")
    with open(journal, "ab") as file:
        file.write(exposure_lines(exposure("torn", num_items=5))[:-300])
    log = ExposureLog(config(format=file_format), tmp_path)
    log.close()
    assert log.counts().recovered_segments == 1
    requests = [row["request_id"] for row in rows_of(tmp_path)]
    assert requests == [f"r{number}" for number in range(len(requests) // 5) for _ in range(5)]
    # Where each answer waits for the disk, all that were given; else all that were synced by then.
    assert len(requests) // 5 >= num_safe


def test_a_journal_of_a_living_process_is_left_alone(tmp_path):
    first = ExposureLog(config(), tmp_path)
    second = ExposureLog(config(), tmp_path)
    assert second.counts().recovered_segments == 0
    for name, log in (("a", first), ("b", second)):
        log.append(exposure(name), 1.0)
        log.close()
    assert {row["request_id"] for row in rows_of(tmp_path)} == {"a", "b"}


def test_numbers_come_back_as_they_were():
    values = [0.1, 1e-300, 5e-324, 1.7e308, 2.0**53 + 2, -0.0, 1.0, 123456.789, float(np.float32(0.1))]
    item_ids = [f'i"{place}\\' for place in range(len(values))]
    columns = np.array([values, np.ones(9), np.zeros(9), np.negative(values), np.full(9, 0.5)])
    items = ShownItems(item_ids, *columns)
    rows = [json.loads(line) for line in exposure_lines(dataclasses.replace(exposure('r"\\'), items=items)).splitlines()]
    assert [(row["predicted_click"], row["score"]) for row in rows] == [(value, -value) for value in values]
    assert [row["item_id"] for row in rows] == item_ids
    assert rows[8]["impression_id"] == 'r"\\:9'


ITEM_TEXT = st.text(st.characters(codec="utf-8") | st.sampled_from('"\\\n\r\0\x1f\x7f\u2028,'))


@settings(deadline=None, max_examples=100)
@given(st.lists(st.dictionaries(ITEM_TEXT, st.tuples(*[st.floats()] * 5), max_size=5), max_size=3))
def test_rows_hold_what_was_shown_whatever_it_is(answers):
    exposures = [
        dataclasses.replace(
            exposure(f"r{number}", hour=number),
            items=ShownItems(list(row_by_item), *np.reshape(list(row_by_item.values()), (-1, 5)).T),
        )
        for number, row_by_item in enumerate(answers)
    ]
    wanted = [
        (f"r{number}", number, place, len(row_by_item), item_id, *(value if math.isfinite(value) else None for value in values))
        for number, row_by_item in enumerate(answers)
        for place, (item_id, values) in enumerate(row_by_item.items(), start=1)
    ]
    names = ("request_id", "hour", "position", "num_shown", "item_id", *PREDICTED_COLUMNS, "score", "propensity")
    rows = [json.loads(line) for line in exposure_lines(*exposures).split(b"\n")[:-1]]
    assert [tuple(row[name] for name in names) for row in rows] == wanted
    assert [row["impression_id"] for row in rows] == [f"{row['request_id']}:{row['position']}" for row in rows]
