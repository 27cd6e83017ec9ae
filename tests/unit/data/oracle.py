"""Attribution, labels and delays in plain Python loops over rows, from the definitions in `data/config.py`."""

import datetime
import fractions

from data.schema import EngagementKind

KINDS = [kind.value for kind in EngagementKind]
REASONS = ("attributed", "without_impression", "before_impression", "beyond_window")


def fill_users(impressions, engagements):
    """(engagements that have or get a user; of those whose impression does not exist, the number by outcome)."""
    meant = {}
    for row in sorted(impressions, key=lambda row: (row["impressed_at"], row["user_id"], row["item_id"])):
        meant.setdefault(row["impression_id"], row)
    filled, without = [], []
    for engagement in engagements:
        if engagement["user_id"] is not None:
            filled.append(engagement)
        elif engagement["impression_id"] in meant:
            shown = meant[engagement["impression_id"]]
            filled.append({**engagement, "user_id": shown["user_id"], "item_id": shown["item_id"]})
        else:
            without.append(engagement)
    kept = distinct(without, lambda row: (row["event_id"], row["impression_id"]), "engaged_at").values()
    kept = distinct(kept, lambda row: (row["impression_id"], row["kind"], row["engaged_at"]), "engaged_at")
    return filled, {"engagements_without_impression": len(kept), "engagements_duplicate": len(without) - len(kept)}


def attribute(impressions, engagements, config, watermark=None):
    """(rows with labels by (impression_id, user_id), events by the same, counts) of lists of dicts; `watermark` a datetime."""
    rows = distinct(impressions, lambda row: (row["impression_id"], row["user_id"]), "impressed_at")
    kept = distinct(engagements, lambda row: (row["user_id"], row["event_id"]), "engaged_at")
    kept = distinct(kept.values(), lambda row: (row["user_id"], *_target(row), row["kind"], row["engaged_at"]), "engaged_at")
    events = {key: [] for key in sorted(rows)}
    counts = {
        "impressions_duplicate": len(impressions) - len(rows),
        "engagements_duplicate": len(engagements) - len(kept),
        **{f"engagements_{reason}": 0 for reason in REASONS},
    }
    for engagement in kept.values():
        shown = _touched(engagement, rows, config)
        reason = _reason(engagement, shown, config)
        counts[f"engagements_{reason}"] += 1
        if reason == "attributed":
            events[shown["impression_id"], shown["user_id"]].append(engagement)
    labelled = {key: {**rows[key], **labels(rows[key], events[key], config, watermark)} for key in events}
    return labelled, {key: sorted(found, key=_event_rank) for key, found in events.items()}, counts


def distinct(rows, key_of, time_column):
    """By key the earliest row, then the least by content, column by column, nulls last."""
    kept = {}
    for row in rows:
        rank = (row[time_column], *((value is None, 0 if value is None else value) for value in row.values()))
        if key_of(row) not in kept or rank < kept[key_of(row)][0]:
            kept[key_of(row)] = (rank, row)
    return {key: row for key, (_, row) in kept.items()}


def labels(row, events, config, watermark):
    """Labels, masks and `is_dropped` of one row."""
    delayed = config.attribution.delayed
    if delayed == "weight" and watermark is not None:
        events = [event for event in events if event["engaged_at"] <= watermark]
    kinds = {event["kind"] for event in events}
    known = {"all": True, "clicked": "click" in kinds, "surveyed": "survey" in kinds}
    is_known = {"click": True, "watch_seconds": known[config.watch_known], "satisfaction": known[config.satisfaction.known]}
    open_labels = [label for label in is_known if is_open(label, row, config, watermark)]
    return {
        "click": float("click" in kinds),
        "watch_seconds": sum(event["watch_seconds"] for event in events if event["kind"] == "play"),
        "satisfaction": float(satisfaction(events, config.satisfaction)),
        **{f"{label}_mask": float(is_known[label] and (delayed == "weight" or label not in open_labels)) for label in is_known},
        "is_dropped": delayed == "drop" and bool(open_labels),
    }


def satisfaction(events, definition):
    """The satisfaction label, in exact decimal arithmetic."""
    weights = {kind.value: _exact(weight) for kind, weight in definition.weights.items()}
    mix = sum(weights.get(kind, 0) for kind in {event["kind"] for event in events})
    scores = [_exact(event["score"]) for event in events if event["kind"] == "survey"]
    if scores:
        mix += _exact(definition.survey_weight) * (max(scores) - _exact(definition.survey_neutral))
    if definition.threshold == "graded":
        return min(max(mix, 0), 1)
    return mix >= _exact(definition.threshold)


def is_open(label, row, config, watermark):
    """Whether a row's label can still change."""
    if watermark is None:
        return False
    kinds = {"click": ["click"], "watch_seconds": ["play"], "satisfaction": []}[label]
    if label == "satisfaction":
        kinds = [kind.value for kind, weight in config.satisfaction.weights.items() if weight != 0]
        if config.satisfaction.survey_weight != 0 or config.satisfaction.known == "surveyed":
            kinds.append("survey")
    return watermark < row["impressed_at"] + max(window(kind, config) for kind in kinds)


def closed_delays(label, rows, events, config, watermark):
    """(number of closed rows of known label, delays in seconds of the positive ones), both of `attribute`'s dicts."""
    signals = {"click": ["click"], "watch_seconds": ["play"], "satisfaction": []}[label]
    if label == "satisfaction":
        signals = [kind.value for kind, weight in config.satisfaction.weights.items() if weight > 0]
        signals += ["survey"] if config.satisfaction.survey_weight else []
    num_closed, delays = 0, []
    for key, row in rows.items():
        if is_open(label, row, config, watermark) or not row[f"{label}_mask"]:
            continue
        num_closed += 1
        if row[label] > 0:
            first = min(event["engaged_at"] for event in events[key] if event["kind"] in signals)
            delays.append((first - row["impressed_at"]).total_seconds())
    return num_closed, delays


def window(kind, config):
    return datetime.timedelta(hours=config.attribution.window_hours_of(EngagementKind(kind)))


def _exact(number):
    return fractions.Fraction(str(number))


def _target(engagement):
    named = engagement["impression_id"]
    return ("item", engagement["item_id"]) if named is None else ("impression", named)


def _touched(engagement, rows, config):
    """The impression that is named, or the last one shown until then, or else the next one; None if there is none."""
    if engagement["impression_id"] is not None:
        return rows.get((engagement["impression_id"], engagement["user_id"]))
    skew = datetime.timedelta(seconds=config.attribution.clock_skew_seconds)
    shown = [row for row in rows.values() if all(row[name] == engagement[name] for name in ("user_id", "item_id"))]
    shown.sort(key=lambda row: (row["impressed_at"], row["impression_id"]))
    earlier = [row for row in shown if row["impressed_at"] <= engagement["engaged_at"] + skew]
    return [*earlier[-1:], *shown, None][0]


def _reason(engagement, shown, config):
    if shown is None:
        return "without_impression"
    if engagement["engaged_at"] < shown["impressed_at"] - datetime.timedelta(seconds=config.attribution.clock_skew_seconds):
        return "before_impression"
    if engagement["engaged_at"] > shown["impressed_at"] + window(engagement["kind"], config):
        return "beyond_window"
    return "attributed"


def _event_rank(event):
    amounts = [(event[name] is None, event[name] or 0) for name in ("watch_seconds", "score")]
    return (event["engaged_at"], KINDS.index(event["kind"]), amounts)
