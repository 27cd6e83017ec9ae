"""What became known when: impressions and engagements as facts, each a signal, a moment and an amount.

Amounts add up in whole steps of 2^-20 (a millionth of a second, of a satisfied impression), so that a sum is the same in
any order and in any partition, which sums of floats are not.
"""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from data.history.signals import Signal, further_signals, signal_by_measure
from data.history.timeline import Timeline, encoded
from data.labels import KINDS, is_satisfied, kind_codes, microseconds_of
from data.measure_names import LOG_WATCH, engagement_kind, watched_least
from data.schema import GRADED, EngagementKind

FACT_SCHEMA = pa.schema(
    [
        pa.field("row", pa.int64(), nullable=False),
        pa.field("signal", pa.int16(), nullable=False),
        pa.field("at", pa.int64(), nullable=False),
        pa.field("amount", pa.float32(), nullable=False),
    ]
)

STEPS_PER_UNIT = 2**20
_MAX_AMOUNT = 2.0**22


def steps_of(amounts):
    """Amounts in whole steps of 2^-20; sums of them are exact.

    Args:
        amounts: (facts,) float; what exceeds 2^22 (48 days of watch time) counts as that, so that 2 million facts of one
            partition cannot overflow.

    Returns:
        (facts,) int64.
    """
    return np.rint(np.clip(amounts, -_MAX_AMOUNT, _MAX_AMOUNT) * float(STEPS_PER_UNIT)).astype(np.int64)


def facts_of(rows, events, config):
    """Facts of impressions and their engagements.

    An impression counts 1 at its time; a click 1 at the first click; a long watch 1 at the play that brings the
    impression's watch time to `long_watch_seconds`; a play its seconds. Satisfaction counts 1 at the first moment at which
    the mix of signals so far reaches the threshold; graded, it counts at each event by how much the grade rises or falls.
    Further measures of the history: of `watched_<seconds>s_rate` as a long watch; of `watched_<percent>pct_rate` likewise,
    by the item's duration, without which it never counts; of `log_watch` at each play by how much the logarithm of 1 +
    seconds rises; of `like_rate` and the like 1 at the first such event.
    Nothing counts before its own impression. What happens at the same moment counts together, so no fact depends on the
    order of events.

    Args:
        rows: `pyarrow.Table` of impressions, `impressed_at` without nulls.
        events: `pyarrow.Table` of their engagements: row (int64, index into `rows`), kind, engaged_at, watch_seconds, score.
        config: `data.config.DataConfig` with a history.

    Returns:
        `pyarrow.Table` in `FACT_SCHEMA`: row, number of the signal, at (microseconds since 1970, UTC), amount; by time.
    """
    impressed_at = microseconds_of(rows["impressed_at"])
    row = np.asarray(events["row"])
    # Where clocks disagree an event may bear an earlier time than its impression; it is no earlier for that.
    at = np.maximum(microseconds_of(events["engaged_at"]), impressed_at[row])
    order = Timeline(row, at).order
    row, at = row[order], at[order]
    kinds = kind_codes(events["kind"])[order]
    seconds = _floats(events["watch_seconds"], 0.0)[order]
    scores = _floats(events["score"], np.nan)[order]

    plays = np.flatnonzero(kinds == KINDS.index(EngagementKind.PLAY.value))
    watches = _Watches(row[plays], at[plays], seconds[plays])
    satisfied = _satisfactions(row, at, kinds, scores, config.satisfaction)
    facts = pa.concat_tables(
        [
            _facts(np.arange(rows.num_rows), Signal.IMPRESSION, impressed_at),
            _first_events((row, at, kinds), EngagementKind.CLICK, Signal.CLICK),
            watches.reaching(config.history.long_watch_seconds, Signal.LONG_WATCH),
            satisfied,
            _facts(row[plays], Signal.WATCH_SECONDS, at[plays], seconds[plays]),
            *(
                _further_facts(measure, signal, rows, (row, at, kinds), watches, config.history)
                for measure, signal in further_signals(config.history).items()
            ),
        ]
    )
    # Whoever sorts them by key and time later finds half of the work done.
    return facts.take(pa.array(np.argsort(np.asarray(facts["at"]), kind="stable"))).combine_chunks()


def keyed_columns(history):
    """Columns of the item side whose facts meet in a pass by key.

    Args:
        history: `data.history_config.HistoryConfig`, or None.

    Returns:
        Tuple of names: the keys of aggregates that are not of a user, and `item_id` where it gives an item's age.
    """
    if history is None:
        return ()
    names = [aggregate.key[0] for aggregate in history.aggregates if aggregate.key[0] != "user_id"]
    if counts_item_age(history):
        names.append("item_id")
    return tuple(dict.fromkeys(names))


def counts_item_age(history):
    """Whether `item_age_hours` counts from an item's first impression.

    Args:
        history: `data.history_config.HistoryConfig`.

    Returns:
        bool; False where it counts from a publication, or is not wanted.
    """
    return history.has_ages and history.published_column is None


def keyed_aggregates(column, history):
    """The aggregates of a key column of the item side.

    Args:
        column: one of `keyed_columns`.
        history: `data.history_config.HistoryConfig`.

    Returns:
        Tuple of `data.history_config.AggregateConfig`; none where the column only gives ages.

    Raises:
        ValueError: If the column is not one of `keyed_columns`.
    """
    if column not in keyed_columns(history):
        raise ValueError(f"column must be one of {keyed_columns(history)}. Received: {column}")
    return tuple(aggregate for aggregate in history.aggregates if aggregate.key == (column,))


def keyed_facts(rows, facts, column, config):
    """Facts with the value of a key column, to be brought together by it.

    Args:
        rows: `pyarrow.Table` of impressions with the column.
        facts: `pyarrow.Table` from `facts_of`.
        column: one of `keyed_columns`.
        config: `data.config.DataConfig` with a history.

    Returns:
        `pyarrow.Table`: row, key (of the column's type, without nulls), signal, at, amount; only the signals that the
        column's features need.

    Raises:
        ValueError: If the column is not one of `keyed_columns`.
    """
    measures = {measure for aggregate in keyed_aggregates(column, config.history) for measure in aggregate.measures}
    signals = signal_by_measure(config.history)
    wanted = {Signal.IMPRESSION, *(signals[measure] for measure in measures)}
    codes, values = encoded(rows[column])
    codes = codes[np.asarray(facts["row"])]
    kept = np.flatnonzero((codes >= 0) & np.isin(np.asarray(facts["signal"]), list(wanted)))
    keys = values.take(pa.array(codes[kept]))
    facts = facts.take(pa.array(kept))
    return facts.add_column(1, pa.field("key", keys.type, nullable=False), keys)


def _facts(row, signal, at, amounts=None):
    amounts = np.ones(len(row), np.float32) if amounts is None else amounts.astype(np.float32)
    columns = [row.astype(np.int64), np.full(len(row), signal, np.int16), at, amounts]
    return pa.table([pa.array(column) for column in columns], schema=FACT_SCHEMA)


def _floats(column, missing):
    return np.asarray(pc.fill_null(column.cast(pa.float64()), missing))


def _is_first(row):
    """Which entries of sorted rows begin a row."""
    return np.concatenate([np.ones(min(len(row), 1), bool), row[1:] != row[:-1]])


def _is_last_of_moment(row, at):
    return np.concatenate([(row[1:] != row[:-1]) | (at[1:] != at[:-1]), np.ones(min(len(row), 1), bool)])


def _running_totals(row, amounts):
    """Sums of whole amounts from the first entry of a row up to each of its entries."""
    totals = np.cumsum(amounts)
    starts = np.maximum.accumulate(np.where(_is_first(row), np.arange(len(row)), 0))
    return totals - (totals - amounts)[starts]


class _Watches:
    """Plays, sorted by row and time, and the watch time of a row up to each of them."""

    def __init__(self, row, at, seconds):
        self._row, self._at = row, at
        self._totals = _running_totals(row, steps_of(seconds))
        # What happens at one moment counts together.
        self._ends = np.flatnonzero(_is_last_of_moment(row, at))

    def reaching(self, seconds, signal):
        """Facts of the moments at which rows have been watched for so long; seconds may differ by row."""
        steps = np.where(np.isfinite(seconds), steps_of(seconds), np.iinfo(np.int64).max)
        reached = self._ends[self._totals[self._ends] >= (steps[self._row[self._ends]] if steps.ndim else steps)]
        return _first_facts(self._row[reached], signal, self._at[reached])

    def rises_of_logarithm(self, signal):
        """Facts of by how much the logarithm of 1 + seconds rises."""
        logarithms = np.log1p(self._totals[self._ends] / STEPS_PER_UNIT)
        return _changes(self._row[self._ends], signal, self._at[self._ends], steps_of(logarithms))


def _further_facts(measure, signal, rows, events, watches, history):
    if measure == LOG_WATCH:
        return watches.rises_of_logarithm(signal)
    least = watched_least(measure)
    if least is None:
        return _first_events(events, engagement_kind(measure), signal)
    amount, is_percent = least
    return watches.reaching(amount / 100 * _durations(rows, history) if is_percent else amount, signal)


def _durations(rows, history):
    """Seconds of every row's item; infinite where nobody knows."""
    durations = _floats(rows[history.duration.column], np.nan) * history.duration.seconds_per_unit
    # A column of 32 bits may hold a little more than the duration, which nobody could watch.
    return np.where(durations > 0, durations * (1 - 2.0**-23), np.inf)


def _first_events(events, kind, signal):
    """Facts of the first events of a kind, of the rows, times and kinds of engagements sorted by row and time."""
    row, at, kinds = events
    chosen = np.flatnonzero(kinds == KINDS.index(kind.value))
    return _first_facts(row[chosen], signal, at[chosen])


def _first_facts(row, signal, at):
    """Facts of the first entries of sorted rows."""
    is_first = _is_first(row)
    return _facts(row[is_first], signal, at[is_first])


def _changes(row, signal, at, steps):
    """Facts of by how much an amount of a row, which begins at 0, changes from one entry to the next."""
    before = np.where(_is_first(row), 0, np.concatenate([steps[:1], steps[:-1]]))
    changed = np.flatnonzero(steps != before)
    return _facts(row[changed], signal, at[changed], (steps - before)[changed] / STEPS_PER_UNIT)


def _satisfactions(row, at, kinds, scores, satisfaction):
    """Facts of satisfaction from engagements sorted by row and time."""
    is_survey = (kinds == KINDS.index(EngagementKind.SURVEY.value)) & ~np.isnan(scores)
    is_survey &= satisfaction.survey_weight != 0
    weighted = {KINDS.index(kind.value): satisfaction.weights.get(kind, 0.0) for kind in EngagementKind}
    weighted = {kind: weight for kind, weight in weighted.items() if weight}
    relevant = np.flatnonzero(is_survey | np.isin(kinds, list(weighted)))
    row, at, kinds, scores, is_survey = (values[relevant] for values in (row, at, kinds, scores, is_survey))
    is_end = _is_last_of_moment(row, at)

    mix = np.zeros(len(row))
    for kind, weight in weighted.items():
        mix += weight * (_running_totals(row, (kinds == kind).astype(np.int64)) > 0)
    if is_survey.any():
        distance = _highest_scores(row, is_survey, scores) - satisfaction.survey_neutral
        mix += satisfaction.survey_weight * np.where(np.isnan(distance), 0.0, distance)

    row, at, mix = row[is_end], at[is_end], mix[is_end]
    if satisfaction.threshold != GRADED:
        reached = np.flatnonzero(is_satisfied(mix, satisfaction))
        return _first_facts(row[reached], Signal.SATISFACTION, at[reached])
    return _changes(row, Signal.SATISFACTION, at, steps_of(np.clip(mix, 0.0, 1.0)))


def _highest_scores(row, is_survey, scores):
    """Highest score of a row's surveys up to each entry; NaN before its first survey."""
    distinct, ranks = np.unique(scores[is_survey], return_inverse=True)
    ranked = np.zeros(len(row), np.int64)
    ranked[is_survey] = ranks + 1
    # Rows ascend, so a maximum that carries the row in its higher digits cannot leak into the next row.
    highest = np.maximum.accumulate(row * (len(distinct) + 1) + ranked) % (len(distinct) + 1)
    return np.concatenate([[np.nan], distinct])[highest]
