"""Names of what is counted of the past, and what they say."""

import re

from data.schema import EngagementKind

# In every history; the others are counted where one asks for them.
COMMON_MEASURES = ("impressions", "click_rate", "long_watch_rate", "satisfaction_rate", "watch_seconds")
LOG_WATCH = "log_watch"

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
    if name in COMMON_MEASURES or name in _KIND_BY_MEASURE or name == LOG_WATCH or _WATCHED.fullmatch(name):
        return name
    patterns = ("watched_<seconds>s_rate", "watched_<percent>pct_rate")
    known = ", ".join([*COMMON_MEASURES, LOG_WATCH, *patterns, *_KIND_BY_MEASURE])
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
