"""What facts of the past tell, and which of it each measure adds up."""

import enum
import re

from data.schema import EngagementKind


class Signal(enum.IntEnum):
    """What a fact tells of its impression: these in every history, the further measures of one by numbers that follow."""

    IMPRESSION = 0
    CLICK = 1
    LONG_WATCH = 2
    SATISFACTION = 3
    WATCH_SECONDS = 4


LOG_WATCH = "log_watch"

_SIGNAL_BY_MEASURE = {
    "impressions": Signal.IMPRESSION,
    "click_rate": Signal.CLICK,
    "long_watch_rate": Signal.LONG_WATCH,
    "satisfaction_rate": Signal.SATISFACTION,
    "watch_seconds": Signal.WATCH_SECONDS,
}
_WATCHED = re.compile(r"watched_([1-9][0-9]{0,5})(s|pct)_rate")
_KIND_BY_MEASURE = {
    f"{kind.value}_rate": kind
    for kind in EngagementKind
    if kind not in (EngagementKind.CLICK, EngagementKind.PLAY, EngagementKind.SURVEY)
}


def checked_measure(name):
    """The name of a measure.

    Args:
        name: of a measure.

    Returns:
        `name`.

    Raises:
        ValueError: If there is no such measure.
    """
    if name in _SIGNAL_BY_MEASURE or name in _KIND_BY_MEASURE or name == LOG_WATCH or _WATCHED.fullmatch(name):
        return name
    known = ", ".join(
        [*_SIGNAL_BY_MEASURE, LOG_WATCH, "watched_<seconds>s_rate", "watched_<percent>pct_rate", *_KIND_BY_MEASURE]
    )
    raise ValueError(f"must be one of {known}. Received: {name}")


def watched_least(measure):
    """How long an impression must be watched to count for a measure.

    Args:
        measure: name.

    Returns:
        Pair (int, whether it is a percentage of the item's duration and not seconds), of `watched_<seconds>s_rate` and
        `watched_<percent>pct_rate`; None for other measures.
    """
    found = _WATCHED.fullmatch(measure)
    return None if found is None else (int(found[1]), found[2] == "pct")


def engagement_kind(measure):
    """The kind of engagement whose share a measure is.

    Args:
        measure: name.

    Returns:
        `EngagementKind`, of `like_rate` and the like; None for other measures.
    """
    return _KIND_BY_MEASURE.get(measure)


def further_signals(history):
    """Signals of the measures that not every history has.

    Args:
        history: `data.history_config.HistoryConfig`.

    Returns:
        Number of the signal by measure.
    """
    measures = {measure for aggregate in history.aggregates for measure in aggregate.measures}
    return {measure: len(Signal) + place for place, measure in enumerate(sorted(measures - _SIGNAL_BY_MEASURE.keys()))}


def signal_by_measure(history):
    """The signal that each measure adds up.

    Args:
        history: `data.history_config.HistoryConfig`.

    Returns:
        Number of the signal by measure, of all that the history may use.
    """
    return {**_SIGNAL_BY_MEASURE, **further_signals(history)}
