"""Formats, file systems, mappings, spans and portions of event logs, all through what ingestion calls."""

import pickle

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data.errors import LogFormatError
from data.ingest import check_source, input_bytes, input_files, spans, work_units
from data.sources import work
from tests.unit.data.log_files import (
    ENGAGEMENT,
    IMPRESSION,
    SUFFIXES,
    both_logs,
    config_of,
    log_bytes,
    read,
    read_units,
    write_log,
)
from tests.unit.data.memory_files import MemoryFiles
from tests.unit.data.rows import at, data_config

START_MS = IMPRESSION["impressed_at"]
PLAY = {"event_id": "2", "user_id": "u", "item_id": "i", "kind": "play", "engaged_at": 1767225601000, "watch_seconds": 2.5}


def problems_of(config):
    with pytest.raises(LogFormatError, match=r".") as caught:
        check_source(config)
    assert "\n" not in str(caught.value)
    return str(caught.value).split("; ")


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_every_format_is_read_from_other_file_systems(suffix):
    content = {
        f"memory://logs/impressions{suffix}": log_bytes(suffix, [IMPRESSION]),
        f"memory://logs/engagements{suffix}": log_bytes(suffix, [ENGAGEMENT, PLAY]),
    }
    with MemoryFiles(content):
        config = config_of("memory://logs", suffix)
        check_source(config)
        assert input_files(config) == sorted(content)
        rows, _, _ = read("engagements", config)
        assert rows["watch_seconds"].to_pylist() == [None, 2.5]
        assert rows["engaged_at"].to_pylist() == [at(0), at(1)]
        (impression,) = read("impressions", config)[0].to_pylist()
    assert (impression["user_id"], impression["impressed_at"], impression["day"]) == ("u", at(0), None)


OWN_IMPRESSION = {"id": 7, "viewer": "u", "post": 9, "slot": 10, "shown": 1767225600}
OWN_ENGAGEMENT = {"key": "1", "shown_id": 7, "what": "heart", "when": 1767225600500, "ms": 1500.0}
MAPPING = {
    "impressions": {
        "impression_id": "id",
        "user_id": "viewer",
        "item_id": "post",
        "position": {"name": "slot", "scale": 0.1},
        "impressed_at": {"name": "shown", "time_unit": "s"},
    },
    "engagements": {
        "event_id": "key",
        "impression_id": "shown_id",
        "kind": {"name": "what", "values": {"heart": "like", "view": "play"}},
        "engaged_at": "when",
        "watch_seconds": {"name": "ms", "scale": 0.001},
    },
}


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_own_names_units_and_values_become_the_contract(tmp_path, suffix):
    events = [OWN_ENGAGEMENT, {**OWN_ENGAGEMENT, "key": "2", "what": "view"}, {**OWN_ENGAGEMENT, "key": "3", "what": "click"}]
    config = both_logs(tmp_path, suffix, [OWN_IMPRESSION], events, source={"columns": MAPPING})
    check_source(config)
    (impression,) = read("impressions", config)[0].to_pylist()
    found = {name: value for name, value in impression.items() if value is not None}
    assert found == {"impression_id": "7", "user_id": "u", "item_id": "9", "position": 1, "impressed_at": at(0)}
    rows = read("engagements", config)[0]
    assert rows["kind"].to_pylist() == ["like", "play", "click"]
    assert rows["watch_seconds"].to_pylist() == [1.5] * 3
    assert rows["engaged_at"].to_pylist() == [at(0.5)] * 3


def test_tables_are_mapped_too(tmp_path):
    write_log(tmp_path / "users.csv", [{"uid": 3, "plan": "P", "years": "41"}])
    source = {
        "users": f"{tmp_path}/users.csv",
        "columns": {"users": {"user_id": "uid", "tier": {"name": "plan", "values": {"P": "paid"}}, "age": "years"}},
    }
    config = both_logs(tmp_path, source=source, user_columns={"tier": "string", "age": "int"})
    check_source(config)
    assert read("users", config)[0].to_pylist() == [{"user_id": "3", "tier": "paid", "age": 41}]


def test_a_dead_letter_names_both_columns(tmp_path):
    bad = {**OWN_ENGAGEMENT, "what": "wave"}
    config = both_logs(tmp_path, ".jsonl", [OWN_IMPRESSION], [OWN_ENGAGEMENT, bad], source={"columns": MAPPING})
    _, (letter,), counts = read("engagements", config)
    assert letter["reason"].startswith("kind (column what) must be one of click, play, like, ")
    assert letter["reason"].endswith("Received: 'wave'")
    assert counts == {"unknown_kind": 1}


def test_one_message_names_every_problem(tmp_path):
    columns = {
        "impressions": {
            "user": "viewer",
            "user_id": "vieuwer",
            "position": "post",
            "impressed_at": {"name": "shown", "scale": 2},
            "surface": {"name": "viewer", "time_unit": "s"},
        },
        "engagements": {**MAPPING["engagements"], "kind": {"name": "what", "values": {"heart": "love"}}},
        "items": {"item_id": "id"},
    }
    own = {**OWN_IMPRESSION, "id": "x", "post": "first"}
    source = {"columns": columns, "users": f"{tmp_path}/none.csv"}
    config = both_logs(tmp_path, ".csv", [own], [OWN_ENGAGEMENT], source=source, item_columns={"tag": "string"})
    source = f"{tmp_path}/impressions.csv"
    expected = [
        "data.source.items must name a table that holds the declared column 'tag'",
        "data.source.columns.impressions.user must be a column of the contract",
        "data.source.columns.impressions.impressed_at.scale is for numbers: use time_unit. Received: 2",
        "data.source.columns.impressions.surface.time_unit is for times, which surface is not. Received: s",
        "data.source.columns.engagements.kind.values must map to one of click, play",
        "data.source.columns.items must map a log that is read, but data.source.items is missing",
        "data.source.users must name at least one file",
        f"{source}: there is no column 'impression_id'",
        f"{source}: there is no column 'vieuwer' for user_id",
        f"{source}: there is no column 'item_id'",
        f"{source}: position (column post) must be an integer",
        f"{source}: impressed_at (column shown) must be in ms as declared, but its values are times in s: set "
        "data.source.time_unit or data.source.columns.impressions.impressed_at.time_unit. Received: '1767225600'",
        f"{tmp_path}/engagements.csv: kind (column what) must be one of click, play",
    ]
    with pytest.raises(LogFormatError, match=r".") as caught:
        check_source(config)
    message = str(caught.value)
    assert [part for part in expected if part not in message] == []
    # Two messages have a semicolon of their own.
    num_own = message.count("; did you mean") + message.count("; check the path")
    assert message.count("; ") == len(expected) - 1 + num_own


@pytest.mark.parametrize(("declared", "real"), [("s", "ms"), ("ms", "s"), ("us", "ms"), ("ms", "us"), ("s", "us")])
@pytest.mark.parametrize("suffix", [".jsonl", ".csv", ".parquet", ".tfrecord"])
def test_the_unit_that_would_fit_is_named(tmp_path, suffix, declared, real):
    ticks = 1767225600 * {"s": 1, "ms": 1000, "us": 1_000_000}[real]
    config = both_logs(tmp_path, suffix, [{**IMPRESSION, "impressed_at": ticks}], source={"time_unit": declared})
    assert f"impressed_at must be in {declared} as declared, but its values are times in {real}: set" in problems_of(config)[0]


def test_a_few_bad_values_are_left_to_the_dead_letters(tmp_path):
    records = [{**IMPRESSION, "position": "x" if number % 100 == 0 else "3"} for number in range(1000)]
    config = both_logs(tmp_path, ".csv", records)
    check_source(config)
    assert read("impressions", config)[2] == {"bad_position": 10}
    check_source(both_logs(tmp_path, ".csv", [{**records[1], "position": "x"}] * 19 + records[1:100]))
    many = [{**records[1], "position": "x"}] * 20 + records[1:100]
    assert "20 of the first 119 values are not. Received: 'x'" in "; ".join(problems_of(both_logs(tmp_path, ".csv", many)))


def test_the_problem_of_many_files_is_told_once(tmp_path):
    for number in range(12):
        write_log(tmp_path / f"impressions{number}.csv", [{**IMPRESSION, "position": "x"}])
    write_log(tmp_path / "engagements.csv", [ENGAGEMENT])
    (problem,) = problems_of(config_of(tmp_path, ".csv"))
    assert problem == (
        f"{tmp_path}/impressions0.csv: position must be an integer, and 1 of the first 1 values are not. Received: 'x'"
    )


def spans_of(folder, **source):
    return data_config(
        source={
            "kind": "events",
            "impressions": f"{folder}/{{SPAN}}/impressions*.jsonl",
            "engagements": f"{folder}/engagements-{{SPAN}}.jsonl",
            **source,
        }
    )


def write_spans(folder, impressions, engagements):
    for span in impressions:
        (folder / span).mkdir()
        write_log(folder / span / "impressions_1.jsonl", [{**IMPRESSION, "impression_id": span}])
    for span in engagements:
        write_log(folder / f"engagements-{span}.jsonl", [ENGAGEMENT])


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ({}, ["2", "09", "10", "11"]),
        ({"num_spans": 2}, ["10", "11"]),
        ({"last_span": "10"}, ["2", "09", "10"]),
        ({"last_span": "9", "num_spans": 1}, ["09"]),
        ({"num_spans": 99}, ["2", "09", "10", "11"]),
    ],
)
def test_spans_are_chosen_by_number(tmp_path, source, expected):
    write_spans(tmp_path, ["10", "2", "09", "11"], ["11", "9", "10", "2", "12"])
    (tmp_path / "no-span").mkdir()
    config = spans_of(tmp_path, **source)
    check_source(config)
    assert spans(config) == expected
    assert read("impressions", config)[0]["impression_id"].to_pylist() == expected
    assert len(input_files(config)) == 2 * len(expected)


def test_spans_are_days_too(tmp_path):
    write_spans(tmp_path, ["2026-01-09", "2026-01-10"], ["2026-01-09", "2026-01-10"])
    assert spans(spans_of(tmp_path, num_spans=1)) == ["2026-01-10"]


def test_spans_of_other_file_systems():
    with MemoryFiles({f"memory://{log}/{day}/{day}.csv": b"" for log in "ie" for day in ("2026-01-01", "2026-01-02")}):
        source = {log: f"memory://{log[0]}/{{SPAN}}/{{SPAN}}.csv" for log in ("impressions", "engagements")}
        config = data_config(source={"kind": "events", **source, "num_spans": 1})
        assert input_files(config) == ["memory://e/2026-01-02/2026-01-02.csv", "memory://i/2026-01-02/2026-01-02.csv"]


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ({"last_span": "7"}, r"data.source.last_span must be a span of the impressions, which are 1 to 3. Received: 7"),
        ({"last_span": "x"}, r"data.source.last_span must be a number or a day \(YYYY-MM-DD\). Received: x"),
        ({}, r"data.source.engagements must have files of every span .*; there are none of 2. Received: .*SPAN"),
        ({"impressions": "{0}/1/*.jsonl"}, r"data.source.impressions must have \{SPAN\}, as data.source.engagements has"),
        (
            {"impressions": "{0}/1/*.jsonl", "engagements": "{0}/engagements-1.jsonl", "num_spans": 3},
            r"data.source.num_spans needs \{SPAN\} in data.source.impressions. Received: 3",
        ),
        ({"users": "{0}/{SPAN}.csv"}, r"data.source.users must name at least one file"),
    ],
)
def test_spans_that_cannot_be(tmp_path, source, message):
    write_spans(tmp_path, ["1", "2", "3"], ["1", "3"])
    source = {name: value.replace("{0}", str(tmp_path)) if isinstance(value, str) else value for name, value in source.items()}
    config = spans_of(tmp_path, **source)
    with pytest.raises(LogFormatError, match=message):
        check_source(config)
    with pytest.raises(LogFormatError, match=message):
        work_units(config)


def test_numbers_and_days_do_not_mix(tmp_path):
    write_spans(tmp_path, ["1", "2026-01-01"], ["1"])
    with pytest.raises(LogFormatError, match=r"\{SPAN\} must stand for numbers or for days, not both. Received: 2026-01-01, 1"):
        spans(spans_of(tmp_path))


def test_logs_without_spans_have_none(tmp_path):
    assert spans(both_logs(tmp_path)) == []


@settings(deadline=None, max_examples=25)
@given(num_rows=st.integers(1, 60), group_rows=st.integers(1, 20), unit_bytes=st.integers(1, 4_000))
def test_units_of_a_large_parquet_file_hold_each_row_once(tmp_path_factory, num_rows, group_rows, unit_bytes):
    folder = tmp_path_factory.mktemp("units")
    records = [{**IMPRESSION, "impression_id": str(number), "position": number or None} for number in range(num_rows)]
    records[-1]["position"] = -1
    pq.write_table(pa.Table.from_pylist(records), folder / "impressions.parquet", row_group_size=group_rows)
    write_log(folder / "engagements.parquet", [ENGAGEMENT])
    config = config_of(folder, ".parquet")
    units = work.units_of("impressions", [str(folder / "impressions.parquet")], unit_bytes)
    assert pickle.loads(pickle.dumps(units)) == units
    rows, (letter,), _ = read_units(units, config)
    assert rows["impression_id"].to_pylist() == [str(number) for number in range(num_rows - 1)]
    assert letter["line"] == num_rows
    if unit_bytes == 1:
        assert len(units) == -(-num_rows // group_rows)


def test_small_files_are_whole_units_in_the_order_of_the_log(tmp_path):
    for number in (2, 1):
        write_log(tmp_path / f"impressions{number}.csv", [IMPRESSION])
    write_log(tmp_path / "engagements.csv", [ENGAGEMENT])
    assert work_units(config_of(tmp_path, ".csv")) == [
        work.WorkUnit("impressions", f"{tmp_path}/impressions1.csv", 0),
        work.WorkUnit("impressions", f"{tmp_path}/impressions2.csv", 1),
        work.WorkUnit("engagements", f"{tmp_path}/engagements.csv", 0),
    ]


@pytest.mark.parametrize("suffix", [".jsonl", ".csv", ".parquet", ".tfrecord", ".jsonl.gz"])
def test_input_bytes_are_about_what_the_logs_take_in_memory(tmp_path, suffix):
    rng = np.random.default_rng(0)
    times, users, items = rng.integers(0, 10**9, 5000), rng.integers(0, 10**4, 5000), rng.integers(0, 10**4, 5000)
    records = [
        {"impression_id": f"imp-{number}", "user_id": f"u{user}", "item_id": f"i{item}", "impressed_at": START_MS + time}
        for number, (time, user, item) in enumerate(zip(times.tolist(), users.tolist(), items.tolist(), strict=True))
    ]
    config = both_logs(tmp_path, suffix, records)
    decoded = sum(read(log, config)[0].nbytes for log in ("impressions", "engagements"))
    assert decoded / 4 < input_bytes(config) < decoded * 4
