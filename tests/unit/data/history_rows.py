"""Small logs for tests of the past, and the whole way from them to features, in any number of partitions."""

import datetime

import numpy as np
import pyarrow as pa
from hypothesis import strategies as st

from data.buckets import append_buckets, bucketings
from data.config import DataConfig
from data.history.facts import facts_of, keyed_columns, keyed_facts
from data.history.features import attach_features, keyed_features, user_features
from data.schema import TIMESTAMP

START_US = int(datetime.datetime(2026, 1, 1, tzinfo=datetime.timezone.utc).timestamp()) * 1_000_000
HOUR_US = 3_600_000_000

ROW_SCHEMA = pa.schema(
    [
        pa.field("impression_id", pa.string()),
        pa.field("user_id", pa.string()),
        pa.field("item_id", pa.string()),
        pa.field("author_id", pa.string()),
        pa.field("tag", pa.int64()),
        pa.field("duration", pa.float32()),
        pa.field("surface", pa.string()),
        pa.field("published", pa.string()),
        pa.field("impressed_at", TIMESTAMP),
    ]
)
EVENT_SCHEMA = pa.schema(
    [
        pa.field("row", pa.int64()),
        pa.field("kind", pa.string()),
        pa.field("engaged_at", TIMESTAMP),
        pa.field("watch_seconds", pa.float64()),
        pa.field("score", pa.float64()),
    ]
)


def at(hours):
    return START_US + round(hours * HOUR_US)


def row(impression_id, hours=0.0, user_id="u", item_id="i", **columns):
    keys = {"author_id": "a", "tag": 1, "duration": 5.0, "surface": "s", "published": None}
    return {
        "impression_id": impression_id,
        "user_id": user_id,
        "item_id": item_id,
        "impressed_at": at(hours),
        **keys,
        **columns,
    }


def event(row, kind, hours=0.0, watch_seconds=None, score=None):
    return {"row": row, "kind": kind, "engaged_at": at(hours), "watch_seconds": watch_seconds, "score": score}


def row_table(rows):
    """Rows with the column of buckets that every configuration of `data_config` has."""
    return append_buckets(pa.Table.from_pylist(rows, schema=ROW_SCHEMA), bucketings(data_config()))


def event_table(events):
    return pa.Table.from_pylist(events, schema=EVENT_SCHEMA)


AGGREGATES = [
    {"key": ["user_id"], "windows": ["2h", "1d", "all"]},
    {"key": ["user_id", "tag"], "windows": ["3h", "all"], "measures": ["click_rate", "impressions"]},
    {"key": ["item_id"], "windows": ["999999999d", "1h"], "measures": ["impressions", "satisfaction_rate"]},
    {"key": ["author_id"], "windows": ["4h"], "measures": ["watch_seconds", "long_watch_rate"]},
    {"key": ["tag"], "windows": ["all"], "measures": ["like_rate", "log_watch", "watched_3s_rate", "watched_50pct_rate"]},
    {"key": ["user_id", "surface"], "windows": ["all"], "measures": ["impressions", "click_rate"]},
    {"key": ["user_id", "duration_bucket"], "windows": ["5h", "all"], "measures": ["watch_seconds", "log_watch", "hide_rate"]},
    {"key": ["user_id"], "name": "user_session", "windows": ["1h", "30m"], "measures": ["impressions"]},
    {"key": ["item_id"], "name": "clicks_of_item", "windows": ["all"], "measures": ["click_rate"]},
    {"key": ["user_id", "tag"], "name": "tags_today", "windows": ["1d"], "measures": ["impressions"]},
    {"key": ["duration_bucket"], "windows": ["all"], "measures": ["impressions", "click_rate"]},
]
BUCKETS = {"duration_bucket": {"column": "duration", "edges": [3.3, 10]}}
SEQUENCES = [
    {"name": "last_clicked", "length": 3},
    {"name": "last_authors", "column": "author_id", "signal": "impression", "length": 2},
    {"name": "last_satisfying", "signal": "satisfaction", "length": 50},
]
HISTORY = {
    "aggregates": AGGREGATES,
    "sequences": SEQUENCES,
    "prior": {"click_rate": 0.3, "watch_seconds": 7.1, "satisfaction_rate": 0.037, "log_watch": 1.3, "like_rate": 0.02},
    "prior_impressions": 3.7,
    "long_watch_seconds": 10.0,
    "duration": {"column": "duration", "seconds_per_unit": 1.5},
}


def data_config(timezone="UTC", satisfaction=None, own_refresh_hours=None, **history):
    """Some aggregates and a sequence have a refresh of their own where one is given."""
    history = {**HISTORY, **history}
    if own_refresh_hours is not None:
        for name, places in (("aggregates", (0, 2, 8)), ("sequences", (1,))):
            own = [dict(one) for one in history[name]]
            for place in places:
                own[place]["refresh_hours"] = own_refresh_hours
            history[name] = own
    return DataConfig.model_validate(
        {
            "source": {"kind": "events", "impressions": "impressions.jsonl", "engagements": "engagements.jsonl"},
            "split": {"eval_from": "2026-01-02"},
            "item_columns": {"author_id": "string", "tag": "int", "duration": "float", "published": "string"},
            "bucket_columns": BUCKETS,
            "timezone": timezone,
            "satisfaction": satisfaction or {},
            "history": history,
        }
    )


@st.composite
def logs(draw, max_rows=12, max_events=20):
    """Rows and events with many ties: times stand on a grid of half hours, some a microsecond beside it."""
    moments = st.builds(lambda halves, us: halves / 2 + us / HOUR_US, st.integers(0, 60), st.sampled_from([-1, 0, 0, 0, 1]))
    keys = st.fixed_dictionaries(
        {
            "hours": moments,
            "user_id": st.sampled_from("uvw"),
            "item_id": st.sampled_from("ijk"),
            "author_id": st.sampled_from(["a", "b", None]),
            "tag": st.sampled_from([1, 2, None]),
            "duration": st.sampled_from([3.29, 3.3, 9.99, 10.0, None, float("nan")]),
            "surface": st.sampled_from(["s", "t", None]),
            "published": st.sampled_from([None, "2025-12-31", "2026-01-01T05:30:00Z", "2027-01-01", "soon"]),
        }
    )
    rows = [row(f"r{number:02}", **columns) for number, columns in enumerate(draw(st.lists(keys, max_size=max_rows)))]
    if not rows:
        return [], []
    kinds = st.sampled_from(["click", "play", "play", "like", "share", "hide", "survey"])
    events = []
    triples = st.tuples(st.integers(0, len(rows) - 1), kinds, moments)
    for index, kind, hours in draw(st.lists(triples, max_size=max_events)):
        watch_seconds = draw(st.sampled_from([0.0, 0.1, 3.3, 5.0, 6.7, 1e9])) if kind == "play" else None
        score = draw(st.sampled_from([1.0, 2.5, 5.0])) if kind == "survey" else None
        events.append(event(index, kind, hours, watch_seconds, score))
    return rows, events


satisfactions = st.sampled_from(
    [
        {},
        {"weights": {"like": 0.6, "share": 0.4, "hide": -1.0}},
        {"weights": {"like": 0.6, "hide": -0.5}, "survey_weight": 0.2, "survey_neutral": 3.0, "threshold": "graded"},
        {"weights": {"click": 0.3}, "survey_weight": 0.3, "survey_neutral": 1.0, "threshold": 0.7},
    ]
)
configs = st.builds(
    data_config,
    timezone=st.sampled_from(["UTC", "Asia/Kolkata"]),
    satisfaction=satisfactions,
    delay_seconds=st.sampled_from([0.0, 600.0, 3600.0]),
    refresh_hours=st.sampled_from([0.0, 0.5, 6.0, 5.0]),
    own_refresh_hours=st.sampled_from([None, 0.0, 12.0]),
    published_column=st.sampled_from([None, "published"]),
)


def partitions_of(rows, events, partition_of):
    """Rows and events by partition of a row, events pointing into their own partition."""
    parts = {}
    for index, one in enumerate(rows):
        part_rows, part_events = parts.setdefault(partition_of(one), ([], []))
        part_events += [{**found, "row": len(part_rows)} for found in events if found["row"] == index]
        part_rows.append(one)
    return list(parts.values())


def features_of(rows, events, config, partition_of=lambda one: 0, key_part_of=lambda key: 0, seed=0):
    """Features by impression id, with users in partitions and keys in parts; facts meet in a random order."""
    random = np.random.default_rng(seed)
    partitions = []
    facts_by_column = {column: [] for column in keyed_columns(config.history)}
    for number, (part_rows, part_events) in enumerate(partitions_of(rows, events, partition_of)):
        table = row_table(part_rows)
        facts = facts_of(table, event_table(part_events), config)
        partitions.append((table, user_features(table, shuffled(facts, random), config)))
        for column, found in facts_by_column.items():
            keyed = keyed_facts(table, facts, column, config)
            numbers = pa.array(np.full(keyed.num_rows, number, np.int32))
            found.append(keyed.append_column("partition", numbers))
    keyed_tables = {}
    for column, found in facts_by_column.items():
        for part in parts_by_key(pa.concat_tables(found), key_part_of) if found else []:
            keyed_tables.setdefault(column, []).append(keyed_features(shuffled(part, random), column, config))
    features = {}
    for number, (table, user_table) in enumerate(partitions):
        told = {
            column: [found.filter(pa.array(np.asarray(found["partition"]) == number)) for found in tables]
            for column, tables in keyed_tables.items()
        }
        for one in attach_features(table, user_table, told, config).to_pylist():
            features[one["impression_id"]] = {name: one[name] for name in one if name not in table.schema.names}
    return features


def parts_by_key(facts, key_part_of):
    parts = np.array([key_part_of(key) for key in facts["key"].to_pylist()], np.int64)
    return [facts.filter(pa.array(parts == part)) for part in np.unique(parts)]


def shuffled(table, random):
    return table.take(pa.array(random.permutation(table.num_rows), pa.int64()))
