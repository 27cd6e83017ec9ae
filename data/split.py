"""Split by day: which day an impression falls on, and whether that day trains, evaluates, or lies outside."""

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from data.schema import EVAL_SPLIT, TRAIN_SPLIT

OUTSIDE_SPLIT = "outside"


def days_of(times, timezone):
    """Calendar days of moments in a time zone.

    Args:
        times: Arrow timestamp array in UTC, from 1970 to 2261, without nulls.
        timezone: IANA name.

    Returns:
        Arrow string array, YYYY-MM-DD.
    """
    microseconds = np.asarray(pc.cast(times, pa.int64()))
    moments = pd.DatetimeIndex(microseconds.astype("datetime64[us]")).tz_localize("UTC")
    local = np.asarray(moments.tz_convert(timezone).tz_localize(None)).astype("datetime64[D]")
    days, index = np.unique(local, return_inverse=True)
    return pa.array(np.datetime_as_string(days).astype(object), pa.string()).take(pa.array(index))


def fill_days(days, times, timezone):
    """The log's own days, and the day of the moment where the log has none.

    Args:
        days: Arrow string array, YYYY-MM-DD or null.
        times: Arrow timestamp array of the same length.
        timezone: IANA name.

    Returns:
        Arrow string array without nulls.
    """
    return pc.coalesce(days, days_of(times, timezone)) if days.null_count else days


def split_of(days, config):
    """Split of each day.

    Args:
        days: Arrow string array, YYYY-MM-DD, without nulls.
        config: `SplitConfig`.

    Returns:
        (rows,) NumPy array of "train", "eval" and "outside".
    """
    unique = pc.unique(days)
    names = [_split_of_day(day, config) for day in unique.to_pylist()]
    index = np.asarray(pc.index_in(days, value_set=unique))
    return np.array(names, object)[index] if names else np.array([], object)


def _split_of_day(day, config):
    # ISO days sort as their text.
    if day >= config.eval_from.isoformat():
        is_inside = config.eval_until is None or day <= config.eval_until.isoformat()
        return EVAL_SPLIT if is_inside else OUTSIDE_SPLIT
    is_inside = config.train_from is None or day >= config.train_from.isoformat()
    return TRAIN_SPLIT if is_inside else OUTSIDE_SPLIT
