"""Facts of the past by number: what each tells of its impression, and which of them a measure adds up."""

import enum


class Signal(enum.IntEnum):
    """What a fact of any history tells of its impression; the further measures of one follow by number."""

    IMPRESSION = 0
    CLICK = 1
    LONG_WATCH = 2
    SATISFACTION = 3
    WATCH_SECONDS = 4


_SIGNAL_BY_MEASURE = {
    "impressions": Signal.IMPRESSION,
    "click_rate": Signal.CLICK,
    "long_watch_rate": Signal.LONG_WATCH,
    "satisfaction_rate": Signal.SATISFACTION,
    "watch_seconds": Signal.WATCH_SECONDS,
}


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
