import collections
import datetime
import itertools
import json

import pytest
import tensorflow as tf
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from data.counts import Counts
from data.errors import EmptyLogError, LogFormatError
from data.join import num_partitions
from data.simulator import simulate, write_feed
from data.source_config import SimulatorConfig
from tests.unit.data import history_oracle, oracle
from tests.unit.data.ingestion import ingest, letters_of, rows_by_id, rows_of, table_of
from tests.unit.data.log_files import ENGAGEMENT, IMPRESSION, both_logs, write_log, write_text
from tests.unit.data.rows import data_config, engagement, impression, microseconds
from tests.unit.data.test_kuairand import ROWS
from tests.unit.data.test_kuairand import config_of as kuairand_config

DAY_MS = 86_400_000
SPLIT = {"eval_from": "2026-01-03", "eval_until": "2026-01-03"}
COMPLETE = {"watermark": "2027-01-01T00:00:00Z"}
HISTORY = {
    "delay_seconds": 60,
    "prior": {"click_rate": 0.5},
    "aggregates": [
        {"key": ["user_id"]},
        {"key": ["item_id"], "windows": ["1d", "all"], "measures": ["impressions", "click_rate"]},
        {"key": ["category"], "windows": ["12h"]},
        {"key": ["user_id", "category"], "windows": ["all"]},
        {"key": ["user_id", "surface"], "windows": ["all"]},
        {"key": ["user_id", "length"], "windows": ["2d"], "measures": ["click_rate"]},
        {"key": ["user_id", "length"], "name": "lengths_so_far", "windows": ["all"], "measures": ["impressions"]},
    ],
    "sequences": [{"name": "last_clicked_items", "length": 3}],
}


@pytest.fixture(scope="module")
def simulated(tmp_path_factory):
    folder = tmp_path_factory.mktemp("feed")
    feed = simulate(SimulatorConfig(num_users=40, num_items=30, num_impressions=600, num_days=4, seed=1))
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
        "bucket_columns": {"length": {"column": "duration_seconds", "edges": [15, 30.5, 60]}},
        "split": SPLIT,
        "satisfaction": {"weights": {"like": 1, "hide": -2}, "survey_weight": 0.5, "survey_neutral": 3},
        "attribution": COMPLETE,
    }
    return data_config(**{**defaults, **keys})


def close(expected):
    return {name: pytest.approx(value, rel=1e-6) if _is_float(value) else value for name, value in expected.items()}


def _is_float(value):
    return isinstance(value[0] if isinstance(value, list) and value else value, float)


def in_microseconds(row, *names):
    return {**row, **{name: microseconds(row[name]) for name in names}}


def expected_rows(feed, config):
    """Rows by impression and user, and counts, by the oracles."""
    engagements, of_nobody = oracle.fill_users(feed.impressions.to_pylist(), feed.engagements.to_pylist())
    labelled, events_by_id, counts = oracle.attribute(feed.impressions.to_pylist(), engagements, config)
    counts = {name: number + of_nobody.get(name, 0) for name, number in counts.items()}
    segments = dict(zip(*feed.users.select(["user_id", "segment"]).to_pydict().values(), strict=True))
    items = {row["item_id"]: row for row in feed.items.drop(["author_id"]).to_pylist()}
    rows = []
    for row in labelled.values():
        row["model_version"] = row["model_version"] or None
        at = row["impressed_at"]
        derived = {"day": at.date().isoformat(), "impressed_at_ms": round(at.timestamp() * 1000)}
        rows.append({**row, **derived, "segment": segments[row["user_id"]], **items[row["item_id"]]})
    rows = history_oracle.with_buckets(rows, config)
    if config.history is not None:
        numbered = enumerate(events_by_id.values())
        events = [{**in_microseconds(event, "engaged_at"), "row": n} for n, found in numbered for event in found]
        features = history_oracle.features([in_microseconds(row, "impressed_at") for row in rows], events, config)
        rows = [{**row, **features[row["impression_id"]]} for row in rows]
    return {(row["impression_id"], row["user_id"]): row for row in rows}, counts


@pytest.mark.parametrize(("num_partitions", "history"), [(1, None), (7, None), (1, HISTORY), (5, HISTORY)])
def test_written_rows_are_those_of_the_oracle(simulated, tmp_path, num_partitions, history):
    folder, feed = simulated
    config = feed_config(folder, num_partitions=num_partitions, history=history)
    counts = ingest(config, tmp_path)
    expected, expected_counts = expected_rows(feed, config)
    expected = {key: row for key, row in expected.items() if row["day"] <= "2026-01-03"}
    found = rows_by_id(config, tmp_path)
    assert set(found) == set(expected)
    for key, row in found.items():
        wanted = {name: value for name, value in expected[key].items() if name in row}
        assert close(wanted) == {name: value for name, value in row.items() if name in wanted}
        assert (row["day"] == "2026-01-03") == (row["split"] == "eval")
    assert counts.impressions_train + counts.impressions_eval == len(found)
    assert (counts.impressions_read, counts.engagements_read) == (feed.impressions.num_rows, feed.engagements.num_rows)
    assert {name: getattr(counts, name) for name in expected_counts} == expected_counts
    assert letters_of(tmp_path) == []


small_impressions = st.lists(
    st.builds(
        lambda n, user, item, day, hour: impression(f"i{n}", f"u{user}", f"v{item}", day * 86_400 + hour * 3_600),
        *(st.integers(0, high) for high in (9, 2, 2, 2, 23)),
    ),
    min_size=1,
    max_size=12,
)
small_engagements = st.lists(
    st.builds(
        lambda n, kind, after, target: engagement(
            f"e{n}", kind, after * 1800, watch_seconds=5.0 if kind == "play" else None, **target
        ),
        st.integers(0, 9),
        st.sampled_from(["click", "play", "like"]),
        st.integers(0, 140),
        st.one_of(
            st.builds(lambda n: {"impression_id": f"i{n}"}, st.integers(0, 9)),
            st.builds(lambda n, u: {"impression_id": f"i{n}", "user_id": f"u{u}"}, st.integers(0, 9), st.integers(0, 2)),
            st.builds(lambda u, v: {"user_id": f"u{u}", "item_id": f"v{v}"}, st.integers(0, 2), st.integers(0, 2)),
        ),
    ),
    max_size=16,
)


def as_record(row):
    return {n: v.isoformat() if isinstance(v, datetime.datetime) else v for n, v in row.items() if v is not None}


def write_in_files(data, folder, log, rows):
    """The rows, some twice, in any order, in any number of files."""
    again = data.draw(st.lists(st.sampled_from(rows), max_size=3)) if rows else []
    delivered = data.draw(st.permutations([*rows, *again]))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(delivered)), max_size=2)))
    for number, (start, end) in enumerate(itertools.pairwise([0, *cuts, len(delivered)])):
        write_log(folder / f"{log}-{number}.jsonl", [as_record(row) for row in delivered[start:end]])
    return len(delivered)


@settings(deadline=None, max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(small_impressions, small_engagements, st.data())
def test_order_files_and_repeats_change_nothing(tmp_path_factory, impressions, engagements, data):
    """Any shuffle, split and repetition gives the same rows, and every record is accounted for."""
    keys = {"split": {"eval_days": 1}, "history": {**HISTORY, "aggregates": HISTORY["aggregates"][:2]}}
    found = []
    for _ in range(2):
        folder = tmp_path_factory.mktemp("logs")
        read = {log: write_in_files(data, folder, log, rows) for log, rows in LOGS(impressions, engagements)}
        source = {"kind": "events", **{log: str(folder / f"{log}-*.jsonl") for log in read}}
        config = data_config(source=source, num_partitions=data.draw(st.integers(1, 4)), **keys)
        try:
            counts = ingest(config, folder)
        except EmptyLogError as error:
            found.append(str(error)[:40])
            continue
        assert (counts.impressions_read, counts.engagements_read) == (read["impressions"], read["engagements"])
        found.append(rows_by_id(config, folder))
    assert found[0] == found[1]


def LOGS(impressions, engagements):  # noqa: N802, a constant of two arguments
    return (("impressions", impressions), ("engagements", engagements))


def test_tables_hold_the_ids_of_logs_and_tables(tmp_path):
    write_log(tmp_path / "users.csv", [{"age": 30, "user_id": "u"}, {"age": 5, "user_id": "idle"}, {"user_id": "u"}])
    later = {**IMPRESSION, "impression_id": "b", "user_id": "new", "impressed_at": IMPRESSION["impressed_at"] + DAY_MS}
    source = {"users": str(tmp_path / "users.csv")}
    config = both_logs(tmp_path, impressions=[IMPRESSION, later], source=source, user_columns={"age": "int"})
    counts = ingest(config, tmp_path)
    assert sorted(table_of(tmp_path, "users.parquet"), key=lambda row: row["user_id"]) == [
        {"user_id": "idle", "age": 5},
        {"user_id": "new", "age": None},
        {"user_id": "u", "age": 30},
    ]
    assert table_of(tmp_path, "items.parquet") == [{"item_id": "i"}]
    assert (counts.users_read, counts.users_kept, counts.users_duplicate) == (3, 2, 1)


def test_published_history_is_that_of_the_end_of_the_logs(simulated, tmp_path):
    folder, feed = simulated
    config = feed_config(folder, num_partitions=3, history={**HISTORY, "delay_seconds": 0})
    ingest(config, tmp_path)
    end = max(max(feed.impressions["impressed_at"].to_pylist()), max(feed.engagements["engaged_at"].to_pylist()))
    users = {row["user_id"]: row for row in table_of(tmp_path, "users.parquet")}
    items = {row["item_id"]: row for row in table_of(tmp_path, "items.parquet")}
    pairs = {(row["user_id"], row["category"]): row for row in table_of(tmp_path, "user_id_x_category.parquet")}
    lengths = {(row["user_id"], row["length"]): row for row in table_of(tmp_path, "user_id_x_length.parquet")}
    surfaces = {(row["user_id"], row["surface"]): row for row in table_of(tmp_path, "user_id_x_surface.parquet")}
    empty = json.loads((tmp_path / "tables" / "empty_history.json").read_text())
    asked = [(user, item) for user in sorted(users)[:6] for item in sorted(items)[:6]]
    probes = [
        impression(f"probe-{user}-{item}", user, item, impressed_at=end + datetime.timedelta(microseconds=1), surface="search")
        for user, item in asked
    ]
    probed = feed.impressions.to_pylist() + probes
    truth, _ = expected_rows(_Feed(probed, feed), config)
    for user, item in asked:
        expected = truth[f"probe-{user}-{item}", user]
        pair = pairs.get((user, items[item]["category"]))
        served = {
            "user_history": users[user]["user_history"],
            "last_clicked_items": users[user]["last_clicked_items"],
            "item_history": items[item]["item_history"],
            "category_history": items[item]["category_history"],
            "user_category_history": empty["user_category_history"] if pair is None else pair["user_category_history"],
            "user_surface_history": surfaces.get((user, "search"), empty)["user_surface_history"],
            "length": items[item]["length"],
        }
        for name in ("user_length_history", "lengths_so_far"):
            served[name] = lengths.get((user, items[item]["length"]), empty)[name]
        assert close({name: expected[name] for name in served}) == served


class _Feed:
    """A simulated feed with further impressions."""

    def __init__(self, impressions, feed):
        self.impressions = _Rows(impressions)
        self.engagements, self.users, self.items = feed.engagements, feed.users, feed.items


class _Rows:
    def __init__(self, rows):
        self.rows = rows

    def to_pylist(self):
        return self.rows


def test_bad_records_are_dead_letters_and_the_rest_is_ingested(tmp_path):
    later = {**IMPRESSION, "impression_id": "b", "impressed_at": IMPRESSION["impressed_at"] + DAY_MS}
    config = both_logs(tmp_path, max_dead_letter_rate=0.5, attribution=COMPLETE)
    lines = [json.dumps(IMPRESSION), "not json", json.dumps({**IMPRESSION, "user_id": None}), json.dumps(later)]
    write_text(tmp_path / "impressions.jsonl", "\n".join(lines))
    write_log(tmp_path / "engagements.jsonl", [ENGAGEMENT, {**ENGAGEMENT, "kind": "wink", "event_id": "2"}])
    counts = ingest(config, tmp_path)
    assert (counts.impressions_read, counts.impressions_dead_lettered) == (4, 2)
    assert (counts.engagements_read, counts.engagements_dead_lettered) == (2, 1)
    assert sum(counts.reasons.values()) == 3
    assert counts.reasons["engagements.unknown_kind"] == 1
    assert [row["click"] for row in rows_of(config, tmp_path, "train")] == [1.0]
    assert [row["click"] for row in rows_of(config, tmp_path, "eval")] == [0.0]
    places = sorted((letter["log"], letter["line"]) for letter in letters_of(tmp_path))
    assert places == [("engagements", 2), ("impressions", 2), ("impressions", 3)]


def test_an_empty_log(tmp_path):
    config = both_logs(tmp_path)
    write_text(tmp_path / "impressions.jsonl", "\n")
    with pytest.raises(EmptyLogError, match=r"the impression log holds no usable row. Received: 0 records"):
        ingest(config, tmp_path)


def test_kuairand(tmp_path):
    config = kuairand_config(
        tmp_path,
        rows=[*ROWS, "broken"],
        context_columns={"hour": "int"},
        user_columns={"register_days": "int"},
        item_columns={"tag": "string"},
        split={"eval_from": "2022-05-02"},
        max_dead_letter_rate=0.2,
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
        users_kept=2,
        items_read=2,
        items_kept=2,
        reasons=counts.reasons,
    )
    assert sum(counts.reasons.values()) == 1
    train = {row["item_id"]: row for row in rows_of(config, tmp_path, "train")}
    (held_out,) = rows_of(config, tmp_path, "eval")
    names = ("click", "watch_seconds", "satisfaction", "hour", "register_days", "tag", "surface")
    assert [train["501"][name] for name in names] == [1.0, 12.5, 1.0, 9, 100, "3,4", "1"]
    assert [train["502"][name] for name in names] == [0.0, 1.5, 0.0, 9, 100, None, "0"]
    assert [held_out[name] for name in names] == [1.0, 0.0, 1.0, 0, 7, "3,4", "4"]
    # Logs that give impressions with their signals are complete: the last rows' labels are known.
    assert [held_out[f"{name}_mask"] for name in names[:3]] == [1.0, 1.0, 1.0]
    assert [letter["line"] for letter in letters_of(tmp_path)] == [6]


def test_a_missing_file_fails_before_the_pipeline_runs(tmp_path):
    with pytest.raises(LogFormatError, match=r"data.source.impressions must name at least one file"):
        ingest(data_config(source={"kind": "events", "impressions": str(tmp_path / "none.csv"), "engagements": "x"}), tmp_path)


def test_tensorflow_reads_the_files_and_rows_of_one_user_are_spread(simulated, tmp_path):
    folder, _ = simulated
    config = feed_config(folder, num_partitions=1)
    ingest(config, tmp_path)
    rows = rows_of(config, tmp_path, "train")
    paths = [str(path) for path in (tmp_path / "examples" / "Split-train").iterdir()]
    assert sum(1 for _ in tf.data.TFRecordDataset(paths, "GZIP")) == len(rows)
    users = [row["user_id"] for row in rows]
    most = collections.Counter(users).most_common(1)[0][1] / len(users)
    num_alike = sum(first == second for first, second in itertools.pairwise(users))
    assert num_alike / len(users) < most


@pytest.mark.parametrize("delayed", ["mask", "drop", "weight"])
def test_labels_whose_window_is_open(tmp_path, delayed):
    hour = DAY_MS // 24
    shown = [{**IMPRESSION, "impression_id": str(n), "impressed_at": IMPRESSION["impressed_at"] + n * hour} for n in range(72)]
    clicks = [{**ENGAGEMENT, "event_id": s["impression_id"], **s, "engaged_at": s["impressed_at"] + 60_000} for s in shown[::2]]
    config = both_logs(tmp_path, impressions=shown, engagements=clicks, attribution={"delayed": delayed})
    counts = ingest(config, tmp_path)
    by_number = {int(row["impression_id"]): row for row in rows_by_id(config, tmp_path).values()}
    if delayed == "drop":
        assert (counts.impressions_open, set(by_number)) == (24, set(range(48)))
    if delayed == "mask":
        masks = {n: (row["click_mask"], row["watch_seconds_mask"]) for n, row in by_number.items()}
        assert masks == {n: (float(n < 71), float(n < 48)) for n in range(72)}
    if delayed == "weight":
        assert {row["click_mask"] for row in by_number.values()} == {1.0}
        # The last row evaluates, and is never weighted; all clicks come within a minute, long before any window ends.
        assert {row["click_weight"] for row in by_number.values()} == {1.0}


def test_the_number_of_partitions_follows_from_the_size_of_the_logs(tmp_path):
    config = both_logs(tmp_path)
    assert num_partitions(config) == 4
    assert num_partitions(config.model_copy(update={"num_partitions": 3})) == 3
