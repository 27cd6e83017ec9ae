"""The labels that follow from an impression's engagements, whether they are known, and whether they can still change."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from data.schema import CLICK, GRADED, LABELS, SATISFACTION, WATCH_SECONDS, EngagementKind, mask_name

KINDS = tuple(EngagementKind)
_CLICK, _PLAY, _SURVEY = map(KINDS.index, (EngagementKind.CLICK, EngagementKind.PLAY, EngagementKind.SURVEY))
_ROUNDING = 1e-9


def kind_codes(kinds):
    """Places in `KINDS` of engagement kinds.

    Args:
        kinds: (events,) Arrow string array.

    Returns:
        (events,) int8 NumPy array.

    Raises:
        ValueError: If a kind is unknown.
    """
    codes = pc.index_in(kinds, value_set=pa.array([kind.value for kind in KINDS]))
    if codes.null_count:
        unknown = pc.unique(kinds.filter(pc.is_null(codes)))[0].as_py()
        raise ValueError(f"kind must be one of {', '.join(kind.value for kind in KINDS)}. Received: {unknown}")
    return np.asarray(codes).astype(np.int8)


def microseconds_of(times):
    """Moments as numbers.

    Args:
        times: (rows,) Arrow timestamp array in microseconds, without nulls.

    Returns:
        (rows,) int64 NumPy array, microseconds since 1970, UTC.
    """
    return np.asarray(times.cast(pa.int64()))


def window_us(kind, config):
    """Attribution window of one kind of engagement.

    Args:
        kind: `EngagementKind`.
        config: `DataConfig`.

    Returns:
        Microseconds.
    """
    # Time plus window must fit 64 bits.
    return round(min(config.attribution.window_hours_of(kind) * 3_600_000_000, 2**61))


def label_window_us(label, config):
    """How long after an impression its label can still change.

    Args:
        label: one of `LABELS`.
        config: `DataConfig`.

    Returns:
        Microseconds: of a click, of a play, or the longest among the signals that satisfaction reads.
    """
    if label == CLICK:
        return window_us(EngagementKind.CLICK, config)
    if label == WATCH_SECONDS:
        return window_us(EngagementKind.PLAY, config)
    satisfaction = config.satisfaction
    kinds = [kind for kind, weight in satisfaction.weights.items() if weight]
    if satisfaction.survey_weight or satisfaction.known == "surveyed":
        kinds.append(EngagementKind.SURVEY)
    return max(window_us(kind, config) for kind in kinds)


def is_open(label, impressed_at_us, config, watermark_us):
    """Whether each impression's label can still change.

    Args:
        label: one of `LABELS`.
        impressed_at_us: (rows,) int64, microseconds since 1970, UTC.
        config: `DataConfig`.
        watermark_us: until when the logs are complete, microseconds since 1970; None if they are for good.

    Returns:
        (rows,) bool NumPy array.
    """
    if watermark_us is None:
        return np.zeros(len(impressed_at_us), bool)
    return impressed_at_us + label_window_us(label, config) > watermark_us


def label_columns(impressed_at_us, events, config, watermark_us):
    """Labels and their masks, and which rows the policy for delayed labels drops.

    Args:
        impressed_at_us: (rows,) int64, microseconds since 1970, UTC.
        events: `pyarrow.Table` of attributed engagements as in `data.attribution.Attribution`; the sum of watch times follows
            its order.
        config: `DataConfig`; satisfaction, masks and attribution are read.
        watermark_us: until when the logs are complete, microseconds since 1970; None if they are for good.

    Returns:
        Dict of (rows,) NumPy arrays: float32 for each of `LABELS` and its `mask_name`, and the bool "is_dropped".
    """
    num_rows = len(impressed_at_us)
    delayed = config.attribution.delayed
    if delayed == "weight" and watermark_us is not None:
        # Weights correct what is seen until the watermark; what a log tells beyond it, it tells of some rows only.
        events = events.filter(pa.array(microseconds_of(events["engaged_at"]) <= watermark_us))
    values, is_known = _observed(num_rows, events, config)
    columns = {"is_dropped": np.zeros(num_rows, bool)}
    for label in LABELS:
        mask = is_known[label]
        if delayed != "weight":
            # Early positives too: kept without the negatives of their age, they would raise the rate.
            is_label_open = is_open(label, impressed_at_us, config, watermark_us)
            mask = mask & ~is_label_open
            if delayed == "drop":
                columns["is_dropped"] |= is_label_open
        columns[label] = values[label].astype(np.float32)
        columns[mask_name(label)] = mask.astype(np.float32)
    return columns


def _observed(num_rows, events, config):
    """Values and known-masks by label, as the events tell them."""
    row = np.asarray(events["row"])
    codes = kind_codes(events["kind"])
    has_kind = np.zeros((len(KINDS), num_rows), bool)
    has_kind[codes, row] = True
    is_play = codes == _PLAY
    watch_seconds = np.bincount(row[is_play], np.asarray(events["watch_seconds"])[is_play], minlength=num_rows)
    everything = np.ones(num_rows, bool)
    known_by_rule = {"all": everything, "clicked": has_kind[_CLICK], "surveyed": has_kind[_SURVEY]}
    values = {
        CLICK: has_kind[_CLICK],
        WATCH_SECONDS: watch_seconds,
        SATISFACTION: _satisfaction(has_kind, row, codes, np.asarray(events["score"]), config.satisfaction),
    }
    is_known = {
        CLICK: everything,
        WATCH_SECONDS: known_by_rule[config.watch_known],
        SATISFACTION: known_by_rule[config.satisfaction.known],
    }
    return values, is_known


def _satisfaction(has_kind, row, codes, scores, satisfaction):
    mix = np.zeros(has_kind.shape[1])
    for kind in KINDS:
        mix += satisfaction.weights.get(kind, 0.0) * has_kind[KINDS.index(kind)]
    if satisfaction.survey_weight:
        is_survey = codes == _SURVEY
        highest = np.full(len(mix), -np.inf)
        np.maximum.at(highest, row[is_survey], scores[is_survey])
        is_surveyed = has_kind[_SURVEY]
        mix[is_surveyed] += satisfaction.survey_weight * (highest[is_surveyed] - satisfaction.survey_neutral)
    if satisfaction.threshold == GRADED:
        return np.clip(mix, 0.0, 1.0)
    return is_satisfied(mix, satisfaction)


def is_satisfied(mix, satisfaction):
    """Whether a mix of signals reaches the threshold.

    Args:
        mix: (rows,) float, weighted sums of signals.
        satisfaction: `SatisfactionConfig` with a threshold.

    Returns:
        (rows,) bool.
    """
    # 0.7 + 0.2 + 0.1 must reach a threshold of 1, and in binary fractions falls short of it.
    return mix >= satisfaction.threshold * (1 - _ROUNDING)
