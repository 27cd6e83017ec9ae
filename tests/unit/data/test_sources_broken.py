"""Broken logs: right counts by reason, or one clear error, through what ingestion calls."""

import datetime
import io
import json
import struct

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from data.errors import LogFormatError
from data.ingest import check_source
from data.sources import csv_lines, files
from tests.unit.data.log_files import (
    ENGAGEMENT,
    IMPRESSION,
    SUFFIXES,
    both_logs,
    compressed,
    config_of,
    log_bytes,
    read,
    tf_example,
    tf_frame,
    write_log,
    write_text,
)

PLAY = {**ENGAGEMENT, "kind": "play", "watch_seconds": 3.5}
FORMATS = [".jsonl", ".csv", ".parquet", ".tfrecord"]
CSV_HEADER = "impression_id,user_id,item_id,impressed_at,surface\n"


def counts_of(folder, log, records, suffix):
    return read(log, both_logs(folder, suffix, **{log: records}))


@pytest.mark.parametrize("suffix", FORMATS)
@pytest.mark.parametrize(
    ("log", "change", "slug"),
    [
        ("impressions", {"user_id": None}, "missing_user_id"),
        ("impressions", {"position": 0}, "bad_position"),
        ("impressions", {"propensity": 2.0}, "bad_propensity"),
        ("impressions", {"propensity": float("inf")}, "bad_propensity"),
        ("impressions", {"day": "today"}, "bad_day"),
        ("impressions", {"impressed_at": -5}, "bad_impressed_at"),
        ("engagements", {"kind": "wink"}, "unknown_kind"),
        ("engagements", {"kind": None}, "missing_kind"),
        ("engagements", {"impression_id": None, "user_id": "u"}, "missing_impression_id"),
        ("engagements", {"watch_seconds": -1.0}, "negative_amount"),
        ("engagements", {"watch_seconds": float("inf")}, "non_finite_amount"),
        ("engagements", {"watch_seconds": float("-inf")}, "non_finite_amount"),
        ("engagements", {"watch_seconds": float("nan")}, "non_finite_amount"),
        ("engagements", {"duration_seconds": -0.5}, "negative_amount"),
        ("engagements", {"watch_seconds": None}, "missing_watch_seconds"),
        ("engagements", {"kind": "survey", "score": float("nan")}, "non_finite_amount"),
        ("engagements", {"kind": "survey"}, "missing_score"),
    ],
)
def test_every_fault_is_counted_by_its_class(tmp_path, log, change, slug, suffix):
    good = {**IMPRESSION, "propensity": 0.5} if log == "impressions" else PLAY
    rows, letters, counts = counts_of(tmp_path, log, [good, {**good, **change}, good], suffix)
    assert (rows.num_rows, len(letters), counts) == (2, 1, {slug: 1})


@pytest.mark.parametrize(("suffix", "is_null"), [(".parquet", True), (".tfrecord", True), (".jsonl", False), (".csv", False)])
def test_nan_is_how_tables_say_null_where_no_amount_is_needed(tmp_path, suffix, is_null):
    rows, _, counts = counts_of(tmp_path, "engagements", [PLAY, {**ENGAGEMENT, "watch_seconds": float("nan")}], suffix)
    assert counts == ({} if is_null else {"non_finite_amount": 1})
    assert rows["watch_seconds"].to_pylist() == [3.5, None][: rows.num_rows]


@pytest.mark.parametrize("suffix", FORMATS)
def test_times_in_the_future_would_move_the_watermark(tmp_path, suffix):
    now = datetime.datetime.now(datetime.timezone.utc)
    ahead = [int((now + datetime.timedelta(hours=hours)).timestamp() * 1000) for hours in (-1, 23, 25, 24 * 400)]
    rows, letters, counts = counts_of(tmp_path, "engagements", [{**ENGAGEMENT, "engaged_at": at} for at in ahead], suffix)
    assert counts == {"future": 2}
    assert rows.num_rows == 2
    assert letters[0]["reason"].startswith("engaged_at must be at most a day later than now. Received: ")


@pytest.mark.parametrize("suffix", [suffix for suffix in SUFFIXES if suffix not in (".csv", ".jsonl")])
def test_a_file_that_is_cut_short_is_one_error(tmp_path, suffix):
    rng = np.random.default_rng(0)
    records = [{**IMPRESSION, "impression_id": str(rng.integers(1 << 40))} for _ in range(3000)]
    content = log_bytes(suffix, records)
    config = both_logs(tmp_path, suffix)
    (tmp_path / f"impressions{suffix}").write_bytes(content[: len(content) * 2 // 3])
    with pytest.raises(LogFormatError, match=rf"^\S*/impressions{suffix}: cannot be read, it is damaged or cut short; "):
        read("impressions", config)


def test_a_damaged_page_of_parquet_is_one_error(tmp_path):
    config = both_logs(tmp_path, ".parquet", [{**IMPRESSION, "impression_id": str(number)} for number in range(5000)])
    content = bytearray((tmp_path / "impressions.parquet").read_bytes())
    content[4:400] = b"\xff" * 396
    (tmp_path / "impressions.parquet").write_bytes(content)
    with pytest.raises(LogFormatError, match=r"impressions.parquet: cannot be read, it is damaged or cut short; "):
        read("impressions", config)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_noise_is_one_error_or_all_dead_letters(tmp_path, suffix):
    noise = np.random.default_rng(1).bytes(20_000)
    config = both_logs(tmp_path, suffix)
    is_text = ".csv" in suffix or ".jsonl" in suffix
    (tmp_path / f"impressions{suffix}").write_bytes(compressed(suffix, noise) if is_text else noise)
    with pytest.raises(LogFormatError, match=rf"impressions{suffix}\b.*: "):
        check_source(config)
    if not is_text:
        with pytest.raises(LogFormatError, match=rf"impressions{suffix}: cannot be read"):
            read("impressions", config)
    elif ".jsonl" in suffix:
        rows, letters, counts = read("impressions", config)
        assert rows.num_rows == 0
        assert counts == {"not_a_record": len(letters)}


@pytest.mark.parametrize("suffix", FORMATS)
def test_another_schema_in_the_glob_is_named_before_and_dead_after(tmp_path, suffix):
    config = both_logs(tmp_path, suffix, [IMPRESSION] * 3)
    write_log(tmp_path / f"impressions_other{suffix}", [{"user_id": "u", "clicks": 3}] * 2)
    with pytest.raises(LogFormatError, match=rf"impressions_other{suffix}: there is no column 'impression_id'"):
        check_source(config)
    rows, letters, counts = read("impressions", config)
    assert rows.num_rows == 3
    assert counts == {"missing_impression_id": 2}
    assert {letter["file"] for letter in letters} == {str(tmp_path / f"impressions_other{suffix}")}


@pytest.mark.parametrize("suffix", [".jsonl", ".csv", ".csv.gz", ".jsonl.zst"])
def test_one_percent_of_garbage_is_counted_line_by_line(tmp_path, suffix):
    garbage = ['{"half": ', '"never closed,u,i', "\x00\x01", "a,b", '}}"']
    lines = log_bytes(suffix.split(".g")[0].split(".z")[0], [IMPRESSION] * 2000).decode().splitlines()
    at = list(range(50, 2000, 100))
    for number in reversed(at):
        lines.insert(number, garbage[number // 100 % len(garbage)])
    config = both_logs(tmp_path, suffix)
    write_text(tmp_path / f"impressions{suffix}", "\n".join(lines))
    check_source(config)
    rows, letters, counts = read("impressions", config)
    assert (rows.num_rows, counts) == (2000, {"not_a_record": 20})
    assert [letter["line"] for letter in letters] == [number + index + 1 for index, number in enumerate(at)]


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
@pytest.mark.parametrize("suffix", [".jsonl", ".csv"])
def test_marks_of_editors_do_not_matter(tmp_path, suffix, mark, newline):
    text = log_bytes(suffix, [IMPRESSION, {**IMPRESSION, "impression_id": "b"}]).decode()
    lines = text.splitlines()
    write_text(tmp_path / f"impressions{suffix}", mark + newline.join([*lines, "", "  ", ""]).encode())
    write_log(tmp_path / f"engagements{suffix}", [ENGAGEMENT])
    config = config_of(tmp_path, suffix)
    check_source(config)
    rows, letters, _ = read("impressions", config)
    assert (rows["impression_id"].to_pylist(), letters) == (["a", "b"], [])


@pytest.mark.parametrize("suffix", [".jsonl", ".jsonl.gz", ".csv", ".csv.zst", ".tfrecord"])
def test_an_empty_file_holds_nothing(tmp_path, suffix):
    config = both_logs(tmp_path, suffix)
    write_text(tmp_path / f"impressions_0{suffix}", b"")
    check_source(config)
    assert read("impressions", config)[0].num_rows == 1


@settings(deadline=None, max_examples=60)
@example(values=["\n\n"], block_bytes=37)
@given(
    values=st.lists(st.text(alphabet='ab", \n', max_size=8), min_size=1, max_size=12),
    block_bytes=st.integers(1, 120),
)
def test_quoted_values_may_have_lines_and_blocks_do_not_show(tmp_path_factory, values, block_bytes):
    folder = tmp_path_factory.mktemp("quoted")
    text, expected_lines = CSV_HEADER, []
    for value in values:
        expected_lines.append(text.count("\n") + 1)
        text += 'a,u,i,1767225600000,"' + value.replace('"', '""') + '"\n'
    write_text(folder / "impressions.csv", text)
    raws = _decode_in_blocks(folder / "impressions.csv", block_bytes)
    assert not any(raw.rejected for raw in raws)
    assert [value or "" for raw in raws for value in raw.columns["surface"].to_pylist()] == values
    assert [line for raw in raws for line in raw.lines.tolist()] == expected_lines


def _decode_in_blocks(path, block_bytes):
    blocks = files.line_blocks
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(files, "line_blocks", lambda path: blocks(path, block_bytes))
        return list(csv_lines.decode(str(path), {"impression_id": pa.string(), "surface": pa.string()}))


@pytest.mark.parametrize("block_bytes", [30, 200, 1 << 20])
def test_a_quote_that_is_never_closed_costs_its_own_line_only(tmp_path, block_bytes):
    good = "a,u,i,1767225600000,home\n"
    write_text(tmp_path / "impressions.csv", CSV_HEADER + good * 3 + 'a,u,i,1767225600000,"home\n' + good * 1500)
    raws = _decode_in_blocks(tmp_path / "impressions.csv", block_bytes)
    assert [rejected[:2] for raw in raws for rejected in raw.rejected] == [(5, "not_a_record")]
    assert sum(raw.columns.num_rows for raw in raws) == 1503


def test_examples_that_are_none_or_differ_in_type(tmp_path):
    frames = [tf_frame(tf_example(record)) for record in [IMPRESSION, {**IMPRESSION, "user_id": 5}]]
    frames += [tf_frame(b"\xff\xff"), tf_frame(tf_example({**IMPRESSION, "item_id": ["i", "j"]}))]
    frames.append(tf_frame(tf_example({**IMPRESSION, "user_id": b"\xff"})))
    (tmp_path / "impressions.tfrecord").write_bytes(b"".join(frames))
    write_log(tmp_path / "engagements.tfrecord", [ENGAGEMENT])
    rows, letters, counts = read("impressions", config_of(tmp_path, ".tfrecord"))
    assert rows["user_id"].to_pylist() == ["u", "5"]
    assert [letter["line"] for letter in letters] == [3, 4, 5]
    assert counts == {"not_a_record": 2, "bad_item_id": 1}


def test_a_length_that_lies_is_no_record(tmp_path):
    frame = bytearray(tf_frame(tf_example(IMPRESSION)))
    frame[:8] = struct.pack("<Q", 1 << 50)
    (tmp_path / "impressions.tfrecord").write_bytes(frame)
    write_log(tmp_path / "engagements.tfrecord", [ENGAGEMENT])
    with pytest.raises(LogFormatError, match=r"impressions.tfrecord: .*no TFRecord at byte 0"):
        read("impressions", config_of(tmp_path, ".tfrecord"))


def test_strings_of_parquet_that_are_no_text(tmp_path):
    users = pa.array([b"u", b"\xff\xfe", b"v"]).cast(pa.binary()).view(pa.string())
    table = pa.table({name: [value] * 3 for name, value in IMPRESSION.items()})
    sink = io.BytesIO()
    pq.write_table(table.set_column(table.column_names.index("user_id"), "user_id", users), sink)
    (tmp_path / "impressions.parquet").write_bytes(sink.getvalue())
    write_log(tmp_path / "engagements.parquet", [ENGAGEMENT])
    rows, (letter,), counts = read("impressions", config_of(tmp_path, ".parquet"))
    assert rows["user_id"].to_pylist() == ["u", "v"]
    assert counts == {"bad_user_id": 1}
    assert (letter["line"], letter["reason"], json.loads(letter["record"])["item_id"]) == (2, "user_id must be UTF-8", "i")
