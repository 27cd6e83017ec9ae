import json
import re

import pytest

from data.errors import LogFormatError
from data.ingest import check_source, input_files
from data.schema import ENGAGEMENT_SCHEMA, IMPRESSION_SCHEMA
from data.sources import events
from data.sources.work import WorkUnit
from tests.unit.data.log_files import (
    ENGAGEMENT,
    IMPRESSION,
    SUFFIXES,
    both_logs,
    config_of,
    read_units,
    write_log,
    write_text,
)
from tests.unit.data.rows import at


def read(log, path, config):
    rows, letters, _ = read_units([WorkUnit(log, str(path))], config)
    return rows, letters


def refusals(folder, log, records, suffix=".jsonl", **keys):
    path = folder / f"{log}{suffix}"
    write_log(path, records)
    rows, letters = read(log, path, config_of(folder, suffix, **keys))
    return rows, [(letter["line"], letter["reason"]) for letter in letters]


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_every_format_holds_the_same_rows(tmp_path, suffix):
    records = [
        {**IMPRESSION, "position": 1, "surface": "home", "propensity": 0.5, "day": "2026-01-01", "hour": 3, "extra": "x"},
        {**IMPRESSION, "impression_id": "b", "impressed_at": 1767225601500, "surface": 'a "quoted", text'},
    ]
    write_log(tmp_path / f"impressions{suffix}", records)
    write_log(tmp_path / f"engagements{suffix}", [ENGAGEMENT])
    config = config_of(tmp_path, suffix, context_columns={"hour": "int"})
    check_source(config)
    rows, letters = read("impressions", tmp_path / f"impressions{suffix}", config)
    assert letters == []
    assert rows.select(IMPRESSION_SCHEMA.names).schema.types == IMPRESSION_SCHEMA.types
    first, second = rows.to_pylist()
    expected = {**dict.fromkeys(IMPRESSION_SCHEMA.names), **records[0], "impressed_at": at(0)}
    assert first == {name: value for name, value in expected.items() if name != "extra"}
    assert (second["impressed_at"], second["surface"], second["hour"]) == (at(1.5), 'a "quoted", text', None)


@pytest.mark.parametrize("suffix", [".jsonl", ".csv", ".parquet"])
def test_integer_ids_become_strings(tmp_path, suffix):
    rows, letters = refusals(tmp_path, "impressions", [{**IMPRESSION, "user_id": 7, "item_id": 9}], suffix)
    assert letters == []
    assert rows.select(["user_id", "item_id"]).to_pylist() == [{"user_id": "7", "item_id": "9"}]


def test_ids_of_mixed_types_in_one_block(tmp_path):
    rows, letters = refusals(tmp_path, "impressions", [{**IMPRESSION, "user_id": value} for value in (7, "8", 9.0)])
    assert letters == []
    assert rows["user_id"].to_pylist() == ["7", "8", "9"]


@pytest.mark.parametrize(
    ("value", "unit"),
    [
        (1767225601, "s"),
        (1767225601000, "ms"),
        (1767225601000000, "us"),
        ("2026-01-01T00:00:01Z", "ms"),
        ("2026-01-01 00:00:01", "ms"),
        ("2026-01-01T08:00:01.000000+08:00", "ms"),
        ("2025-12-31T19:00:01-0500", "ms"),
        ("2026-01-01T00:00:01.000000000Z", "ms"),
    ],
)
@pytest.mark.parametrize("suffix", [".jsonl", ".csv"])
def test_times(tmp_path, value, unit, suffix):
    records = [{**IMPRESSION, "impressed_at": value}]
    rows, letters = refusals(tmp_path, "impressions", records, suffix, source={"time_unit": unit})
    assert letters == []
    assert rows["impressed_at"].to_pylist() == [at(1)]


@pytest.mark.parametrize("suffix", [".jsonl", ".csv"])
@pytest.mark.parametrize(
    ("log", "change", "reason"),
    [
        ("impressions", {"position": "third"}, "position must be an integer. Received: 'third'"),
        ("impressions", {"position": 0}, "position must be at least 1. Received: .*0"),
        ("impressions", {"propensity": 1.5}, "propensity must be above 0 and at most 1. Received: .*1.5"),
        ("impressions", {"user_id": ""}, "user_id is missing"),
        ("impressions", {"user_id": None}, "user_id is missing"),
        ("impressions", {"impressed_at": "yesterday"}, "impressed_at must be ISO 8601 .* Received: 'yesterday'"),
        ("impressions", {"impressed_at": "2026-02-30T00:00:00"}, "impressed_at must be ISO 8601"),
        ("impressions", {"impressed_at": 1767225600000000}, "impressed_at must be .* time_unit"),
        ("impressions", {"day": "1/2/2026"}, "day must be YYYY-MM-DD"),
        ("impressions", {"hour": "noon"}, "hour must be an integer. Received: 'noon'"),
        ("engagements", {"kind": "wink"}, "kind must be one of click, .* Received: 'wink'"),
        ("engagements", {"kind": "play"}, "watch_seconds is missing in a play"),
        ("engagements", {"kind": "survey"}, "score is missing in a survey"),
        ("engagements", {"kind": "play", "watch_seconds": -1.0}, "watch_seconds must be at least 0. Received: .*-1.0"),
        ("engagements", {"kind": "play", "watch_seconds": "inf"}, "watch_seconds must be a finite number"),
        ("engagements", {"impression_id": None, "user_id": "u"}, "impression_id is missing, and user_id and item_id"),
    ],
)
def test_a_bad_record_goes_to_the_dead_letters(tmp_path, log, change, reason, suffix):
    good = IMPRESSION if log == "impressions" else ENGAGEMENT
    records = [good, {**good, **change}, good]
    rows, letters = refusals(tmp_path, log, records, suffix, context_columns={"hour": "int"})
    assert rows.num_rows == 2
    ((line, found),) = letters
    assert line == (2 if suffix == ".jsonl" else 3)
    assert re.match(reason, found)
    assert "\n" not in found


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ('{"impression_id": "a", ', "record must be valid JSON: "),
        ("[1, 2]", "record must be a JSON object. Received: list"),
        ("3", "record must be a JSON object. Received: int"),
        (b"\xff\xfe", "record must be valid JSON: "),
        ("[" * 100_000, "record must be valid JSON: "),
        (json.dumps({**IMPRESSION, "user_id": "\ud800"}), "record must be valid Unicode. Received: half of a surrogate pair"),
        (json.dumps({**IMPRESSION, "user_id": {"id": 1}}), "user_id must be a string. Received: "),
        (json.dumps({**IMPRESSION, "user_id": True}), "user_id must be a string. Received: true"),
        (json.dumps({**IMPRESSION, "position": [1]}), "position must be a number. Received: "),
        (json.dumps(IMPRESSION) + json.dumps(IMPRESSION), "record must be valid JSON: "),
    ],
)
def test_bad_json(tmp_path, line, reason):
    good = json.dumps(IMPRESSION).encode()
    bad = line if isinstance(line, bytes) else line.encode()
    write_text(tmp_path / "impressions.jsonl", b"\n".join([good, b"", bad, good]))
    rows, (letter,) = read("impressions", tmp_path / "impressions.jsonl", config_of(tmp_path))
    assert rows.num_rows == 2
    assert (letter["line"], letter["log"]) == (3, "impressions")
    assert letter["file"] == str(tmp_path / "impressions.jsonl")
    assert letter["reason"].startswith(reason)
    assert letter["record"][:500] == bad.decode(errors="replace").strip()[:500]


def test_bad_csv_lines(tmp_path):
    header, good = "impression_id,user_id,item_id,impressed_at", "a,u,i,1767225600000"
    text = "\r\n".join([header, good, "too,few", '"never closed,u,i,1', good]) + "\r\n"
    write_text(tmp_path / "impressions.csv", text)
    rows, letters = read("impressions", tmp_path / "impressions.csv", config_of(tmp_path, ".csv"))
    assert rows.num_rows == 2
    assert [letter["line"] for letter in letters] == [3, 4]
    assert letters[0]["reason"] == "record must have 4 columns. Received: 2"
    assert letters[1]["reason"].startswith("record must")


def test_a_long_record_is_cut(tmp_path):
    write_text(tmp_path / "impressions.jsonl", "x" * 5000)
    _, (letter,) = read("impressions", tmp_path / "impressions.jsonl", config_of(tmp_path))
    assert len(letter["record"]) == 1000


def test_engagements_without_impression_id_column(tmp_path):
    record = {"event_id": 1, "user_id": "u", "item_id": "i", "kind": "click", "engaged_at": 1767225600000}
    write_log(tmp_path / "impressions.csv", [IMPRESSION])
    write_log(tmp_path / "engagements.csv", [record])
    config = config_of(tmp_path, ".csv")
    check_source(config)
    rows, letters = read("engagements", tmp_path / "engagements.csv", config)
    assert letters == []
    assert rows.schema.names == ENGAGEMENT_SCHEMA.names


def test_a_missing_file_is_named(tmp_path):
    both_logs(tmp_path)
    (tmp_path / "engagements.jsonl").unlink()
    with pytest.raises(LogFormatError, match=r"^data.source.engagements must name .*engagements\*.jsonl$"):
        check_source(config_of(tmp_path))


def test_an_unknown_suffix_is_named(tmp_path):
    both_logs(tmp_path)
    (tmp_path / "impressions.tsv").write_text("x")
    with pytest.raises(LogFormatError, match=r"impressions.tsv: a log's name must end in one of .jsonl"):
        check_source(config_of(tmp_path, source={"impressions": str(tmp_path / "impressions.tsv")}))


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_an_absent_declared_column_is_named_with_near_matches(tmp_path, suffix):
    both_logs(tmp_path, suffix)
    write_log(tmp_path / f"impressions_1{suffix}", [{**IMPRESSION, "hours": 1}])
    with pytest.raises(LogFormatError, match=r"impressions.*and 1 more: there is no column 'hour'; did you mean hours?"):
        check_source(config_of(tmp_path, suffix, context_columns={"hour": "int"}))
    check_source(config_of(tmp_path, suffix, context_columns={"hours": "int"}))


def test_a_column_that_comes_late_in_a_jsonl_log_is_found(tmp_path):
    both_logs(tmp_path)
    write_log(tmp_path / "impressions.jsonl", [IMPRESSION] * 2000 + [{**IMPRESSION, "hour": 1}])
    check_source(config_of(tmp_path, context_columns={"hour": "int"}))


def test_an_absent_required_column_is_named(tmp_path):
    both_logs(tmp_path, ".csv")
    write_log(tmp_path / "engagements.csv", [{name: v for name, v in ENGAGEMENT.items() if name != "kind"}])
    with pytest.raises(LogFormatError, match=r"engagements.csv: there is no column 'kind'"):
        check_source(config_of(tmp_path, ".csv"))


def test_a_repeated_csv_column_is_named(tmp_path):
    both_logs(tmp_path, ".csv")
    write_text(tmp_path / "impressions.csv", "user_id,user_id\na,b\n")
    with pytest.raises(LogFormatError, match=r"impressions.csv: line 1 repeats the column 'user_id'"):
        check_source(config_of(tmp_path, ".csv"))


def test_a_csv_header_in_another_encoding_is_named(tmp_path):
    both_logs(tmp_path, ".csv")
    path = tmp_path / "impressions.csv"
    path.write_bytes(path.read_text().encode("utf-16"))
    with pytest.raises(LogFormatError, match=r"impressions\.csv"):
        check_source(config_of(tmp_path, ".csv"))


def test_declared_table_columns_need_a_table(tmp_path):
    both_logs(tmp_path)
    with pytest.raises(LogFormatError, match=r"data.source.users must name a table that holds the declared column 'age'"):
        check_source(config_of(tmp_path, user_columns={"age": "int"}))


def test_an_unknown_time_zone_is_named(tmp_path):
    both_logs(tmp_path)
    with pytest.raises(LogFormatError, match=r"data.timezone must be an IANA name. Received: 'Mars/Olympus'"):
        check_source(config_of(tmp_path, timezone="Mars/Olympus"))


def test_a_truncated_gz_is_named(tmp_path):
    path = tmp_path / "impressions.jsonl.gz"
    write_log(path, [{**IMPRESSION, "impression_id": str(number)} for number in range(5000)])
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(LogFormatError, match=r"^.*impressions.jsonl.gz: cannot be read, it is damaged or cut short; .*$"):
        read("impressions", path, config_of(tmp_path, ".jsonl.gz"))


def test_a_gz_that_is_none_is_named(tmp_path):
    (tmp_path / "impressions.jsonl.gz").write_text("plain text")
    with pytest.raises(LogFormatError, match=r"impressions.jsonl.gz: cannot be read"):
        read("impressions", tmp_path / "impressions.jsonl.gz", config_of(tmp_path, ".jsonl.gz"))


def test_half_a_parquet_file_is_named(tmp_path):
    both_logs(tmp_path, ".parquet")
    path = tmp_path / "impressions.parquet"
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(LogFormatError, match=r"impressions.parquet: cannot be read"):
        check_source(config_of(tmp_path, ".parquet"))


def test_input_files_are_all_that_a_source_reads(tmp_path):
    both_logs(tmp_path)
    write_log(tmp_path / "impressions_2.jsonl", [IMPRESSION])
    write_log(tmp_path / "users.csv", [{"user_id": "u"}])
    found = input_files(config_of(tmp_path, source={"users": str(tmp_path / "users.csv")}))
    names = ["engagements.jsonl", "impressions.jsonl", "impressions_2.jsonl", "users.csv"]
    assert found == [str(tmp_path / name) for name in names]


@pytest.mark.parametrize("suffix", [".jsonl", ".csv"])
def test_blocks_do_not_show(tmp_path, monkeypatch, suffix):
    path = tmp_path / f"impressions{suffix}"
    records = [{**IMPRESSION, "impression_id": str(number)} for number in range(200)]
    records[150]["position"] = "x"
    write_log(path, records)
    whole = read("impressions", path, config_of(tmp_path, suffix))
    blocks = events.decoding.files.line_blocks
    monkeypatch.setattr(events.decoding.files, "line_blocks", lambda path: blocks(path, 500))
    parts = read("impressions", path, config_of(tmp_path, suffix))
    assert parts[0].equals(whole[0])
    assert parts[1] == whole[1]
    assert parts[1][0]["line"] == 151 + (suffix == ".csv")
