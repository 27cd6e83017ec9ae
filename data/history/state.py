"""The past as it stands at one moment, key by key: what a service has to know to rank with the same numbers."""

import numpy as np
import pyarrow as pa

from data.columns import aggregate_column
from data.history.ages import first_impressed_at_ms, last_impressed_at_ms
from data.history.aggregates import aggregate_features
from data.history.facts import counts_item_age, keyed_aggregates
from data.history.features import pair_aggregates, user_aggregates, vectors
from data.history.sequences import sequence_features
from data.history.timeline import cutoffs, delay_us, key_codes
from data.schema import FIRST_IMPRESSED_AT_MS, LAST_IMPRESSED_AT_MS


def user_state(rows, facts, config, at_us):
    """Users' features as an impression one delay after a moment would get them.

    Args:
        rows: `pyarrow.Table`, all impressions of some users, with the columns that the history names.
        facts: `pyarrow.Table` of these rows from `data.history.facts.facts_of`.
        config: `data.config.DataConfig` with a history.
        at_us: the moment, microseconds since 1970, UTC; facts at or after it (or its last refresh) do not count.

    Returns:
        `pyarrow.Table` of the users of whom anything is known, sorted: user_id, the user's aggregates, sequences, and
        `last_impressed_at_ms` (int64, milliseconds since 1970, UTC, or null) where ages are wanted.
    """
    history = config.history
    codes = key_codes(rows, ["user_id"])
    row = np.asarray(facts["row"])
    own = [aggregate for aggregate in user_aggregates(history) if len(aggregate.key) == 1]
    refreshes = {history.refresh_hours, *map(history.refresh_of, (*own, *history.sequences))}
    representatives, moments_at = _known_rows(rows, codes[row], facts, row, ["user_id"], config, at_us, refreshes)
    asked = codes[representatives]
    columns = {"user_id": rows["user_id"].take(pa.array(representatives))}
    for aggregate in own:
        moments = moments_at[history.refresh_of(aggregate)]
        columns[aggregate_column(aggregate)] = vectors(
            aggregate_features(facts, codes[row], asked, moments, aggregate, history)
        )
    for sequence in history.sequences:
        moments = moments_at[history.refresh_of(sequence)]
        columns[sequence.name] = sequence_features(facts, rows[sequence.column], codes[row], asked, moments, sequence)
    if history.has_ages:
        columns[LAST_IMPRESSED_AT_MS] = last_impressed_at_ms(facts, codes[row], asked, moments_at[history.refresh_hours])
    return pa.table(columns)


def pair_states(rows, facts, config, at_us):
    """Features of users with a category as an impression one delay after a moment would get them.

    Args:
        rows: `pyarrow.Table`, all impressions of some users, with the columns that the history names.
        facts: `pyarrow.Table` of these rows from `data.history.facts.facts_of`.
        config: `data.config.DataConfig` with a history.
        at_us: the moment, microseconds since 1970, UTC; facts at or after it (or its last refresh) do not count.

    Returns:
        By second column of a pair, `pyarrow.Table` of the pairs of which anything is known, sorted: user_id, the column, the
        pair's aggregates.
    """
    row = np.asarray(facts["row"])
    history = config.history
    states = {}
    for column, aggregates in pair_aggregates(history).items():
        names = ["user_id", column]
        codes = key_codes(rows, names)
        refreshes = set(map(history.refresh_of, aggregates))
        representatives, moments_at = _known_rows(rows, codes[row], facts, row, names, config, at_us, refreshes)
        states[column] = rows.select(names).take(pa.array(representatives))
        for aggregate in aggregates:
            moments = moments_at[history.refresh_of(aggregate)]
            numbers = aggregate_features(facts, codes[row], codes[representatives], moments, aggregate, history)
            states[column] = states[column].append_column(aggregate_column(aggregate), vectors(numbers))
    return states


def keyed_state(facts, column, config, at_us):
    """Features of the item side as an impression one delay after a moment would get them.

    Args:
        facts: `pyarrow.Table` from `data.history.facts.keyed_facts`: all facts of some keys, in any order.
        column: one of `data.history.facts.keyed_columns`.
        config: `data.config.DataConfig` with a history.
        at_us: the moment, microseconds since 1970, UTC; facts at or after it (or its last refresh) do not count.

    Returns:
        `pyarrow.Table` of the keys of which anything is known, sorted: key, the columns of its aggregates, and for `item_id`
        `first_impressed_at_ms` (int64, milliseconds since 1970, UTC, or null) where ages count from it.

    Raises:
        ValueError: If the column is not one of `keyed_columns`.
    """
    history = config.history
    aggregates = keyed_aggregates(column, history)
    codes = key_codes(facts, ["key"])
    gives_age = column == "item_id" and counts_item_age(history)
    refreshes = {*map(history.refresh_of, aggregates), *([history.refresh_hours] if gives_age else [])}
    fact_rows = np.arange(facts.num_rows)
    representatives, moments_at = _known_rows(facts, codes, facts, fact_rows, ["key"], config, at_us, refreshes)
    asked = codes[representatives]
    columns = {"key": facts["key"].take(pa.array(representatives))}
    for aggregate in aggregates:
        numbers = aggregate_features(facts, codes, asked, moments_at[history.refresh_of(aggregate)], aggregate, history)
        columns[aggregate_column(aggregate)] = vectors(numbers)
    if gives_age:
        columns[FIRST_IMPRESSED_AT_MS] = first_impressed_at_ms(facts, codes, asked, moments_at[history.refresh_hours])
    return pa.table(columns)


def _known_rows(keyed, fact_codes, facts, row, names, config, at_us, refreshes):
    """A row for each key of which a fact is known, sorted by key, and by refresh the cutoff of each of them."""
    asked_at = np.asarray([at_us + delay_us(config.history)])
    cutoff_by_refresh = {hours: cutoffs(asked_at, config.history, config.timezone, hours)[0] for hours in refreshes}
    known = np.flatnonzero((np.asarray(facts["at"]) < max(cutoff_by_refresh.values())) & (fact_codes >= 0))
    _, firsts = np.unique(fact_codes[known], return_index=True)
    representatives = row[known[firsts]]
    keys = keyed.select(list(names)).take(pa.array(representatives))
    order = keys.append_column("representative", pa.array(representatives)).sort_by([(name, "ascending") for name in names])
    moments_at = {hours: np.full(order.num_rows, cutoff) for hours, cutoff in cutoff_by_refresh.items()}
    return np.asarray(order["representative"]), moments_at
