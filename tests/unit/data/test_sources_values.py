"""Values that formats store in different ways: ids keep their digits, days are real and near, neighbours do not show."""

import contextlib
import datetime
import decimal
import io
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from data.errors import LogFormatError
from data.ingest import check_source, spans
from data.sources import conform, events, files, inspection
from data.sources.days import day_faults
from tests.unit.data.log_files import ENGAGEMENT, IMPRESSION, both_logs, config_of, read, write_log, write_text
from tests.unit.data.rows import at, data_config

CONTEXT = {"context_columns": {"price": "float", "count": "int", "tag": "string"}}


def parquet_of(folder, name, values, type_):
    """A configuration whose impressions have a column of an Arrow type."""
    table = pa.table({key: [value] * len(values) for key, value in {**IMPRESSION, name: None}.items() if key != name})
    sink = io.BytesIO()
    pq.write_table(table.append_column(name, pa.array(values, type_)), sink)
    (folder / "impressions.parquet").write_bytes(sink.getvalue())
    write_log(folder / "engagements.parquet", [ENGAGEMENT])
    declared = {key: type_ for key, type_ in CONTEXT["context_columns"].items() if key == name}
    return config_of(folder, ".parquet", context_columns=declared)


@pytest.mark.parametrize(
    ("type_", "values", "expected"),
    [
        (pa.decimal128(38, 0), ["9007199254740993", "9007199254740992"], ["9007199254740993", "9007199254740992"]),
        (
            pa.decimal128(38, 0),
            ["170141183460469231731687303715884105727"[:38], "7"],
            ["17014118346046923173168730371588410572", "7"],
        ),
        (pa.decimal256(60, 0), [str(10**50), str(10**50 + 1)], [str(10**50), str(10**50 + 1)]),
        (
            pa.decimal128(38, 10),
            ["9007199254740993", "7.50", "0", "0.0000000001"],
            ["9007199254740993", "7.5", "0", "0.0000000001"],
        ),
    ],
)
def test_ids_that_are_decimals_keep_all_their_digits(tmp_path, type_, values, expected):
    config = parquet_of(tmp_path, "user_id", [decimal.Decimal(value) for value in values], type_)
    check_source(config)
    rows, letters, _ = read("impressions", config)
    assert (rows["user_id"].to_pylist(), letters) == (expected, [])


def test_decimals_are_integers_floats_and_times_where_these_are_wanted(tmp_path):
    values = [decimal.Decimal(text) for text in ("9007199254740993", "7.5", "10000000000000000000")]
    rows, _, counts = read("impressions", parquet_of(tmp_path, "count", values, pa.decimal128(38, 1)))
    assert (rows["count"].to_pylist(), counts) == ([9007199254740993], {"bad_count": 2})
    rows, _, _ = read("impressions", parquet_of(tmp_path, "price", values[1:2], pa.decimal128(38, 1)))
    assert rows["price"].to_pylist() == [7.5]
    times = [decimal.Decimal("1767225601500"), decimal.Decimal("1767225601500.5")]
    rows, _, _ = read("impressions", parquet_of(tmp_path, "impressed_at", times, pa.decimal128(20, 1)))
    assert rows["impressed_at"].to_pylist() == [at(1.5), at(1.5005)]


@given(values=st.lists(st.integers(-(2**63), 2**63 - 1) | st.integers(-(10**19), 10**19), min_size=1, max_size=5))
@settings(deadline=None)
def test_texts_are_integers_to_the_ends_of_int64(values):
    expected = [value if -(2**63) <= value < 2**63 else None for value in values]
    assert conform.to_int(pa.array([str(value) for value in values])).to_pylist() == expected


@pytest.mark.parametrize(("type_", "user"), [(pa.binary(), "ü"), (pa.large_binary(), "u" * 40)])
def test_bytes_of_parquet_are_strings_if_they_are_text(tmp_path, type_, user):
    config = parquet_of(tmp_path, "user_id", [user.encode(), b"", None], type_)
    rows, _, counts = read("impressions", config)
    assert (rows["user_id"].to_pylist(), counts) == ([user], {"missing_user_id": 2})
    config = parquet_of(tmp_path, "user_id", [user.encode(), b"\xff\xfe", b"v"], type_)
    check_source(config)
    rows, (letter,), counts = read("impressions", config)
    assert (rows["user_id"].to_pylist(), counts) == ([user, "v"], {"bad_user_id": 1})
    assert (letter["line"], letter["reason"]) == (2, "user_id must be UTF-8")
    assert json.loads(letter["record"])["user_id"] == "\ufffd\ufffd"


NUMBERS = st.one_of(
    st.integers(-(2**70), 2**70),
    st.integers(2**53 - 2, 2**53 + 2),
    st.floats(allow_nan=False),
    st.sampled_from([0.00001, 5e18, 2e18, 1e22, 1e-300, -0.0, -0.4, 0.5, 7.0, 1234567890123.25, 2.0**62, 2.0**63]),
)
VALUES = st.one_of(NUMBERS, st.none(), st.text(alphabet="0123456789.e-x", max_size=6), st.booleans())
RECORDS = st.fixed_dictionaries(
    {"impression_id": st.just("a"), "user_id": st.just("u"), "item_id": NUMBERS},
    optional={
        "tag": VALUES,
        "count": VALUES,
        "price": VALUES,
        "impressed_at": st.one_of(NUMBERS, st.just(1767225600000), st.just(1767225600000.25)),
    },
)


def _rows_beside(folder, records, garbage):
    # A last line without an end would be a block of its own.
    write_text(folder / "impressions.jsonl", "".join(f"{line}\n" for line in [*map(json.dumps, records), *garbage]))
    write_log(folder / "engagements.jsonl", [ENGAGEMENT])
    rows, letters, _ = read("impressions", config_of(folder, **CONTEXT))
    return rows, [letter["line"] for letter in letters if letter["record"] not in garbage]


@settings(deadline=None, max_examples=60)
@example(records=[{**IMPRESSION, "item_id": value} for value in (0.00001, 5e18, 1234567890123.25)])
@example(records=[{**IMPRESSION, "item_id": value} for value in (1.5, 2**53, 2**53 + 1)])
@example(records=[{**IMPRESSION, "count": value} for value in (1.0, 2e18, 2**53 + 1, 5e18)])
@example(records=[{**IMPRESSION, "impressed_at": value} for value in (0.00001, -0.4, 1e12)])
@given(records=st.lists(RECORDS, min_size=1, max_size=5))
def test_a_line_of_garbage_changes_no_other_row(tmp_path_factory, records):
    folder = tmp_path_factory.mktemp("beside")
    alone, lines = _rows_beside(folder, records, [])
    beside, lines_beside = _rows_beside(folder, records, ['{"half'])
    assert beside.equals(alone)
    assert lines_beside == lines


@pytest.mark.parametrize("garbage", [[], ['{"half']])
def test_texts_of_ids_that_are_floats(tmp_path, garbage):
    ids = [0.00001, 4e18, 1234567890123.25, 7.0, -0.0]
    rows, _ = _rows_beside(tmp_path, [{**IMPRESSION, "item_id": value} for value in ids], garbage)
    assert rows["item_id"].to_pylist() == ["0.00001", "4000000000000000000", "1.23456789012325e+12", "7", "0"]


@pytest.mark.parametrize("suffix", [".jsonl", ".csv", ".parquet", ".tfrecord"])
def test_days_are_real_and_near_their_impression(tmp_path, suffix):
    days = ["2025-12-30", "2026-01-03", None, "2026-02-30", "2099-01-01", "2025-12-29", "20260101", "２０２６-01-01"]
    config = both_logs(tmp_path, suffix, [{**IMPRESSION, "day": day} for day in days])
    rows, letters, counts = read("impressions", config)
    assert rows["day"].to_pylist() == days[:3]
    assert counts == {"bad_day": 5}
    no_day, far = "day must be YYYY-MM-DD", "day must be at most 2 days from impressed_at"
    assert [letter["reason"] for letter in letters] == [no_day, far, far, no_day, no_day]


@settings(deadline=None)
@given(
    rows=st.lists(
        st.tuples(
            st.none() | st.dates(datetime.date(1971, 1, 1), datetime.date(1971, 1, 8)).map(str) | st.just("1971-02-29"),
            st.none() | st.datetimes(datetime.datetime(1971, 1, 1), datetime.datetime(1971, 1, 8)),
        ),
        max_size=8,
    )
)
def test_faults_of_days(rows):
    days = pa.chunked_array([pa.array([day for day, _ in rows], pa.string())])
    times = pa.chunked_array([pa.array([moment for _, moment in rows], pa.timestamp("us"))])
    is_no_day, is_far = day_faults(days, times)
    assert is_no_day.tolist() == [day == "1971-02-29" for day, _ in rows]
    assert is_far.tolist() == [
        None not in (day, moment) and day != "1971-02-29" and abs((datetime.date.fromisoformat(day) - moment.date()).days) > 2
        for day, moment in rows
    ]


@pytest.mark.parametrize(
    ("pattern", "names", "expected"),
    [
        ("*-{SPAN}.jsonl", ["imp-2026-01-01", "imp-2026-01-31", "imp-2026-02-01"], ["2026-01-01", "2026-01-31", "2026-02-01"]),
        ("p*{SPAN}.jsonl", ["part8", "part9", "part10"], ["8", "9", "10"]),
        ("**/*{SPAN}*.jsonl", ["x-2026-01-01-a", "x-2026-01-02-b"], ["2026-01-01", "2026-01-02"]),
        ("*{SPAN}.jsonl", ["v2-part10", "v2-part11"], ["10", "11"]),
    ],
)
def test_a_star_leaves_the_whole_span(tmp_path, pattern, names, expected):
    for name in names:
        write_log(tmp_path / f"{name}.jsonl", [IMPRESSION])
    source = {"kind": "events", "impressions": f"{tmp_path}/{pattern}", "engagements": f"{tmp_path}/{pattern}"}
    assert spans(data_config(source=source)) == expected


@pytest.mark.parametrize("suffix", [".jsonl", ".csv", ".parquet", ".tfrecord"])
def test_days_that_are_integers_are_plausible_times_in_no_unit(tmp_path, suffix):
    config = both_logs(tmp_path, suffix, [{**IMPRESSION, "impressed_at": 20260101 + day} for day in range(3)])
    with pytest.raises(
        LogFormatError, match=r"impressed_at must be a time from 1990 to now, .* plausible in no unit. Received: "
    ):
        check_source(config)


def test_a_stray_number_among_times_condemns_no_log(tmp_path):
    times = ["12", *["2026-01-01T00:00:01Z"] * 5]
    check_source(both_logs(tmp_path, ".csv", [{**IMPRESSION, "impressed_at": time} for time in times]))


@pytest.mark.parametrize("suffix", [".jsonl", ".tfrecord"])
def test_heads_of_files_tell_whether_engagements_name_impressions(tmp_path, monkeypatch, suffix):
    engagement = {"event_id": "1", "user_id": "u", "item_id": "i", "kind": "click", "engaged_at": 1767225600000}
    config = both_logs(tmp_path, suffix, engagements=[engagement] * 40_000)
    size = (tmp_path / f"engagements{suffix}").stat().st_size
    num_bytes, open_content = [], files.storage.open_content

    @contextlib.contextmanager
    def counted(path):
        with open_content(path) as content:
            yield CountedReads(content, num_bytes)

    monkeypatch.setattr(files.storage, "open_content", counted)
    (key,) = [column for column in events.columns(events.ENGAGEMENTS, config) if column.name == "impression_id"]
    assert not inspection.has_column([str(tmp_path / f"engagements{suffix}")], key)
    assert 0 < sum(num_bytes) < size / 2


class CountedReads:
    def __init__(self, content, num_bytes):
        self._content, self._num_bytes = content, num_bytes

    def read(self, number):
        self._num_bytes.append(len(chunk := self._content.read(number)))
        return chunk


@pytest.mark.parametrize("suffix", [".jsonl", ".tfrecord"])
def test_a_value_that_is_called_like_a_column_is_no_column(tmp_path, suffix):
    config = both_logs(tmp_path, suffix, [{**IMPRESSION, "surface": "hour"}], context_columns={"hour": "int"})
    with pytest.raises(LogFormatError, match=r"there is no column 'hour'"):
        check_source(config)


def test_a_late_column_whose_name_is_no_ascii_is_found(tmp_path):
    write_log(tmp_path / "engagements.jsonl", [ENGAGEMENT])
    records = [IMPRESSION] * 2000 + [{**IMPRESSION, "größe": 1}]
    write_text(tmp_path / "impressions.jsonl", "\n".join(json.dumps(record, ensure_ascii=False) for record in records))
    check_source(config_of(tmp_path, context_columns={"größe": "int"}))
