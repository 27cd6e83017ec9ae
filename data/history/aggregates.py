"""Counts and smoothed rates of a key over trailing windows."""

import numpy as np

from data.columns import aggregate_entries
from data.history.facts import STEPS_PER_UNIT, steps_of
from data.history.signals import Signal, signal_by_measure
from data.history.timeline import LONG_AGO_US, Timeline
from data.history_config import window_us


def aggregate_features(facts, fact_codes, query_codes, query_cutoffs, aggregate, history):
    """What happened to each query's key before its cutoff.

    With n impressions and a sum s of a signal within cutoff - window <= at < cutoff, a prior p that weighs m impressions
    makes the rate (s + p m) / (n + m). Without a prior configured p is 0.

    Args:
        facts: `pyarrow.Table` with signal, at and amount, as from `data.history.facts.facts_of`.
        fact_codes: (facts,) int64, key of each fact; -1 for none.
        query_codes: (queries,) int64, keys of the same code; -1 has the empty aggregate.
        query_cutoffs: (queries,) int64, microseconds since 1970, UTC, from `data.history.timeline.cutoffs`.
        aggregate: `data.history_config.AggregateConfig`; windows and measures are read.
        history: `data.history_config.HistoryConfig`; priors and the numbers of signals are read.

    Returns:
        (queries, entries) float32 in the order of `data.columns.aggregate_entries`.

    Reference:
        Good, "The Estimation of Probabilities", MIT Press 1965, ch. 4: a rate under a beta prior of m observations.
    """
    timeline = Timeline(fact_codes, np.asarray(facts["at"]))
    walk = timeline.walk(query_codes, query_cutoffs)
    codes, cutoffs = query_codes[walk], query_cutoffs[walk]
    signals = signal_by_measure(history)
    totals_by_signal = _running_totals(facts, timeline, {Signal.IMPRESSION, *(signals[each] for each in aggregate.measures)})
    until = timeline.count_before(codes, cutoffs)

    features = np.empty((len(aggregate_entries(aggregate)), len(codes)), np.float32)
    entries = iter(features)
    for window in aggregate.windows:
        since = timeline.count_before(codes, _window_starts(cutoffs, window))
        sums = {signal: (totals[until] - totals[since]) / STEPS_PER_UNIT for signal, totals in totals_by_signal.items()}
        num_impressions = sums[Signal.IMPRESSION]
        for measure in aggregate.measures:
            next(entries)[:] = (
                num_impressions
                if measure == "impressions"
                else _smoothed(sums[signals[measure]], num_impressions, history.prior.get(measure, 0.0), history)
            )
    unsorted = np.empty((len(codes), len(features)), np.float32)
    unsorted[walk] = features.T
    return unsorted


def _running_totals(facts, timeline, wanted):
    """Steps of each signal before the first, second, ... fact of the timeline, and after the last."""
    signals = np.asarray(facts["signal"])[timeline.order]
    steps = steps_of(np.asarray(facts["amount"]).astype(np.float64))[timeline.order]
    totals_by_signal = {}
    for signal in wanted:
        totals_by_signal[signal] = np.zeros(len(steps) + 1, np.int64)
        np.cumsum(np.where(signals == signal, steps, 0), out=totals_by_signal[signal][1:])
    return totals_by_signal


def _window_starts(cutoffs, window):
    length_us = window_us(window)
    return np.full(len(cutoffs), LONG_AGO_US) if length_us is None else cutoffs - min(length_us, 2**62)


def _smoothed(sums, num_impressions, prior, history):
    # Equal to (s + p m) / (n + m), and exactly the prior where nothing happened, as for keys that nobody knows.
    return prior + (sums - prior * num_impressions) / (num_impressions + history.prior_impressions)
