"""Facts in order of key and time, and how many of them lie before a moment; all in whole numbers, hence exact."""

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from data.history_config import US_PER_DAY, US_PER_HOUR

# Before every moment of a log, yet far enough from the end of int64 to subtract any window from it.
LONG_AGO_US = -(2**62)

_US_PER_SECOND = 1_000_000


def encoded(column):
    """A column as codes into its distinct values.

    Args:
        column: Arrow array or chunked array of strings or numbers.

    Returns:
        Pair ((rows,) int64 codes, -1 for null; Arrow array of the distinct values).
    """
    if isinstance(column, pa.ChunkedArray):
        column = pa.concat_arrays(column.chunks) if column.num_chunks else pa.array([], column.type)
    dictionary = column.dictionary_encode()
    return np.asarray(pc.fill_null(dictionary.indices, -1)).astype(np.int64), dictionary.dictionary


def key_codes(table, columns):
    """One number a row that agrees where all key columns agree.

    Args:
        table: `pyarrow.Table`.
        columns: names of one or several key columns.

    Returns:
        (rows,) int64 from 0; -1 where a key column is null.
    """
    codes, _ = encoded(table[columns[0]])
    for name in columns[1:]:
        further, distinct = encoded(table[name])
        codes = np.where((codes < 0) | (further < 0), -1, codes * len(distinct) + further)
    return codes


def cutoffs(impressed_at_us, history, timezone, refresh_hours):
    """The moment before which facts count: an impression's time less the delay, as at the last refresh.

    A day of a time zone begins at its first moment, also where midnight is skipped or comes twice; the hours between
    refreshes pass evenly from there, so a day of 25 hours has a last, shorter stretch.

    Args:
        impressed_at_us: (queries,) int64, microseconds since 1970, UTC.
        history: `data.history_config.HistoryConfig`.
        timezone: IANA name of the zone whose midnights begin the refreshes.
        refresh_hours: hours between refreshes, 0 for at once.

    Returns:
        (queries,) int64, microseconds since 1970, UTC.
    """
    known_at_us = np.asarray(impressed_at_us, np.int64) - delay_us(history)
    refresh_us = round(refresh_hours * US_PER_HOUR)
    if not refresh_us:
        return known_at_us
    origin_us = 0 if US_PER_DAY % refresh_us else _day_starts(known_at_us, timezone)
    return known_at_us - (known_at_us - origin_us) % refresh_us


def delay_us(history):
    """The delay after which a fact is known.

    Args:
        history: `data.history_config.HistoryConfig`.

    Returns:
        Microseconds.
    """
    return round(history.delay_seconds * _US_PER_SECOND)


def _day_starts(at_us, timezone):
    moments = pd.DatetimeIndex(at_us.astype("datetime64[us]")).tz_localize("UTC").tz_convert(timezone)
    local_days, index = np.unique(np.asarray(moments.tz_localize(None)).astype("datetime64[D]"), return_inverse=True)
    midnights = pd.DatetimeIndex(local_days.astype("datetime64[ns]")).tz_localize(
        timezone, ambiguous=np.ones(len(local_days), bool), nonexistent="shift_forward"
    )
    starts = np.asarray(midnights.tz_convert("UTC").tz_localize(None)).astype("datetime64[us]").astype(np.int64)
    return starts[index]


class Timeline:
    """The order of facts by key and time.

    Attributes:
        order: (facts with a key,) int64, indexes of facts by key, then time, then as they came.
    """

    def __init__(self, codes, at_us):
        """Sorts facts; several times faster where they come by time, or in a few stretches by time.

        Args:
            codes: (facts,) int64 from `key_codes`; facts of -1 are left out.
            at_us: (facts,) int64, microseconds since 1970, UTC.
        """
        known = np.flatnonzero(codes >= 0)
        codes, at_us = codes[known], at_us[known]
        self._num_codes = int(codes.max(initial=-1)) + 1
        self._first_us = int(at_us.min(initial=2**62))
        self._distinct_us = None
        self._width = int(at_us.max(initial=self._first_us)) - self._first_us + 2
        # A year or two of log with many keys, or one clock gone mad, would not fit: ranks of the times always do.
        if (self._num_codes + 1) * self._width >= 2**63:
            self._distinct_us = np.unique(at_us)
            self._width = len(self._distinct_us) + 1
        order = _order(codes, at_us)
        self.order = known[order]
        self._moments = self._moments_of(codes[order], at_us[order])

    def walk(self, codes, at_us):
        """An order of queries in which `count_before` is fastest: it walks the facts from front to end.

        Args:
            codes: (queries,) int64, -1 for no key.
            at_us: (queries,) int64, microseconds since 1970, UTC.

        Returns:
            (queries,) int64, indexes of queries.
        """
        return np.argsort(self._moments_of(codes, at_us))

    def count_before(self, codes, at_us):
        """How many facts of `order` come before a moment of a key; differences count the facts of the key in between.

        Args:
            codes: (queries,) int64, -1 for no key.
            at_us: (queries,) int64, microseconds since 1970, UTC, or `LONG_AGO_US`; facts at the moment itself do not count.

        Returns:
            (queries,) int64 within 0 and the number of facts.
        """
        return np.searchsorted(self._moments, self._moments_of(codes, at_us))

    def stretches(self, codes, until_us):
        """Where the facts of a key before a moment stand in `order`.

        Args:
            codes: (queries,) int64, -1 for no key.
            until_us: (queries,) int64, microseconds since 1970, UTC; facts at the moment itself do not count.

        Returns:
            Pair of (queries,) int64, the first of them and the first after them; equal where there is none.
        """
        walk = self.walk(codes, until_us)
        starts, ends = np.empty((2, len(walk)), np.int64)
        starts[walk] = self.count_before(codes[walk], np.full(len(walk), LONG_AGO_US))
        ends[walk] = self.count_before(codes[walk], until_us[walk])
        return starts, ends

    def _moments_of(self, codes, at_us):
        """Numbers that sort as (key, time) does, in steps that tell before from after for every fact."""
        if self._distinct_us is None:
            offsets = np.clip(at_us, self._first_us, self._first_us + self._width - 1) - self._first_us
        else:
            offsets = np.searchsorted(self._distinct_us, at_us)
        return np.minimum(codes, self._num_codes) * self._width + offsets


def _order(codes, at_us):
    """Order by code, then time, then index."""
    order = np.argsort(at_us, kind="stable")
    # NumPy sorts 16 bits by radix, ten times faster than 64 by comparison; most keys need one or two rounds.
    for shift in range(0, int(codes.max(initial=0)).bit_length(), 16):
        digits = (codes[order] >> shift).astype(np.uint16)
        order = order[np.argsort(digits, kind="stable")]
    return order
