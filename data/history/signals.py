"""Facts of the past by number: what each tells of its impression, and which of them a measure adds up."""

import enum

from data.measure_names import COMMON_MEASURES


class Signal(enum.IntEnum):
    """What a fact tells of its impression, in the order of `COMMON_MEASURES`; a history's further measures follow by number."""

    IMPRESSION = 0
    CLICK = 1
    LONG_WATCH = 2
    SATISFACTION = 3
    WATCH_SECONDS = 4


def further_signals(history):
    """Signals of the measures that not every history has.

    Args:
        history: `data.history_config.HistoryConfig`.

    Returns:
        Number of the signal by measure.
    """
    measures = {measure for aggregate in history.aggregates for measure in aggregate.measures}
    return {measure: len(Signal) + place for place, measure in enumerate(sorted(measures - set(COMMON_MEASURES)))}


def signal_by_measure(history):
    """The signal that each measure adds up.

    Args:
        history: `data.history_config.HistoryConfig`.

    Returns:
        Number of the signal by measure, of all that the history may use.
    """
    return {**dict(zip(COMMON_MEASURES, Signal, strict=True)), **further_signals(history)}
