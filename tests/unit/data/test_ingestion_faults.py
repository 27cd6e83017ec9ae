"""Logs as they break in practice, through the whole ingestion: right counts, or one clear error."""

import gzip
import os
import signal
import subprocess
import sys
import textwrap
import time

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from data.errors import DeadLetterError, LogFormatError
from tests.unit.data.ingestion import ingest, letters_of, rows_by_id
from tests.unit.data.log_files import ENGAGEMENT, IMPRESSION, both_logs, log_bytes, write_log, write_text

NUM_IMPRESSIONS = 3_000
MINUTE_MS = 60_000


def impressions(num_users=50, **columns):
    return [
        {
            **IMPRESSION,
            "impression_id": f"i{n}",
            "user_id": f"u{n % num_users}",
            "item_id": f"v{n % 20}",
            "impressed_at": IMPRESSION["impressed_at"] + n * MINUTE_MS,
            **columns,
        }
        for n in range(NUM_IMPRESSIONS)
    ]


def clicks(after_ms=1_000):
    return [
        {**ENGAGEMENT, "event_id": f"e{n}", "impression_id": f"i{n}", "engaged_at": shown["impressed_at"] + after_ms}
        for n, shown in enumerate(impressions())
        if n % 3 == 0
    ]


def config_of(folder, suffix=".jsonl", shown=None, **keys):
    return both_logs(folder, suffix, impressions=shown or impressions(), engagements=clicks(), **{**keys})


@pytest.mark.parametrize(
    ("suffix", "share"), [(".jsonl.gz", 0.6), (".csv.gz", 0.6), (".jsonl.zst", 0.6), (".parquet", 0.5), (".tfrecord.gz", 0.7)]
)
def test_a_file_cut_short_is_one_error_that_names_it(tmp_path, suffix, share):
    config = config_of(tmp_path, suffix)
    path = tmp_path / f"engagements{suffix}"
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    out = tmp_path / "out"
    # As a check of the first records finds it, and as a worker finds it.
    for is_checked in (True, False):
        with pytest.raises(Exception, match=rf"engagements{suffix}: cannot be read, it is damaged or cut short"):
            ingest(config, out, is_checked=is_checked)
    assert not list(out.rglob("data_tfrecord-*"))
    assert list((out / "spill").iterdir()) == []


def test_one_per_cent_of_garbage_is_dead_letters_and_right_counts(tmp_path):
    config = config_of(tmp_path, max_dead_letter_rate=0.02)
    lines = log_bytes(".jsonl", impressions()).splitlines()
    for n in range(0, NUM_IMPRESSIONS, 100):
        lines[n] = b"\x00\xff{broken" if n % 200 else b'{"impression_id": 7'
    write_text(tmp_path / "impressions.jsonl", b"\n".join(lines) + b"\n")
    counts = ingest(config, tmp_path / "out")
    assert (counts.impressions_read, counts.impressions_dead_lettered) == (NUM_IMPRESSIONS, 30)
    lost = sum(1 for n in range(0, NUM_IMPRESSIONS, 100) if n % 3 == 0)
    assert (counts.engagements_attributed, counts.engagements_without_impression) == (1_000 - lost, lost)
    assert [letter["line"] for letter in letters_of(tmp_path / "out")] == [n + 1 for n in range(0, NUM_IMPRESSIONS, 100)]
    assert len(rows_by_id(config, tmp_path / "out")) == NUM_IMPRESSIONS - 30


def test_more_garbage_than_allowed_stops_the_run_and_says_why(tmp_path):
    config = config_of(tmp_path)
    lines = log_bytes(".jsonl", impressions()).splitlines()
    lines[5::50] = [b"garbage"] * len(lines[5::50])
    write_text(tmp_path / "impressions.jsonl", b"\n".join(lines) + b"\n")
    expected = (
        r"at most 1.00% of the impressions .* 60 of 3,000 \(2.00%\): not_a_record 60. The first dead letter: .*, line 6: "
    )
    with pytest.raises(DeadLetterError, match=expected):
        ingest(config, tmp_path / "out")


def test_a_file_of_another_schema_among_the_logs_is_named_or_counted(tmp_path):
    config = config_of(tmp_path, max_dead_letter_rate=0.05)
    write_log(tmp_path / "impressions-old.jsonl", [{"uid": "u", "vid": "v", "ts": 1}] * 100)
    with pytest.raises(LogFormatError, match=r"impressions-old.jsonl: there is no column 'user_id'; did you mean uid\?"):
        ingest(config, tmp_path / "out")
    counts = ingest(config, tmp_path / "out", is_checked=False)
    assert (counts.impressions_dead_lettered, counts.impressions_read) == (100, NUM_IMPRESSIONS + 100)
    assert len(rows_by_id(config, tmp_path / "out")) == NUM_IMPRESSIONS


@pytest.mark.parametrize(("allowed_seconds", "outcome"), [(0.0, "before_impression"), (60.0, "attributed")])
def test_clocks_that_disagree(tmp_path, allowed_seconds, outcome):
    config = both_logs(
        tmp_path,
        impressions=impressions(),
        engagements=clicks(after_ms=-30_000),
        attribution={"clock_skew_seconds": allowed_seconds},
    )
    counts = ingest(config, tmp_path / "out")
    assert getattr(counts, f"engagements_{outcome}") == counts.engagements_read == 1_000


def test_a_user_who_holds_half_of_all_rows(tmp_path):
    shown = impressions(num_users=40)
    for row in shown[::2]:
        row["user_id"] = "crawler"
    config = config_of(
        tmp_path, shown=shown, num_partitions=6, history={"aggregates": [{"key": ["user_id"]}, {"key": ["item_id"]}]}
    )
    counts = ingest(config, tmp_path / "out")
    assert counts.engagements_attributed == 1_000
    rows = rows_by_id(config, tmp_path / "out")
    assert sum(user == "crawler" for _, user in rows) == NUM_IMPRESSIONS / 2


RUN = """
    import sys
    from pathlib import Path
    from tests.unit.data.ingestion import ingest
    from tests.unit.data.log_files import config_of
    ingest(config_of(Path(sys.argv[1]), num_partitions=64), Path(sys.argv[2]))
"""


def test_a_killed_run_leaves_nothing_half_under_a_name_that_is_read(tmp_path):
    config = config_of(tmp_path).model_copy(update={"num_partitions": 64})
    out = tmp_path / "out"
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(RUN), str(tmp_path), str(out)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    while process.poll() is None and len(list(out.rglob("data_tfrecord-*"))) < 5:
        time.sleep(0.005)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    shards = list(out.rglob("data_tfrecord-*"))
    assert shards
    for shard in shards:
        gzip.decompress(shard.read_bytes())
    # Counts are what a later step asks for first; they are written last, by whoever runs the ingestion.
    assert not list(out.rglob("counts.json"))
    counts = ingest(config, tmp_path / "again")
    assert counts.impressions_train + counts.impressions_eval == NUM_IMPRESSIONS
    assert len(rows_by_id(config, tmp_path / "again")) == NUM_IMPRESSIONS


def test_a_large_parquet_file_is_read_in_portions(tmp_path, monkeypatch):
    monkeypatch.setattr("data.sources.work._UNIT_BYTES", 1)
    config = both_logs(tmp_path, ".parquet", impressions=impressions(), engagements=clicks())
    table = pa.Table.from_pylist(impressions())
    pq.write_table(table, tmp_path / "impressions.parquet", row_group_size=250)
    assert ingest(config, tmp_path / "out").impressions_read == NUM_IMPRESSIONS
