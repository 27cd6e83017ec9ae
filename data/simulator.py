"""A feed with known truth: both logs, both tables, and the probabilities with which the labels were drawn."""

import dataclasses
import gzip
import json
import os

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv

from data import behaviour
from data.auc import area_under_curve
from data.schema import CLICK, ENGAGEMENT_SCHEMA, IMPRESSION_SCHEMA, SATISFACTION, TIMESTAMP, EngagementKind

IMPRESSIONS_FILE = "impressions.jsonl.gz"
ENGAGEMENTS_FILE = "engagements.jsonl.gz"
USERS_FILE = "users.csv"
ITEMS_FILE = "items.csv"
TRUTH_FILE = "truth.json"

_AGE_GROUPS = np.array(["18-24", "25-34", "35-49", "50+"], object)
_SURFACES = np.array(["home", "following", "search"], object)
_SATISFIED_KINDS = (
    EngagementKind.LIKE,
    EngagementKind.FOLLOW,
    EngagementKind.COMMENT,
    EngagementKind.SHARE,
    EngagementKind.PROFILE_VISIT,
)
_SATISFIED_SHARES = (0.55, 0.08, 0.12, 0.1, 0.15)
_SECOND_SIGNAL_RATE, _HIDE_RATE, _SURVEY_RATE = 0.2, 0.02, 0.05
_REPEAT_RATE, _NO_IMPRESSION_ID_RATE = 0.003, 0.02
_ROWS_PER_WRITE = 100_000


@dataclasses.dataclass(frozen=True)
class Feed:
    """A simulated feed.

    Attributes:
        impressions: `pyarrow.Table` in `IMPRESSION_SCHEMA`; a few rows are delivered twice.
        engagements: `pyarrow.Table` in `ENGAGEMENT_SCHEMA`; a few come twice, a few without impression id.
        users: `pyarrow.Table`: user_id, segment, age_group.
        items: `pyarrow.Table`: item_id, category, author_id, duration_seconds.
        truth: `pyarrow.Table`, one row an impression: impression_id, day (UTC), for "click" and "satisfaction" the
            probability before the fact and the label drawn with it, and watch_seconds.
    """

    impressions: pa.Table
    engagements: pa.Table
    users: pa.Table
    items: pa.Table
    truth: pa.Table

    def best_auc(self, label, first_day=None):
        """AUC of the true probabilities, which no model can expect to surpass.

        Args:
            label: "click" or "satisfaction"; the latter as `SatisfactionConfig` defines it by default.
            first_day: YYYY-MM-DD from which on impressions count; None for all.

        Returns:
            float in [0, 1].

        Raises:
            ValueError: If these days hold one class only.
        """
        is_counted = np.asarray(self.truth["day"]) >= (first_day or "")
        return area_under_curve(
            np.asarray(self.truth[label])[is_counted], np.asarray(self.truth[f"{label}_probability"])[is_counted]
        )


def simulate(config):
    """A feed drawn from the seed.

    Args:
        config: `SimulatorConfig`.

    Returns:
        `Feed` with `config.num_impressions` rows in its impression log.
    """
    rng = np.random.default_rng(config.seed)
    num_repeats = int(config.num_impressions * _REPEAT_RATE)
    users, items = behaviour.draw_users_and_items(rng, config)
    shown = behaviour.draw_shown(rng, config, users, items, config.num_impressions - num_repeats)
    outcomes = behaviour.draw_outcomes(rng, users, items, shown)
    impressions = _impressions(shown)
    engagements = _engagements(rng, shown, items, outcomes)
    return Feed(
        impressions=_with_repeats(rng, impressions, num_repeats),
        engagements=_with_repeats(rng, engagements, int(engagements.num_rows * _REPEAT_RATE)),
        users=_user_table(users),
        items=_item_table(items),
        truth=_truth(impressions, outcomes),
    )


def write_feed(feed, folder):
    """Writes both logs, both tables, and what the best possible model would reach.

    `truth.json` holds `best_auc` by label, over all days (`overall`) and by the first of the days that count
    (`from_day`); null where these days hold one class only.

    Args:
        feed: `Feed`.
        folder: where to write; it is made if missing, and files of the same names are replaced.
    """
    os.makedirs(folder, exist_ok=True)
    _write_jsonl(feed.impressions, os.path.join(folder, IMPRESSIONS_FILE))
    _write_jsonl(feed.engagements, os.path.join(folder, ENGAGEMENTS_FILE))
    pa.csv.write_csv(feed.users, os.path.join(folder, USERS_FILE))
    pa.csv.write_csv(feed.items, os.path.join(folder, ITEMS_FILE))
    days = sorted(set(feed.truth["day"].to_pylist()))
    best_auc = {"overall": _best_auc(feed, None), "from_day": {day: _best_auc(feed, day) for day in days}}
    with open(os.path.join(folder, TRUTH_FILE), "w", encoding="utf-8") as file:
        json.dump({"best_auc": best_auc}, file, indent=2)
        file.write("\n")


def _user_table(users):
    columns = {
        "user_id": _ids("u", np.arange(len(users.segments))),
        "segment": _ids("segment-", users.segments),
        "age_group": pa.array(_AGE_GROUPS[users.age_groups]),
    }
    return pa.table(columns)


def _item_table(items):
    columns = {
        "item_id": _ids("i", np.arange(len(items.categories))),
        "category": _ids("category-", items.categories),
        "author_id": _ids("a", items.authors),
        "duration_seconds": np.round(items.durations, 1),
    }
    return pa.table(columns)


def _impressions(shown):
    size = len(shown.items)
    columns = {
        "impression_id": _ids("imp-", np.arange(size)),
        "request_id": _ids("r", shown.requests),
        "user_id": _ids("u", shown.users),
        "item_id": _ids("i", shown.items),
        "position": pa.array(shown.positions),
        "surface": pa.array(_SURFACES[shown.surfaces]),
        "impressed_at": pa.array(shown.at_us).cast(TIMESTAMP),
        "day": pa.nulls(size, pa.string()),
        "model_version": pa.array([""] * size),
        "arm": pa.array(np.array(["control", "treatment"], object)[shown.users % 2]),
        "propensity": pa.array(shown.propensities, pa.float32()),
    }
    return pa.table(columns, schema=IMPRESSION_SCHEMA)


def _engagements(rng, shown, items, outcomes):
    """Signals of the outcomes, in order of time, a few of them with user and item instead of an impression id."""
    draws = [(EngagementKind.CLICK, outcomes.is_clicked), (EngagementKind.PLAY, outcomes.watch_seconds > 0)]
    size = len(shown.items)
    first_signal = rng.choice(len(_SATISFIED_KINDS), size=size, p=_SATISFIED_SHARES)
    second_signal = rng.choice(len(_SATISFIED_KINDS), size=size, p=_SATISFIED_SHARES)
    has_second = rng.random(size) < _SECOND_SIGNAL_RATE
    for number, kind in enumerate(_SATISFIED_KINDS):
        has_kind = (first_signal == number) | ((second_signal == number) & has_second)
        draws.append((kind, outcomes.is_satisfied & has_kind))
    draws.append((EngagementKind.HIDE, ~outcomes.is_satisfied & (rng.random(size) < _HIDE_RATE)))
    draws.append((EngagementKind.SURVEY, outcomes.is_clicked & (rng.random(size) < _SURVEY_RATE)))
    rows = np.concatenate([np.flatnonzero(is_drawn) for _, is_drawn in draws])
    kinds = np.concatenate([np.full(np.count_nonzero(is_drawn), kind.value, object) for kind, is_drawn in draws])
    is_play, is_survey = kinds == EngagementKind.PLAY.value, kinds == EngagementKind.SURVEY.value
    delay_seconds = rng.exponential(20.0, len(rows)) + np.where(is_play, outcomes.watch_seconds[rows], 0.0)
    at_us = shown.at_us[rows] + (np.minimum(delay_seconds, 3_000.0) * 1000).astype(np.int64) * 1000
    scores = np.clip(np.round(rng.normal(np.where(outcomes.is_satisfied[rows], 4.3, 2.5), 0.9)), 1, 5)
    is_without_id = (rng.random(len(rows)) < _NO_IMPRESSION_ID_RATE) & _is_shown_once(shown)[rows]
    order = np.argsort(at_us, kind="stable")
    columns = {
        "event_id": _ids("e", np.arange(len(rows))),
        "impression_id": pa.array(np.asarray(_ids("imp-", rows[order])), pa.string(), mask=is_without_id[order]),
        "user_id": _ids("u", shown.users[rows][order]),
        "item_id": _ids("i", shown.items[rows][order]),
        "kind": pa.array(kinds[order]),
        "engaged_at": pa.array(at_us[order]).cast(TIMESTAMP),
        "watch_seconds": pa.array(outcomes.watch_seconds[rows][order], mask=~is_play[order]),
        "duration_seconds": pa.array(np.round(items.durations[shown.items[rows]], 1)[order], mask=~is_play[order]),
        "score": pa.array(scores[order], mask=~is_survey[order]),
    }
    return pa.table(columns, schema=ENGAGEMENT_SCHEMA)


def _is_shown_once(shown):
    """Whether an impression is the only one of its user and item, so that user and item identify it."""
    pairs = shown.users.astype(np.int64) * (shown.items.max() + 1) + shown.items
    _, pair, counts = np.unique(pairs, return_inverse=True, return_counts=True)
    return counts[pair] == 1


def _with_repeats(rng, table, num_repeats):
    """The table with some rows once more, right behind themselves."""
    repeats = rng.choice(table.num_rows, size=num_repeats, replace=False)
    return table.take(pa.array(np.sort(np.concatenate([np.arange(table.num_rows), repeats]))))


def _truth(impressions, outcomes):
    at = np.asarray(impressions["impressed_at"].cast(pa.int64()))
    return pa.table(
        {
            "impression_id": impressions["impression_id"],
            "day": pa.array(np.datetime_as_string(at.astype("datetime64[us]").astype("datetime64[D]")).astype(object)),
            "click": outcomes.is_clicked,
            "click_probability": outcomes.click_probabilities,
            "satisfaction": outcomes.is_satisfied,
            "satisfaction_probability": outcomes.satisfaction_probabilities,
            "watch_seconds": outcomes.watch_seconds,
        }
    )


def _ids(prefix, numbers):
    return pc.binary_join_element_wise(prefix, pa.array(numbers).cast(pa.string()), "")


def _best_auc(feed, first_day):
    auc_by_label = {}
    for label in (CLICK, SATISFACTION):
        is_counted = np.asarray(feed.truth["day"]) >= (first_day or "")
        has_both = len(np.unique(np.asarray(feed.truth[label])[is_counted])) == 2
        auc_by_label[label] = feed.best_auc(label, first_day) if has_both else None
    return auc_by_label


def _write_jsonl(table, path):
    """Rows as JSON objects; nulls are left out, times are milliseconds."""
    # Without a name and time in its header, a gz file depends on its content alone.
    with open(path, "wb") as raw, gzip.GzipFile("", "wb", compresslevel=1, fileobj=raw, mtime=0) as file:
        for start in range(0, table.num_rows, _ROWS_PER_WRITE):
            lines = _json_lines(table.slice(start, _ROWS_PER_WRITE))
            file.write(("\n".join(lines.to_pylist()) + "\n").encode())


def _json_lines(table):
    """Each row's JSON text, joined from its members' texts; the simulator's strings need no escapes."""
    members = []
    for field in table.schema:
        column = table[field.name].combine_chunks()
        if pa.types.is_timestamp(field.type):
            column = pc.divide(column.cast(pa.int64()), 1000)
        quote = '"' if pa.types.is_string(field.type) else ""
        text = pc.binary_join_element_wise(f'"{field.name}": {quote}', column.cast(pa.string()), quote, "")
        members.append(text)
    joined = pc.binary_join_element_wise(*members, ", ", null_handling="skip")
    return pc.binary_join_element_wise("{", joined, "}", "")
