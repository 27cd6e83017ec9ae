import collections
import itertools
import json
import traceback

import apache_beam as beam
import pyarrow.parquet as pq
import pytest
import tensorflow as tf

from data.config import SimulatorConfig
from data.counts import Counts
from data.errors import EmptyLogError, LogFormatError
from data.examples import read_examples
from data.ingest import check_source
from data.join import IngestLogs
from data.schema import SPLITS, labelled_schema
from data.simulator import simulate, write_feed
from tests.unit.data import oracle
from tests.unit.data.rows import data_config
from tests.unit.data.test_events import ENGAGEMENT, IMPRESSION, write_log, write_text
from tests.unit.data.test_kuairand import ROWS
from tests.unit.data.test_kuairand import config_of as kuairand_config

DAY_MS = 86_400_000


def ingest(config, folder):
    check_source(config)
    pipeline = beam.Pipeline(runner="DirectRunner")
    split_uris = {split: str(folder / "examples" / f"Split-{split}") for split in SPLITS}
    pipeline | IngestLogs(config, split_uris, str(folder / "tables"), str(folder / "report"))
    result = pipeline.run()
    result.wait_until_finish()
    counts = Counts.from_metrics(result.metrics())
    counts.reconcile()
    return counts


def rows_of(config, folder, split):
    schema = labelled_schema(config.context_columns, config.user_columns, config.item_columns)
    paths = sorted((folder / "examples" / f"Split-{split}").glob("data_tfrecord-?????-of-?????.gz"))
    assert len(paths) == config.num_shards
    return read_examples(list(map(str, paths)), schema).to_pylist()


def letters_of(folder):
    return [json.loads(line) for line in (folder / "report" / "dead_letters.jsonl").read_text().splitlines()]


def events_config(folder, **keys):
    logs = {name: str(folder / f"{name}.jsonl") for name in ("impressions", "engagements")}
    return data_config(**{"source": {"kind": "events", **logs}, **keys})


@pytest.fixture(scope="module")
def simulated(tmp_path_factory):
    folder = tmp_path_factory.mktemp("feed")
    feed = simulate(SimulatorConfig(num_users=40, num_items=30, num_impressions=2_000, num_days=4, seed=1))
    write_feed(feed, folder)
    return folder, feed


def feed_config(folder, **keys):
    source = {
        "kind": "events",
        "impressions": str(folder / "impressions.jsonl.gz"),
        "engagements": str(folder / "engagements.jsonl.gz"),
        "users": str(folder / "users.csv"),
        "items": str(folder / "items.csv"),
    }
    defaults = {
        "source": source,
        "user_columns": {"segment": "string"},
        "item_columns": {"category": "string", "duration_seconds": "float"},
        "split": {"eval_from": "2026-01-03", "eval_until": "2026-01-03"},
        "satisfaction": {"negative": ["hide"], "survey_at_least": 4.0},
    }
    return data_config(**{**defaults, **keys})


@pytest.mark.parametrize(("num_partitions", "num_shards"), [(1, 1), (7, 3)])
def test_written_rows_are_those_of_the_oracle(simulated, tmp_path, num_partitions, num_shards):
    folder, feed = simulated
    config = feed_config(folder, num_partitions=num_partitions, num_shards=num_shards)
    counts = ingest(config, tmp_path)
    labels, expected_counts = oracle.attribute(feed.impressions.to_pylist(), feed.engagements.to_pylist(), config)
    segments = dict(zip(*feed.users.select(["user_id", "segment"]).to_pydict().values(), strict=True))
    items = {row["item_id"]: row for row in feed.items.drop(["author_id"]).to_pylist()}
    rows_by_split = {split: rows_of(config, tmp_path, split) for split in SPLITS}
    found = {}
    for split, rows in rows_by_split.items():
        for row in rows:
            assert row["impression_id"] not in found
            found[row["impression_id"]] = row
            assert (row["day"] == "2026-01-03") == (split == "eval")
    expected_ids = set()
    for row in feed.impressions.to_pylist():
        day = row["impressed_at"].date().isoformat()
        if day <= "2026-01-03":
            expected_ids.add(row["impression_id"])
            expected = {name: value for name, value in row.items() if name not in ("impressed_at", "day", "model_version")}
            expected |= labels[row["impression_id"]]
            expected |= {"day": day, "impressed_at_ms": round(row["impressed_at"].timestamp() * 1000)}
            expected |= {"segment": segments[row["user_id"]], **items[row["item_id"]], "model_version": None}
            assert {n: pytest.approx(v, rel=1e-6) if isinstance(v, float) else v for n, v in expected.items()} == {
                name: value for name, value in found[row["impression_id"]].items() if name in expected
            }
    assert set(found) == expected_ids
    assert counts.impressions_train == len(rows_by_split["train"])
    assert counts.impressions_eval == len(rows_by_split["eval"])
    assert counts.impressions_read == feed.impressions.num_rows
    assert counts.engagements_read == feed.engagements.num_rows
    assert counts.impressions_duplicate == expected_counts["num_impressions_duplicate"] == 6
    for outcome in ("attributed", "unattributed", "duplicate"):
        assert getattr(counts, f"engagements_{outcome}") == expected_counts[f"num_engagements_{outcome}"]
    counts.require_rows(config.split)
    assert letters_of(tmp_path) == []


def test_tables_hold_the_ids_of_logs_and_tables(tmp_path):
    config = events_config(tmp_path, user_columns={"age": "int"})
    write_log(tmp_path / "impressions.jsonl", [IMPRESSION, {**IMPRESSION, "impression_id": "b", "user_id": "new"}])
    write_log(tmp_path / "engagements.jsonl", [ENGAGEMENT])
    write_log(tmp_path / "users.csv", [{"age": 30, "user_id": "u"}, {"age": 5, "user_id": "idle"}, {"user_id": "u"}])
    source = config.source.model_copy(update={"users": str(tmp_path / "users.csv")})
    ingest(config.model_copy(update={"source": source}), tmp_path)
    users = pq.read_table(tmp_path / "tables" / "users.parquet")
    assert users.column_names == ["user_id", "age"]
    assert users.to_pylist() == [
        {"user_id": "idle", "age": 5},
        {"user_id": "new", "age": None},
        {"user_id": "u", "age": 30},
    ]
    assert pq.read_table(tmp_path / "tables" / "items.parquet").to_pylist() == [{"item_id": "i"}]


def test_bad_records_are_dead_letters_and_the_rest_is_ingested(tmp_path):
    later = {**IMPRESSION, "impression_id": "b", "impressed_at": IMPRESSION["impressed_at"] + DAY_MS}
    lines = [json.dumps(IMPRESSION), "not json", json.dumps({**IMPRESSION, "user_id": None}), json.dumps(later)]
    write_text(tmp_path / "impressions.jsonl", "\n".join(lines))
    write_log(tmp_path / "engagements.jsonl", [ENGAGEMENT, {**ENGAGEMENT, "kind": "wink", "event_id": "2"}])
    config = events_config(tmp_path)
    counts = ingest(config, tmp_path)
    assert (counts.impressions_read, counts.impressions_dead_lettered) == (4, 2)
    assert (counts.engagements_read, counts.engagements_dead_lettered) == (2, 1)
    assert [row["click"] for row in rows_of(config, tmp_path, "train")] == [1.0]
    assert [row["click"] for row in rows_of(config, tmp_path, "eval")] == [0.0]
    counts.require_rows(config.split)
    by_place = {(letter["log"], letter["line"]): letter["reason"] for letter in letters_of(tmp_path)}
    assert sorted(by_place) == [("engagements", 2), ("impressions", 2), ("impressions", 3)]
    assert by_place["impressions", 3] == "user_id is missing"


def test_an_event_that_comes_with_and_without_impression_id_counts_once(tmp_path):
    pair = {"user_id": "u", "item_id": "i", "impression_id": None}
    write_log(tmp_path / "impressions.jsonl", [IMPRESSION, {**IMPRESSION, "user_id": "v"}])
    plays = [{**ENGAGEMENT, "kind": "play", "watch_seconds": 2.0}] * 2
    write_log(tmp_path / "engagements.jsonl", [*plays, {**plays[0], **pair}, {**plays[0], **pair, "event_id": "2"}])
    config = events_config(tmp_path, num_partitions=5)
    counts = ingest(config, tmp_path)
    assert (counts.engagements_duplicate, counts.engagements_attributed, counts.impressions_duplicate) == (2, 2, 1)
    assert [row["watch_seconds"] for row in rows_of(config, tmp_path, "train")] == [4.0]


def test_a_log_of_one_class(tmp_path):
    later = {**IMPRESSION, "impression_id": "b", "impressed_at": IMPRESSION["impressed_at"] + DAY_MS}
    write_log(tmp_path / "impressions.jsonl", [IMPRESSION, later])
    write_text(tmp_path / "engagements.jsonl", "")
    counts = ingest(events_config(tmp_path), tmp_path)
    assert (counts.impressions_train, counts.impressions_eval, counts.engagements_read) == (1, 1, 0)


def test_an_empty_log(tmp_path):
    write_text(tmp_path / "impressions.jsonl", "\n")
    write_log(tmp_path / "engagements.jsonl", [ENGAGEMENT])
    config = events_config(tmp_path)
    counts = ingest(config, tmp_path)
    assert counts.engagements_unattributed == 1
    with pytest.raises(EmptyLogError, match=r"the impression log holds no usable row. Received: 0 records"):
        counts.require_rows(config.split)
    assert rows_of(config, tmp_path, "train") == []
    assert pq.read_table(tmp_path / "tables" / "users.parquet").num_rows == 0


def test_kuairand(tmp_path):
    config = kuairand_config(
        tmp_path,
        rows=[*ROWS, "broken"],
        context_columns={"hour": "int"},
        user_columns={"register_days": "int"},
        item_columns={"tag": "string"},
        split={"eval_from": "2022-05-02"},
    )
    counts = ingest(config, tmp_path)
    assert counts == Counts(
        impressions_read=5,
        impressions_train=2,
        impressions_eval=1,
        impressions_duplicate=1,
        impressions_dead_lettered=1,
        engagements_read=12,
        engagements_attributed=12,
        users_read=2,
        items_read=2,
    )
    train = {row["item_id"]: row for row in rows_of(config, tmp_path, "train")}
    (held_out,) = rows_of(config, tmp_path, "eval")
    names = ("click", "watch_seconds", "satisfaction", "hour", "register_days", "tag", "surface")
    assert [train["501"][name] for name in names] == [1.0, 12.5, 1.0, 9, 100, "3,4", "1"]
    assert [train["502"][name] for name in names] == [0.0, 1.5, 0.0, 9, 100, None, "0"]
    assert [held_out[name] for name in names] == [1.0, 0.0, 1.0, 0, 7, "3,4", "4"]
    assert [letter["line"] for letter in letters_of(tmp_path)] == [6]


def test_an_error_in_a_worker_keeps_its_line(tmp_path):
    config = events_config(tmp_path)
    write_log(tmp_path / "impressions.jsonl", [IMPRESSION])
    path = tmp_path / "engagements.jsonl.gz"
    write_log(path, [{**ENGAGEMENT, "event_id": str(number)} for number in range(50_000)])
    path.write_bytes(path.read_bytes()[:-20])
    config = config.model_copy(update={"source": config.source.model_copy(update={"engagements": str(path)})})
    with pytest.raises(Exception, match=r"engagements.jsonl.gz: cannot be read, it is damaged or cut short") as caught:
        ingest(config, tmp_path)
    assert any("LogFormatError" in line for line in traceback.format_exception(caught.value))


def test_a_missing_file_fails_before_the_pipeline_runs(tmp_path):
    with pytest.raises(LogFormatError, match=r"data.source.impressions must name at least one file"):
        beam.Pipeline(runner="DirectRunner") | IngestLogs(events_config(tmp_path), {}, "", "")


def test_tensorflow_reads_the_files_and_rows_of_one_user_are_spread(simulated, tmp_path):
    folder, _ = simulated
    config = feed_config(folder, num_partitions=1, num_shards=1)
    ingest(config, tmp_path)
    rows = rows_of(config, tmp_path, "train")
    # TensorFlow checks the checksums of TFRecords, our reader those of gz.
    paths = [str(path) for path in (tmp_path / "examples" / "Split-train").iterdir()]
    assert sum(1 for _ in tf.data.TFRecordDataset(paths, "GZIP")) == len(rows)
    users = [row["user_id"] for row in rows]
    most = collections.Counter(users).most_common(1)[0][1] / len(users)
    num_alike = sum(first == second for first, second in itertools.pairwise(users))
    assert num_alike / len(users) < most
