"""Attribution and labels in plain Python loops, from the definitions in `data/config.py`."""

import datetime


def attribute(impressions, engagements, config):
    """(labels by impression id, counts) of lists of dicts."""
    kept_impressions = _first_by_id(impressions, "impression_id", "impressed_at")
    kept_engagements = _first_by_id(engagements, "event_id", "engaged_at")
    signals = {impression_id: [] for impression_id in kept_impressions}
    num_unattributed = 0
    for engagement in kept_engagements.values():
        impression_id = _impression_of(engagement, kept_impressions, config)
        if impression_id is None:
            num_unattributed += 1
        else:
            signals[impression_id].append(engagement)
    labels = {impression_id: _labels(events, config) for impression_id, events in signals.items()}
    counts = {
        "num_impressions_duplicate": len(impressions) - len(kept_impressions),
        "num_engagements_duplicate": len(engagements) - len(kept_engagements),
        "num_engagements_unattributed": num_unattributed,
        "num_engagements_attributed": len(kept_engagements) - num_unattributed,
    }
    return labels, counts


def _first_by_id(rows, id_column, time_column):
    kept = {}
    for row in rows:
        rank = (row[time_column], [(value is None, str(value)) for value in row.values()])
        if row[id_column] not in kept or rank < kept[row[id_column]][0]:
            kept[row[id_column]] = (rank, row)
    return {id_: row for id_, (_, row) in kept.items()}


def _impression_of(engagement, impressions, config):
    if engagement["impression_id"] is not None:
        return engagement["impression_id"] if engagement["impression_id"] in impressions else None
    window = datetime.timedelta(hours=config.last_touch_window_hours)
    candidates = []
    for impression in impressions.values():
        age = engagement["engaged_at"] - impression["impressed_at"]
        is_same = all(impression[name] == engagement[name] for name in ("user_id", "item_id"))
        if is_same and datetime.timedelta(0) <= age <= window:
            candidates.append((impression["impressed_at"], impression["impression_id"]))
    return max(candidates)[1] if candidates else None


def _labels(events, config):
    kinds = [event["kind"] for event in events]
    is_clicked = "click" in kinds
    is_positive = any(kind.value in kinds for kind in config.satisfaction.positive)
    threshold = config.satisfaction.survey_at_least
    if threshold is not None:
        is_positive = is_positive or any(e["kind"] == "survey" and e["score"] >= threshold for e in events)
    is_negative = any(kind.value in kinds for kind in config.satisfaction.negative)
    known = {"all": True, "clicked": is_clicked, "surveyed": "survey" in kinds}
    return {
        "click": float(is_clicked),
        "click_mask": 1.0,
        "watch_seconds": sum(event["watch_seconds"] for event in events if event["kind"] == "play"),
        "watch_seconds_mask": float(known[config.watch_known]),
        "satisfaction": float(is_positive and not is_negative),
        "satisfaction_mask": float(known[config.satisfaction.known]),
    }
