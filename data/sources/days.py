"""Days that logs name themselves: real ones, and those of their row."""

import datetime
import re

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

# A zone moves the day of a moment by one at most; the other is for services that count their day from the evening.
MAX_DAYS_APART = 2
_DAY_REGEX = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_MICROSECONDS_PER_DAY = 86_400 * 1_000_000


def day_faults(days, times):
    """Where rows name no real day, and where they name one that is not theirs.

    A day that nothing keeps near its row could make one row the whole of an evaluation.

    Args:
        days: Arrow string array or chunked array of YYYY-MM-DD; null passes.
        times: Arrow array or chunked array of `data.schema.TIMESTAMP`; where it is null, every real day passes.

    Returns:
        Pair of (rows,) bool NumPy arrays: (is no day, is more than `MAX_DAYS_APART` days from the day of its time in UTC).
    """
    distinct = pc.unique(days)
    days_since_1970 = pa.array([_days_since_1970(text) for text in distinct.to_pylist()], pa.int64())
    day = days_since_1970.take(pc.index_in(days, value_set=distinct))
    day_of_time = pc.divide(times.cast(pa.int64()), _MICROSECONDS_PER_DAY)
    is_no_day = pc.and_(pc.is_valid(days), pc.is_null(day))
    return _numpy(is_no_day), _numpy(pc.greater(pc.abs(pc.subtract(day, day_of_time)), MAX_DAYS_APART))


def _days_since_1970(text):
    if text is None or not _DAY_REGEX.fullmatch(text):
        return None
    try:
        return datetime.date.fromisoformat(text).toordinal() - datetime.date(1970, 1, 1).toordinal()
    except ValueError:
        return None


def _numpy(condition):
    return np.asarray(pc.fill_null(condition, False)).astype(bool)
