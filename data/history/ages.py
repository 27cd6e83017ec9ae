"""Hours since an item appeared and since a user was last seen, from whole milliseconds, as a service has them."""

import datetime
import re
import zoneinfo

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from data.history.signals import Signal
from data.history.timeline import Timeline, encoded

_MS_PER_HOUR = 3_600_000
_MAX_MS = 2.0**53
_EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.timezone.utc)
_ISO_TIME = re.compile(
    r"(\d{4}-\d{2}-\d{2})(?:[T ](\d{2}:\d{2})(?::(\d{2})(?:[.,](\d+))?)?\s*(Z|[+-]\d{2}(?::?\d{2})?)?)?", re.ASCII
)


def milliseconds(at_us):
    """Whole milliseconds, rounded down, as timestamps travel in tf.Examples.

    Args:
        at_us: (rows,) int64, microseconds since 1970, UTC.

    Returns:
        (rows,) int64.
    """
    return np.asarray(at_us) // 1000


def hours_between(from_ms, to_ms):
    """Hours from one time to another, not below 0.

    Args:
        from_ms: Arrow int64 array, milliseconds since 1970, UTC; null where unknown.
        to_ms: (rows,) int64, milliseconds since 1970, UTC.

    Returns:
        Arrow float32 array; null where unknown.
    """
    is_known = np.asarray(pc.is_valid(from_ms)).astype(bool)
    elapsed_ms = np.maximum(to_ms - np.asarray(pc.fill_null(from_ms, 0)), 0)
    return pa.array((elapsed_ms / _MS_PER_HOUR).astype(np.float32), mask=~is_known)


def last_impressed_at_ms(facts, fact_codes, query_codes, query_cutoffs):
    """Time of each key's last impression before a cutoff.

    Args:
        facts: `pyarrow.Table` with signal and at.
        fact_codes: (facts,) int64, key of each fact; -1 for none.
        query_codes: (queries,) int64, keys of the same code.
        query_cutoffs: (queries,) int64, microseconds since 1970, UTC.

    Returns:
        Arrow int64 array, milliseconds since 1970, UTC; null without such an impression.
    """
    return _impressed_at_ms(facts, fact_codes, query_codes, query_cutoffs, is_last=True)


def first_impressed_at_ms(facts, fact_codes, query_codes, query_cutoffs):
    """Time of each key's first impression, if it lies before a cutoff.

    Args:
        facts: `pyarrow.Table` with signal and at.
        fact_codes: (facts,) int64, key of each fact; -1 for none.
        query_codes: (queries,) int64, keys of the same code.
        query_cutoffs: (queries,) int64, microseconds since 1970, UTC.

    Returns:
        Arrow int64 array, milliseconds since 1970, UTC; null without such an impression.
    """
    return _impressed_at_ms(facts, fact_codes, query_codes, query_cutoffs, is_last=False)


def _impressed_at_ms(facts, fact_codes, query_codes, query_cutoffs, is_last):
    impressions = np.flatnonzero(np.asarray(facts["signal"]) == Signal.IMPRESSION)
    at = np.asarray(facts["at"])[impressions]
    timeline = Timeline(fact_codes[impressions], at)
    starts, ends = timeline.stretches(query_codes, query_cutoffs)
    has_any = ends > starts
    at_ms = np.zeros(len(ends), np.int64)
    at_ms[has_any] = milliseconds(at[timeline.order[(ends - 1 if is_last else starts)[has_any]]])
    return pa.array(at_ms, mask=~has_any)


def published_at_ms(column, timezone):
    """Times of publication.

    Args:
        column: Arrow array of strings (ISO 8601; a day alone begins in `timezone`, a clock time without a zone is UTC, as in
            logs), or of numbers in milliseconds since 1970, UTC.
        timezone: IANA name.

    Returns:
        Arrow int64 array, milliseconds since 1970, UTC; null where there is none or it cannot be read.
    """
    codes, distinct = encoded(column)
    if pa.types.is_string(distinct.type):
        zone = zoneinfo.ZoneInfo(timezone)
        at_ms = pa.array([_iso_milliseconds(text, zone) for text in distinct.to_pylist()], pa.int64())
    else:
        numbers = np.asarray(distinct.cast(pa.float64()))
        is_time = np.abs(numbers) < _MAX_MS
        at_ms = pa.array(np.where(is_time, numbers, 0).astype(np.int64), mask=~is_time)
    return at_ms.take(pa.array(codes, mask=codes < 0))


def _iso_milliseconds(text, zone):
    """Milliseconds since 1970, or None."""
    match = _ISO_TIME.fullmatch(text.strip())
    if match is None:
        return None
    day, clock, seconds, fraction, offset = match.groups()
    try:
        moment = datetime.datetime.fromisoformat(f"{day}T{clock or '00:00'}:{seconds or '00'}{_offset(clock, offset)}")
        moment = moment if moment.tzinfo else moment.replace(tzinfo=zone)
        whole = (moment - _EPOCH) // datetime.timedelta(milliseconds=1)
    except (ValueError, OverflowError):
        return None
    return whole + int((fraction or "0").ljust(3, "0")[:3])


def _offset(clock, offset):
    if clock is None:
        return ""
    if offset in (None, "Z"):
        return "+00:00"
    digits = offset[1:].replace(":", "").ljust(4, "0")
    return f"{offset[0]}{digits[:2]}:{digits[2:]}"
