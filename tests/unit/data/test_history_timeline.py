import datetime

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data.history.timeline import LONG_AGO_US, Timeline, cutoffs, key_codes
from tests.unit.data import history_oracle as oracle
from tests.unit.data.history_rows import data_config


def us(text):
    moment = datetime.datetime.fromisoformat(text)
    return (moment - oracle.EPOCH) // datetime.timedelta(microseconds=1)


def cutoff_of(text, timezone, **history):
    history = data_config(**history).history
    moment = int(cutoffs(np.array([us(text)]), history, timezone, history.refresh_hours)[0])
    return oracle.EPOCH + datetime.timedelta(microseconds=moment)


@pytest.mark.parametrize(
    ("timezone", "shown", "refresh_hours", "expected"),
    [
        ("UTC", "2026-01-05T13:07:00+00:00", 0.0, "2026-01-05T12:57:00+00:00"),
        ("UTC", "2026-01-05T13:07:00+00:00", 6.0, "2026-01-05T12:00:00+00:00"),
        # The delay comes first: at five past midnight the new day is not known yet.
        ("UTC", "2026-01-05T00:05:00+00:00", 24.0, "2026-01-04T00:00:00+00:00"),
        ("UTC", "2026-01-05T00:10:00+00:00", 24.0, "2026-01-05T00:00:00+00:00"),
        ("Asia/Shanghai", "2026-01-05T17:00:00+00:00", 24.0, "2026-01-06T00:00:00+08:00"),
        ("Asia/Kolkata", "2026-01-05T13:07:00+00:00", 12.0, "2026-01-05T12:00:00+05:30"),
        # Hours that do not divide a day count from 1970 in any zone.
        ("Asia/Shanghai", "1970-01-02T03:00:00+00:00", 5.0, "1970-01-02T01:00:00+00:00"),
        ("Asia/Shanghai", "1970-01-05T03:00:00+00:00", 48.0, "1970-01-05T00:00:00+00:00"),
        # A day of 23 hours, whose hour 2 is missing, and one of 25, whose hour 2 comes twice.
        ("Europe/Berlin", "2026-03-29T08:30:00+02:00", 6.0, "2026-03-29T07:00:00+02:00"),
        ("Europe/Berlin", "2026-03-29T06:30:00+02:00", 6.0, "2026-03-29T00:00:00+01:00"),
        ("Europe/Berlin", "2026-10-25T05:30:00+01:00", 6.0, "2026-10-25T05:00:00+01:00"),
        ("Europe/Berlin", "2026-10-25T23:30:00+01:00", 6.0, "2026-10-25T23:00:00+01:00"),
        ("Europe/Berlin", "2026-10-26T00:30:00+01:00", 6.0, "2026-10-26T00:00:00+01:00"),
        ("Europe/Berlin", "2026-10-25T02:40:00+01:00", 1.0, "2026-10-25T02:00:00+01:00"),
        # Midnight is skipped in São Paulo and comes twice in Havana.
        ("America/Sao_Paulo", "2018-11-04T01:30:00-02:00", 24.0, "2018-11-04T01:00:00-02:00"),
        ("America/Havana", "2024-11-03T00:30:00-05:00", 24.0, "2024-11-03T00:00:00-04:00"),
    ],
)
def test_cutoff(timezone, shown, refresh_hours, expected):
    found = cutoff_of(shown, timezone, refresh_hours=refresh_hours, delay_seconds=600.0)
    assert found == datetime.datetime.fromisoformat(expected)


# Years that are over: two copies of the time zone database may disagree on what governments will decide.
@settings(max_examples=80, deadline=None)
@given(
    st.lists(st.datetimes(datetime.datetime(2018, 1, 1), datetime.datetime(2025, 1, 1)), max_size=4),
    st.sampled_from(["UTC", "Europe/Berlin", "America/Sao_Paulo", "America/Havana", "Australia/Lord_Howe"]),
    st.sampled_from([0.0, 0.25, 1.0, 6.0, 24.0, 5.0, 36.0]),
    st.sampled_from([0.0, 600.0, 90_000.0]),
)
def test_cutoffs_are_the_oracles(times, timezone, refresh_hours, delay_seconds):
    history = data_config(refresh_hours=refresh_hours, delay_seconds=delay_seconds).history
    moments = [us(time.isoformat() + "+00:00") for time in times]
    found = cutoffs(np.array(moments, np.int64), history, timezone, refresh_hours)
    assert found.dtype == np.int64
    assert found.tolist() == [oracle.cutoff(moment, history, timezone) for moment in moments]


# A clock gone mad among others: (key, time) no longer fit one number unless times are ranked.
wild_times = st.one_of(st.integers(-3, 3), st.sampled_from([-(2**60), 2**60, 1_767_225_600_000_000]))


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from([-1, 0, 1, 5, 70_000, 2**33]), wild_times), max_size=20),
    st.lists(
        st.tuples(st.sampled_from([-1, 0, 2, 5, 70_000, 2**34]), st.one_of(wild_times, st.just(LONG_AGO_US))), max_size=10
    ),
)
def test_a_timeline_finds_the_facts_of_a_key_before_a_moment(facts, queries):
    codes, at = np.array(facts, np.int64).reshape(-1, 2).T
    asked, until = np.array(queries, np.int64).reshape(-1, 2).T
    timeline = Timeline(codes, at)
    assert timeline.order.tolist() == sorted(
        (i for i in range(len(facts)) if codes[i] >= 0), key=lambda i: (codes[i], at[i], i)
    )
    starts, ends = timeline.stretches(asked, until)
    for (code, moment), start, end in zip(queries, starts, ends, strict=True):
        expected = [index for index, fact in enumerate(facts) if code >= 0 and fact[0] == code and fact[1] < moment]
        assert sorted(timeline.order[start:end].tolist()) == expected


def test_key_codes_agree_where_all_columns_agree():
    table = pa.table({"user_id": ["u", "u", "v", "v", "u"], "tag": pa.array([1, 2, 1, None, 1])})
    codes = key_codes(table, ["user_id", "tag"]).tolist()
    assert codes[3] == -1
    assert codes[0] == codes[4]
    assert len({*codes}) == 4


def test_key_codes_of_nothing():
    table = pa.table({"user_id": pa.chunked_array([], pa.string()), "tag": pa.chunked_array([], pa.int64())})
    assert key_codes(table, ["user_id", "tag"]).tolist() == []
