import itertools

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data.columns import aggregate_column, empty_aggregate
from data.history.ages import hours_between
from data.history.facts import facts_of, keyed_columns, keyed_facts
from data.history.state import FIRST_IMPRESSED_AT_MS, LAST_IMPRESSED_AT_MS, keyed_state, pair_states, user_state
from data.history.timeline import delay_us
from tests.unit.data import history_oracle as oracle
from tests.unit.data.history_rows import at, configs, data_config, event, event_table, features_of, logs, row, row_table

USERS, ITEMS, AUTHORS, TAGS = "uvwx", "ijkl", ["a", "b", "c"], [1, 2, 3]


def states_of(log, config, at_us):
    """Tables by the columns of their keys."""
    table = row_table(log[0])
    facts = facts_of(table, event_table(log[1]), config)
    states = {("user_id",): user_state(table, facts, config, at_us)}
    for column, state in pair_states(table, facts, config, at_us).items():
        states["user_id", column] = state
    for column in keyed_columns(config.history):
        state = keyed_state(keyed_facts(table, facts, column, config), column, config, at_us)
        states[(column,)] = state.rename_columns([column, *state.column_names[1:]])
    return states


def by_key(state, names):
    assert state.column_names[: len(names)] == list(names)
    found = {tuple(one[name] for name in names): one for one in state.to_pylist()}
    assert len(found) == state.num_rows
    assert list(found) == sorted(found)
    return found


def probes_of(at_us):
    """An impression of every user, item, author and tag, known or not, at the same moment."""
    for number, (user_id, item_id) in enumerate(itertools.product(USERS, ITEMS)):
        keys = {
            "author_id": AUTHORS[number % 3],
            "tag": TAGS[(number // 4 + number) % 3],
            "duration": [1.0, 5.0, 10.0, None][(number // 4 + 2 * number) % 4],
            "surface": ["s", "t", "r"][(number + 1) % 3],
        }
        yield {**row(f"probe{number:02}", user_id=user_id, item_id=item_id, **keys), "impressed_at": at_us}


def age(from_ms, to_us):
    return hours_between(pa.array([from_ms], pa.int64()), np.array([to_us // 1000])).to_pylist()[0]


@settings(max_examples=80, deadline=None)
@given(logs(), configs, st.integers(-2, 64))
def test_states_are_the_features_of_an_impression_one_delay_later(log, config, halves):
    at_us = at(halves / 2)
    history = config.history
    probes = list(probes_of(at_us + delay_us(history)))
    features = features_of(log[0] + probes, log[1], config)
    states = {names: by_key(state, names) for names, state in states_of(log, config, at_us).items()}
    for probe in oracle.with_buckets(probes, config):
        expected = features[probe["impression_id"]]
        found = {}
        for aggregate in history.aggregates:
            name = aggregate_column(aggregate)
            empty = np.array(empty_aggregate(aggregate, history), np.float32).tolist()
            key = tuple(probe[part] for part in aggregate.key)
            found[name] = states[aggregate.key].get(key, {}).get(name, empty)
        user = states["user_id",].get((probe["user_id"],), {})
        for sequence in history.sequences:
            found[sequence.name] = user.get(sequence.name, [])
        found["user_idle_hours"] = age(user.get(LAST_IMPRESSED_AT_MS), probe["impressed_at"])
        if history.published_column is None:
            item = states["item_id",].get((probe["item_id"],), {})
            found["item_age_hours"] = age(item.get(FIRST_IMPRESSED_AT_MS), probe["impressed_at"])
        else:
            found["item_age_hours"] = None
        assert found == expected


def facts_known(log, config, names, asked_at):
    """Facts before the last cutoff of what a state tells: its aggregate, and where it has them sequences and ages."""
    history = config.history
    told = [one.refresh_hours for one in history.aggregates if one.key == names]
    if names == ("user_id",):
        told += [None, *(one.refresh_hours for one in history.sequences)]
    if names == ("item_id",) and history.published_column is None:
        told.append(None)
    before = max(oracle.cutoff(asked_at, history, config.timezone, hours) for hours in told)
    return [fact for fact in oracle.facts(*log, config) if fact[2] < before]


@settings(max_examples=80, deadline=None)
@given(logs(), configs, st.integers(-2, 64))
def test_states_hold_the_keys_of_which_anything_is_known(log, config, halves):
    for names, state in states_of(log, config, at(halves / 2)).items():
        facts = facts_known(log, config, names, at(halves / 2) + delay_us(config.history))
        # The facts of users are all at hand; to the others only those go that their measures need.
        signals = {
            ("item_id",): {"impression", "satisfaction", "click"},
            ("author_id",): {"impression", "long_watch", "watch_seconds"},
            ("duration_bucket",): {"impression", "click"},
        }.get(names, {"impression", "click", "long_watch", "satisfaction", "watch_seconds"})
        rows = oracle.with_buckets(log[0], config)
        keys = {tuple(rows[fact[0]][name] for name in names) for fact in facts if fact[1] in signals}
        assert set(by_key(state, names)) == {key for key in keys if None not in key}


def test_states_by_hand():
    config = data_config(
        aggregates=[{"key": [*key], "windows": ["all"], "measures": ["impressions"]} for key in (("user_id",), ("item_id",))],
        sequences=[{"name": "clicked"}],
    )
    log = [row("a", 0, item_id="i"), row("b", 1, item_id="j"), row("c", 2, item_id="j")], [event(1, "click", 1.5)]
    states = states_of(log, config, at(2))
    assert states["user_id",].to_pylist() == [
        {"user_id": "u", "user_history": [2.0], "clicked": ["j"], "last_impressed_at_ms": at(1) // 1000}
    ]
    assert states["item_id",].to_pylist() == [
        {"item_id": "i", "item_history": [1.0], "first_impressed_at_ms": at(0) // 1000},
        {"item_id": "j", "item_history": [1.0], "first_impressed_at_ms": at(1) // 1000},
    ]


def test_the_state_of_an_empty_log_is_empty():
    states = states_of(([], []), data_config(), at(0))
    assert {names: state.num_rows for names, state in states.items()} == dict.fromkeys(states, 0)
    assert states["user_id", "tag"].column_names == ["user_id", "tag", "user_tag_history", "tags_today"]
    assert states["user_id",].column_names == [
        "user_id",
        "user_history",
        "user_session",
        "last_clicked",
        "last_authors",
        "last_satisfying",
        "last_impressed_at_ms",
    ]


def test_a_state_of_a_column_without_features_is_refused():
    table = row_table([row("a")])
    facts = keyed_facts(table, facts_of(table, event_table([]), data_config()), "item_id", data_config())
    with pytest.raises(ValueError, match=r"column must be one of \('item_id', .*\)\. Received: user_id"):
        keyed_state(facts, "user_id", data_config(), at(0))
