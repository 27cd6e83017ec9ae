import datetime
import zoneinfo

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data.config import SplitConfig
from data.schema import TIMESTAMP
from data.split import days_of, fill_days, split_of

moments = st.datetimes(datetime.datetime(1970, 1, 2), datetime.datetime(2199, 1, 1), timezones=st.just(datetime.timezone.utc))


@given(st.lists(moments, max_size=5), st.sampled_from(["UTC", "Asia/Shanghai", "America/New_York", "Asia/Kathmandu"]))
def test_days_agree_with_zoneinfo(times, timezone):
    expected = [time.astimezone(zoneinfo.ZoneInfo(timezone)).date().isoformat() for time in times]
    # Where the two databases foresee different rules for years to come, they may differ; they agree on the past.
    if all(time.year < 2037 for time in times):
        assert days_of(pa.array(times, TIMESTAMP), timezone).to_pylist() == expected


def test_the_logs_own_day_wins():
    times = pa.array([datetime.datetime(2026, 1, 1, 23, tzinfo=datetime.timezone.utc)] * 2, TIMESTAMP)
    assert fill_days(pa.array(["2025-12-31", None]), times, "Asia/Shanghai").to_pylist() == ["2025-12-31", "2026-01-02"]


@pytest.mark.parametrize(
    ("day", "expected"),
    [
        ("2025-12-31", "outside"),
        ("2026-01-01", "train"),
        ("2026-01-04", "train"),
        ("2026-01-05", "eval"),
        ("2026-01-06", "eval"),
        ("2026-01-07", "outside"),
    ],
)
def test_all_bounds_are_inclusive(day, expected):
    config = SplitConfig(eval_from="2026-01-05", eval_until="2026-01-06", train_from="2026-01-01")
    assert split_of(pa.array([day]), config).tolist() == [expected]


def test_open_bounds():
    config = SplitConfig(eval_from="2026-01-05")
    assert split_of(pa.array(["1999-01-01", "2099-01-01"]), config).tolist() == ["train", "eval"]
    assert split_of(pa.array([], pa.string()), config).tolist() == []
    assert isinstance(split_of(pa.chunked_array([["2026-01-01"]]), config), np.ndarray)
