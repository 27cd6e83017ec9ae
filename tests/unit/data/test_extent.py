import datetime

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data.extent import LogExtent, extent_of, merge_extents
from tests.unit.data.rows import START, at, engagement, engagement_table, impression, impression_table

START_US = round(START.timestamp() * 1_000_000)


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 10**6), st.sampled_from([None, "2026-01-01", "2026-01-09"])), max_size=8), st.data())
def test_the_extent_of_all_is_that_of_the_parts(rows, data):
    table = impression_table([impression(str(n), seconds=s, day=day) for n, (s, day) in enumerate(rows)])
    cut = data.draw(st.integers(0, len(rows)))
    whole = extent_of(table, "Asia/Shanghai")
    assert merge_extents(extent_of(part, "Asia/Shanghai") for part in (table.slice(cut), table.slice(0, cut))) == whole
    zone = datetime.timezone(datetime.timedelta(hours=8))
    days = [day or at(seconds).astimezone(zone).date().isoformat() for seconds, day in rows]
    assert whole == LogExtent(max((START_US + s * 1_000_000 for s, _ in rows), default=0), max(days, default=""))


def test_events_move_the_latest_moment_only():
    table = engagement_table([engagement("a", "click", 5), engagement("b", "click", 9)])
    assert extent_of(table, "UTC") == LogExtent(START_US + 9_000_000, "")


@pytest.mark.parametrize("rows", [[], [LogExtent()]])
def test_nothing_read(rows):
    assert merge_extents(rows) == LogExtent(0, "")
    assert extent_of(pa.table({"x": [1]}), "UTC") == LogExtent()
