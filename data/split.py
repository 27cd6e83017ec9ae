"""Split by day and user: which day an impression falls on, and whether it trains, validates, evaluates, or lies outside."""

import datetime

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from data.batches import hash_of
from data.schema import EVAL_SPLIT, TRAIN_SPLIT, VALIDATION_SPLIT

OUTSIDE_SPLIT = "outside"

# Of its own, so that a held-out user is not a user of certain partitions.
_HOLDOUT_HASH_KEY = "smalltowers-hold"


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


def split_of(days, user_ids, config, last_day):
    """Split of each row.

    Args:
        days: Arrow string array, YYYY-MM-DD, without nulls.
        user_ids: Arrow string array of the same length, without nulls.
        config: `SplitConfig`.
        last_day: last day of the log, from which `eval_days` count back.

    Returns:
        (rows,) NumPy array of "train", "validation", "eval" and "outside".
    """
    eval_from = first_eval_day(config, last_day)
    unique = pc.unique(days)
    names = np.array([_split_of_day(day, config, eval_from) for day in unique.to_pylist()], object)
    if not len(names):
        return names
    splits = names[np.asarray(pc.index_in(days, value_set=unique))]
    if config.holdout_share:
        share = hash_of(user_ids, _HOLDOUT_HASH_KEY) / 2.0**64
        splits[(splits != EVAL_SPLIT) & (share < config.holdout_share)] = OUTSIDE_SPLIT
    return splits


def first_eval_day(config, last_day):
    """First evaluation day.

    Args:
        config: `SplitConfig`.
        last_day: last day of the log, YYYY-MM-DD.

    Returns:
        YYYY-MM-DD.
    """
    if config.eval_from is not None:
        return config.eval_from.isoformat()
    end = min(last_day, config.eval_until.isoformat()) if config.eval_until else last_day
    return (datetime.date.fromisoformat(end) - datetime.timedelta(days=config.eval_days - 1)).isoformat()


def _split_of_day(day, config, eval_from):
    # ISO days sort as their text.
    if day >= eval_from:
        is_inside = config.eval_until is None or day <= config.eval_until.isoformat()
        return EVAL_SPLIT if is_inside else OUTSIDE_SPLIT
    train_until = datetime.date.fromisoformat(eval_from) - datetime.timedelta(days=config.gap_days)
    if day >= train_until.isoformat() or (config.train_from is not None and day < config.train_from.isoformat()):
        return OUTSIDE_SPLIT
    validated_from = (train_until - datetime.timedelta(days=config.validation_days)).isoformat()
    return VALIDATION_SPLIT if day >= validated_from else TRAIN_SPLIT
