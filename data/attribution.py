"""Which impression an engagement belongs to.

An engagement with an impression id belongs to that impression of its user. One without belongs to the last impression of
its item to its user that is not later. Either way it counts only within the window of its kind. Nothing depends on the
order of rows, on repeats, or on which users lie in one table.
"""

import dataclasses

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from data.labels import KINDS, kind_codes, label_columns, microseconds_of, window_us

_REASONS = ("attributed", "without_impression", "before_impression", "beyond_window")
_ATTRIBUTED, _WITHOUT, _BEFORE, _BEYOND = range(len(_REASONS))
_NO_ID = -1


@dataclasses.dataclass(frozen=True)
class Attribution:
    """Labelled impressions, their engagements, and where every row went.

    Attributes:
        rows: `pyarrow.Table`, the distinct impressions sorted by impression and user id, with their columns, the float32
            label and mask of each of `LABELS`, and the bool `is_dropped`.
        events: `pyarrow.Table` of the attributed engagements: `row` (int64, of `rows`), `kind`, `engaged_at`,
            `watch_seconds`, `score`; sorted by row, time, kind and amounts.
        counts: rows by fate: `impressions_duplicate`, and of engagements `engagements_duplicate`, `engagements_attributed`,
            `engagements_without_impression`, `engagements_before_impression`, `engagements_beyond_window`.
    """

    rows: pa.Table
    events: pa.Table
    counts: dict[str, int]


@dataclasses.dataclass(frozen=True)
class _Keys:
    """Identities as numbers, equal where the strings are equal in either log; -1 for none. All (rows,) int64."""

    user: np.ndarray
    impression: np.ndarray
    item: np.ndarray
    at_us: np.ndarray

    def take(self, index):
        return _Keys(*(getattr(self, field.name)[index] for field in dataclasses.fields(self)))


def attribute(impressions, engagements, config, watermark_us):
    """Impressions with the labels that their engagements make.

    Of impressions with one user and id the earliest stays, then the least by content. Of engagements with one user and event
    id likewise; of those that stay, again of engagements with one user, impression (or item where no impression is named),
    kind and time.

    Args:
        impressions: `pyarrow.Table` in `IMPRESSION_SCHEMA`, plus any context columns; all rows of some users.
        engagements: `pyarrow.Table` in `ENGAGEMENT_SCHEMA`, all with a user; all rows of the same users.
        config: `DataConfig`; attribution, satisfaction and masks are read.
        watermark_us: until when the logs are complete, microseconds since 1970, UTC; None if they are for good, so that no
            label can still change.

    Returns:
        `Attribution`.

    Raises:
        ValueError: If the kind of an engagement is unknown.
    """
    shown, engaged = _keys(impressions, engagements)
    kept = _distinct_impressions(impressions, shown)
    rows, shown = impressions.take(pa.array(kept)), shown.take(kept)
    kinds = kind_codes(engagements["kind"])
    kept = _distinct_engagements(engagements, engaged, kinds)
    counts = {
        "impressions_duplicate": impressions.num_rows - rows.num_rows,
        "engagements_duplicate": engagements.num_rows - len(kept),
    }
    if len(kept) < engagements.num_rows:
        engagements, engaged, kinds = engagements.take(pa.array(kept)), engaged.take(kept), kinds[kept]
    touched = _touched_rows(shown, engaged, config)
    has_row = touched >= 0
    age_us = np.zeros(len(touched), np.int64)
    age_us[has_row] = engaged.at_us[has_row] - shown.at_us[touched[has_row]]
    reasons = np.where(has_row, _timing(age_us, kinds, config), _WITHOUT)
    numbers = np.bincount(reasons, minlength=len(_REASONS))
    counts |= {f"engagements_{reason}": int(number) for reason, number in zip(_REASONS, numbers, strict=True)}
    events = _events(engagements, np.flatnonzero(reasons == _ATTRIBUTED), touched, kinds, age_us)
    for name, values in label_columns(shown.at_us, events, config, watermark_us).items():
        column = pa.array(values)
        rows = rows.append_column(pa.field(name, column.type, nullable=False), column)
    return Attribution(rows=rows, events=events, counts=counts)


def fill_users(impressions, engagements):
    """Engagements that name an impression but no user, with the user and item of that impression.

    Of several users with one impression id the one with the earliest impression is meant, then the least.

    Args:
        impressions: `pyarrow.Table` with `impression_id`, `user_id`, `item_id` and `impressed_at`, repeats allowed.
        engagements: `pyarrow.Table` in `ENGAGEMENT_SCHEMA`, all with an impression id.

    Returns:
        Pair (engagements whose impression exists; of those whose does not, the number by name in `data.counts.Counts`).
    """
    (ids,) = _joint_codes([impressions["impression_id"]])
    first = pa.array(_least(impressions, ids, ["impressed_at", "user_id", "item_id"]))
    meant = impressions.select(["impression_id", "user_id", "item_id"]).take(first)
    index = pc.index_in(engagements["impression_id"], value_set=meant["impression_id"].combine_chunks())
    is_known = pc.is_valid(index)
    counts = _unknown(engagements.filter(pc.invert(is_known)))
    engagements, index = engagements.filter(is_known), index.drop_null()
    for name in ("user_id", "item_id"):
        column = engagements.column_names.index(name)
        engagements = engagements.set_column(column, engagements.schema.field(name), meant[name].take(index))
    return engagements, counts


def _unknown(engagements):
    """Counts of engagements that no impression will ever take, repeats apart."""
    rest = (
        engagements.select(["event_id", "impression_id", "kind", "engaged_at"]).to_pandas().sort_values(["engaged_at", "kind"])
    )
    distinct = rest.drop_duplicates(["event_id", "impression_id"]).drop_duplicates(["impression_id", "kind", "engaged_at"])
    return {"engagements_without_impression": len(distinct), "engagements_duplicate": len(rest) - len(distinct)}


def _keys(impressions, engagements):
    """`_Keys` of both tables."""
    tables = (impressions, engagements)
    users, ids, items = (_joint_codes([table[name] for table in tables]) for name in ("user_id", "impression_id", "item_id"))
    shown = _Keys(users[0], ids[0], items[0], microseconds_of(impressions["impressed_at"]))
    return shown, _Keys(users[1], ids[1], items[1], microseconds_of(engagements["engaged_at"]))


def _joint_codes(columns):
    """Per Arrow string column (rows,) int64 codes that are equal where the strings are, across columns; -1 for null."""
    chunks = pa.chunked_array([chunk for column in columns for chunk in column.chunks], columns[0].type)
    indices = [chunk.indices.fill_null(_NO_ID) for chunk in chunks.dictionary_encode().chunks]
    codes = np.concatenate([np.empty(0, np.int64), *map(np.asarray, indices)])
    return np.split(codes, np.cumsum([len(column) for column in columns])[:-1])


def _pairs(first, second):
    """Numbers that are equal where two codes (at least -1) of the same rows are; a function of both codes."""
    return first * (1 << 32) + second


def _distinct_impressions(impressions, shown):
    """Indices of the impressions to keep, sorted by impression and user id."""
    rest = [name for name in impressions.column_names if name not in ("impression_id", "user_id", "impressed_at")]
    kept = _least(impressions, _pairs(shown.user, shown.impression), ["impressed_at", *rest])
    ids = impressions.select(["impression_id", "user_id"])
    ids = ids if len(kept) == len(ids) else ids.take(pa.array(kept))
    order = pc.sort_indices(ids, [(name, "ascending") for name in ids.column_names])
    return kept[np.asarray(order).astype(np.int64)]


def _distinct_engagements(engagements, engaged, kinds):
    """Indices of the engagements to keep: one an event id, of those one a user, target, kind and time."""
    rest = [name for name in engagements.column_names if name not in ("event_id", "user_id", "engaged_at")]
    (event_ids,) = _joint_codes([engagements["event_id"]])
    kept = _least(engagements, _pairs(engaged.user, event_ids), ["engaged_at", *rest])
    engaged = engaged.take(kept)
    target = np.where(engaged.impression == _NO_ID, 2 * engaged.item + 1, 2 * engaged.impression)
    # Dense codes again: three numbers of full width would not fit one of 64 bits.
    targets, _ = pd.factorize(_pairs(engaged.user, target))
    moments, _ = pd.factorize(engaged.at_us * len(KINDS) + kinds[kept])
    return kept[_least(engagements, _pairs(targets, moments), ["event_id"], kept)]


def _least(table, key, columns, rows=None):
    """Indices into `key`, ascending but for repeats: one a distinct key, of those the least by columns in turn, nulls last.

    Entry i of `key` belongs to row i of the table, or to row `rows[i]`.
    """
    # Repeats are few: whole columns are compared only of them.
    is_repeated = pd.Series(key).duplicated(keep=False).to_numpy()
    repeated = np.flatnonzero(is_repeated)
    repeated = repeated[np.argsort(key[repeated], kind="stable")]
    for name in columns:
        starts = _starts(key[repeated])
        if len(starts) == len(repeated):
            break
        ranks = _ranks(table[name].take(pa.array(repeated if rows is None else rows[repeated])))
        least = np.minimum.reduceat(ranks, starts)
        repeated = repeated[ranks == np.repeat(least, np.diff(starts, append=len(repeated)))]
    # What is left of one key is equal in every column.
    return np.concatenate([np.flatnonzero(~is_repeated), repeated[_starts(key[repeated])]])


def _starts(sorted_keys):
    is_start = np.ones(len(sorted_keys), bool)
    is_start[1:] = sorted_keys[1:] != sorted_keys[:-1]
    return np.flatnonzero(is_start)


def _ranks(column):
    """(rows,) int64, ascending with the values; nulls rank last."""
    encoded = column.combine_chunks().dictionary_encode()
    order = np.asarray(pc.sort_indices(encoded.dictionary))
    rank_by_code = np.empty(len(order) + 1, np.int64)
    rank_by_code[order] = np.arange(len(order))
    rank_by_code[-1] = len(order)
    return rank_by_code[np.asarray(encoded.indices.fill_null(_NO_ID))]


def _touched_rows(shown, engaged, config):
    """Row of the impression that each engagement names or last touched, whatever the time between; -1 for none."""
    is_named = engaged.impression != _NO_ID
    if is_named.all():
        return _named_rows(shown, engaged)
    touched = np.empty(len(is_named), np.int64)
    touched[is_named] = _named_rows(shown, engaged.take(is_named))
    touched[~is_named] = _last_touched_rows(shown, engaged.take(~is_named), _skew_us(config))
    return touched


def _named_rows(shown, engaged):
    index = pd.Index(_pairs(shown.user, shown.impression))
    return index.get_indexer(_pairs(engaged.user, engaged.impression))


def _last_touched_rows(shown, engaged, skew_us):
    """The last impression of user and item that is not later; the next one where all are; -1 where there is none."""
    num_shown = len(shown.at_us)
    pair, _ = pd.factorize(np.concatenate([_pairs(shown.user, shown.item), _pairs(engaged.user, engaged.item)]))
    # Ties stay in place: an engagement comes behind the impressions of its moment, and those are sorted by id.
    order = _order(pair, np.concatenate([shown.at_us, engaged.at_us + skew_us]))
    pair, place = pair[order], np.arange(len(order))
    is_shown = order < num_shown
    last = np.maximum.accumulate(np.where(is_shown, place, 0))
    following = np.minimum.accumulate(np.where(is_shown, place, len(order) - 1)[::-1])[::-1]
    touched = np.full(len(order), -1, np.int64)
    for candidate in (following, last):
        is_match = is_shown[candidate] & (pair[candidate] == pair)
        touched[is_match] = order[candidate[is_match]]
    by_row = np.empty(len(order), np.int64)
    by_row[order] = touched
    return by_row[num_shown:]


def _order(major, minor):
    """Indices that sort by a code (from 0) and then by a number; ties stay in place."""
    if not len(major):
        return np.empty(0, np.int64)
    first = int(minor.min())
    span = int(minor.max()) - first + 1
    if (int(major.max()) + 1) * span < 2**63:
        # As one number it takes half the time.
        return np.argsort(major * span + (minor - first), kind="stable")
    return np.lexsort((minor, major))


def _skew_us(config):
    return round(config.attribution.clock_skew_seconds * 1_000_000)


def _timing(age_us, kinds, config):
    """(engagements,) codes of `_REASONS`, by the time since the impression."""
    windows_us = np.array([window_us(kind, config) for kind in KINDS])
    return np.select([age_us < -_skew_us(config), age_us > windows_us[kinds]], [_BEFORE, _BEYOND], _ATTRIBUTED)


def _events(engagements, attributed, touched, kinds, age_us):
    """Table of the attributed engagements, in an order that follows from their content."""
    row, moment = touched[attributed], age_us[attributed] * len(KINDS) + kinds[attributed]
    order = _order(row, moment)
    is_tied = (np.diff(row[order]) == 0) & (np.diff(moment[order]) == 0)
    # Two signals at one moment, one by id and one by last touch: the sum of watch times must not depend on their order.
    if is_tied.any():
        seconds, scores = (np.asarray(column)[attributed] for column in (engagements["watch_seconds"], engagements["score"]))
        order = np.lexsort((scores, seconds, moment, row))
    index = attributed[order]
    columns = engagements.select(["kind", "engaged_at", "watch_seconds", "score"]).take(pa.array(index))
    return columns.add_column(0, pa.field("row", pa.int64(), nullable=False), pa.array(row[order]))
