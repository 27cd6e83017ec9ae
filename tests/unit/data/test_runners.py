"""The same ingestion on every runner that can run here gives the same rows, the same tables and the same counts."""

import dataclasses
import gzip
import json
import socket
import subprocess
import sys
from pathlib import Path

import grpc
import pytest

from data.simulator import simulate, write_feed
from data.source_config import SimulatorConfig
from pipeline.causes import one_line_cause
from tests.unit.data.ingestion import ingest, letters_of, rows_by_id, table_of
from tests.unit.data.rows import data_config

START_SECONDS = 60
HOUR_MS = 3_600_000
NUM_WITHOUT_USER = 5
TABLES = ("users.parquet", "items.parquet", "user_id_x_category.parquet")


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    """Both ways around the main one are taken: engagements that name no user, and history by item and category."""
    folder = tmp_path_factory.mktemp("feed")
    feed = simulate(SimulatorConfig(num_users=30, num_items=20, num_impressions=500, num_days=4, seed=5))
    write_feed(feed, folder)
    with gzip.open(folder / "engagements.jsonl.gz", "at") as log:
        for number, shown in enumerate(feed.impressions.slice(0, NUM_WITHOUT_USER).to_pylist()):
            at_ms = round(shown["impressed_at"].timestamp() * 1000) + HOUR_MS
            event = {"event_id": f"x{number}", "impression_id": shown["impression_id"], "kind": "share", "engaged_at": at_ms}
            log.write(json.dumps(event) + "\n")
        log.write("not json\n")
    source = {
        "kind": "events",
        **{log: f"{folder}/{log}.jsonl.gz" for log in ("impressions", "engagements")},
        **{log: f"{folder}/{log}.csv" for log in ("users", "items")},
    }
    return data_config(
        source=source,
        item_columns={"category": "string"},
        split={"eval_from": "2026-01-04"},
        history={"aggregates": [{"key": ["item_id"]}, {"key": ["user_id", "category"]}]},
        attribution={"delayed": "weight"},
        num_partitions=3,
    )


@dataclasses.dataclass(frozen=True)
class Ingested:
    """Everything that a run leaves behind, in an order that no runner decides."""

    counts: object
    rows: dict
    tables: dict
    letters: list

    @classmethod
    def by(cls, beam_args, config, folder):
        counts = ingest(config, folder, beam_args)
        tables = {name: sorted(table_of(folder, name), key=lambda row: [*row.values()][:2]) for name in TABLES}
        return cls(counts, rows_by_id(config, folder), tables, letters_of(folder))


@pytest.fixture(scope="module")
def in_one_thread(config, tmp_path_factory):
    one = ("--runner=FnApiRunner", "--direct_num_workers=1", "--direct_running_mode=multi_threading")
    ingested = Ingested.by(one, config, tmp_path_factory.mktemp("one"))
    counts = ingested.counts
    assert (counts.impressions_read, counts.impressions_duplicate, len(ingested.rows)) == (500, 1, 499)
    assert (counts.engagements_dead_lettered, len(ingested.letters)) == (1, 1)
    # The events that name no user have found their impressions through the second shuffle.
    assert (counts.engagements_without_impression, counts.engagements_attributed > NUM_WITHOUT_USER) == (0, True)
    return ingested


@pytest.fixture(scope="module")
def portable(tmp_path_factory):
    """Flags for Beam's local job service, which runs in a process of its own."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "apache_beam.runners.portability.local_job_service_main", f"--port={port}"]
    with open(tmp_path_factory.mktemp("service") / "log", "w", encoding="utf-8") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        with grpc.insecure_channel(f"localhost:{port}") as channel:
            grpc.channel_ready_future(channel).result(timeout=START_SECONDS)
        yield "--runner=PortableRunner", f"--job_endpoint=localhost:{port}", "--environment_type=LOOPBACK"
    finally:
        process.terminate()
        process.wait(timeout=START_SECONDS)


def test_threads(config, in_one_thread, tmp_path):
    threads = ("--runner=FnApiRunner", "--direct_num_workers=3", "--direct_running_mode=multi_threading")
    assert Ingested.by(threads, config, tmp_path) == in_one_thread


def test_processes(config, in_one_thread, tmp_path):
    processes = ("--runner=DirectRunner", "--direct_num_workers=2", "--direct_running_mode=multi_processing")
    assert Ingested.by(processes, config, tmp_path) == in_one_thread


def test_portable_runner_at_a_job_endpoint(config, in_one_thread, portable, tmp_path):
    """Counts among the rest: they come from the counters that the job service gives out."""
    assert Ingested.by(portable, config, tmp_path) == in_one_thread


def test_what_a_worker_behind_a_job_endpoint_found_reaches_the_caller(config, portable, tmp_path):
    cut_short = tmp_path / "engagements.jsonl.gz"
    content = Path(config.source.engagements).read_bytes()
    cut_short.write_bytes(content[: len(content) // 2])
    broken = config.model_copy(update={"source": config.source.model_copy(update={"engagements": str(cut_short)})})
    with pytest.raises(RuntimeError, match=r"LogFormatError: .*engagements.jsonl.gz: cannot be read, it is damaged") as raised:
        ingest(broken, tmp_path / "out", portable, is_checked=False)
    assert one_line_cause(raised.value).startswith(f"{cut_short}: cannot be read")
    assert list((tmp_path / "out" / "spill").iterdir()) == []
