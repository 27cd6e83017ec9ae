"""What a service sends with a request is what ingestion would have written for that impression."""

import itertools

import numpy as np
import pyarrow as pa
import pytest

from data.buckets import bucketings, from_json, to_json
from data.columns import aggregate_column, empty_aggregate, history_fields
from data.history.facts import facts_of, keyed_columns, keyed_facts
from data.history.state import keyed_state, pair_states, user_state
from data.history.timeline import delay_us
from data.tables import declared_schema, item_table, user_table
from serving.features.tables import FeatureTables
from serving.ranker.request import ExampleEncoder
from tests.unit.data.history_rows import at, data_config, event, event_table, features_of, row, row_table
from tests.unit.serving.test_request import decoded

ITEMS = {
    "i": {"author_id": "a", "tag": 1, "duration": 3.3, "published": "2025-12-31"},
    "j": {"author_id": "b", "tag": 2, "duration": 10.5, "published": None},
    "k": {"author_id": "a", "tag": 1, "duration": None, "published": "2026-01-01T05:30:00Z"},
    "shown to nobody": {"author_id": "b", "tag": 3, "duration": 1.0, "published": None},
    "unheard": {"author_id": None, "tag": None, "duration": None, "published": None},
}
ITEM_SCHEMA = declared_schema("item_id", data_config().item_columns)
USERS = ("u", "v", "w", "nobody")
SURFACES = ("feed", "search", None)


def simulated_log(seed):
    """60 impressions and 150 events of three users with three items in three days."""
    random = np.random.default_rng(seed)
    rows = []
    for number, hours in enumerate(random.uniform(0, 72, 60)):
        item_id = str(random.choice(list("ijk")))
        user_id, surface = str(random.choice(USERS[:3])), SURFACES[random.integers(3)]
        rows.append(row(f"r{number:02}", hours, user_id, item_id, **ITEMS[item_id], surface=surface))
    events = []
    for index, kind in zip(random.integers(60, size=150), random.choice(["click", "play", "like"], 150), strict=True):
        hours = (rows[index]["impressed_at"] - at(0)) / 3.6e9 + random.uniform(0, 5)
        events.append(event(int(index), str(kind), hours, float(random.uniform(0, 30)) if kind == "play" else None))
    return rows, events


def published_tables(rows, events, config, at_us):
    """The tables as the pipeline publishes them at a moment."""
    table = row_table(rows)
    facts = facts_of(table, event_table(events), config)
    keyed = {
        column: keyed_state(keyed_facts(table, facts, column, config), column, config, at_us)
        for column in keyed_columns(config.history)
    }
    declared = [{"item_id": item_id, **columns} for item_id, columns in ITEMS.items() if item_id != "unheard"]
    items = item_table(pa.Table.from_pylist(declared, ITEM_SCHEMA), table["item_id"].combine_chunks(), keyed, config)
    users = user_table(
        pa.table({"user_id": pa.array([], pa.string())}),
        table["user_id"].combine_chunks(),
        user_state(table, facts, config, at_us),
        config,
    )
    history = config.history
    empty = {aggregate_column(aggregate): empty_aggregate(aggregate, history) for aggregate in history.aggregates}
    pairs = pair_states(table, facts, config, at_us).values()
    return FeatureTables(users, items, pairs, empty, from_json(to_json(bucketings(config))))


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("published_column", [None, "published"])
@pytest.mark.parametrize("surface", ["feed", "search", "unseen", None])
def test_requests_carry_the_features_that_ingestion_would_write(seed, published_column, surface):
    config = data_config(delay_seconds=600.0, refresh_hours=0.5, own_refresh_hours=24, published_column=published_column)
    rows, events = simulated_log(seed)
    at_us = at(60.25)
    now_us = at_us + delay_us(config.history)
    probes = [
        row(f"{user_id}, {item_id}", user_id=user_id, item_id=item_id, **ITEMS[item_id], surface=surface)
        for user_id, item_id in itertools.product(USERS, ITEMS)
    ]
    probes = [{**probe, "impressed_at": now_us} for probe in probes]
    wanted = features_of(rows + probes, events, config)
    encoder = ExampleEncoder(published_tables(rows, events, config, at_us))
    for probe in row_table(probes).to_pylist():
        wanted[probe["impression_id"]]["duration_bucket"] = probe["duration_bucket"]
    names = [*(field.name for field in history_fields(config.history)), "duration_bucket"]
    num_present = dict.fromkeys(names, 0)
    context = {"surface": surface}
    for user_id in USERS:
        for item_id, example in zip(ITEMS, encoder.encode(user_id, list(ITEMS), context, {}, now_us // 1000), strict=True):
            sent = decoded(example)
            for name in names:
                value = wanted[f"{user_id}, {item_id}"][name]
                value = [] if value is None else value if isinstance(value, list) else [value]
                assert sent.get(name, (None, []))[1] == value, (user_id, item_id, name)
                num_present[name] += bool(value)
    assert all(num_present.values())
