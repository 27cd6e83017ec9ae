"""A user's last items, or their categories."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from data.history.signals import Signal
from data.history.timeline import Timeline, encoded


def sequence_features(facts, values, fact_codes, query_codes, query_cutoffs, sequence):
    """The last values for which a signal occurred before the cutoff, newest first.

    An impression stands in a sequence once, at the first fact of a positive amount; null values are skipped; of values of
    one moment the lesser comes first.

    Args:
        facts: `pyarrow.Table` with row, signal, at and amount, from `data.history.facts.facts_of`.
        values: Arrow string array, the value of each row.
        fact_codes: (facts,) int64, user of each fact.
        query_codes: (queries,) int64, users of the same code.
        query_cutoffs: (queries,) int64, microseconds since 1970, UTC, from `data.history.timeline.cutoffs`.
        sequence: `data.history_config.SequenceConfig`; signal and length are read.

    Returns:
        Arrow array of (queries,) lists of strings, at most `length` long.
    """
    ranks, distinct = _ranked(values)
    row, at = np.asarray(facts["row"]), np.asarray(facts["at"])
    is_signal = np.asarray(facts["signal"]) == Signal[sequence.signal.upper()]
    chosen = np.flatnonzero(is_signal & (np.asarray(facts["amount"]) > 0) & (ranks[row] >= 0))
    chosen = _first_of_row(chosen, row, at)
    timeline = Timeline(fact_codes[chosen], at[chosen])
    chosen = chosen[timeline.order]
    ranks_in_order = _greater_first(ranks[row[chosen]], fact_codes[chosen], at[chosen])

    starts, ends = timeline.stretches(query_codes, query_cutoffs)
    lengths = np.minimum(ends - starts, sequence.length)
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    positions = np.repeat(ends - 1 + offsets[:-1], lengths) - np.arange(offsets[-1])
    items = distinct.take(pa.array(ranks_in_order[positions]))
    return pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), items)


def _ranked(values):
    """Rank of each value among the distinct ones, -1 for null, and these in order."""
    codes, distinct = encoded(values)
    order = np.asarray(pc.sort_indices(distinct)).astype(np.int64)
    rank_by_code = np.empty(len(order) + 1, np.int64)
    rank_by_code[order] = np.arange(len(order))
    rank_by_code[-1] = -1
    return rank_by_code[codes], distinct.take(pa.array(order))


def _greater_first(ranks, codes, at):
    """Ranks in order of user and time; those of one user and moment in falling order, as sequences are read backwards."""
    is_same = (codes[1:] == codes[:-1]) & (at[1:] == at[:-1])
    tied = np.flatnonzero(np.append(is_same, False) | np.insert(is_same, 0, False))
    ranks = ranks.copy()
    ranks[tied] = ranks[tied][np.lexsort((-ranks[tied], at[tied], codes[tied]))]
    return ranks


def _first_of_row(chosen, row, at):
    """The earliest fact of each row; only graded satisfaction has several."""
    if not len(chosen) or np.bincount(row[chosen]).max() == 1:
        return chosen
    chosen = chosen[Timeline(row[chosen], at[chosen]).order]
    return chosen[np.unique(row[chosen], return_index=True)[1]]
