import random

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data.history.facts import FACT_SCHEMA, facts_of, keyed_columns, keyed_facts, steps_of
from data.history.signals import Signal, further_signals
from tests.unit.data import history_oracle as oracle
from tests.unit.data.history_rows import at, configs, data_config, event, event_table, logs, row, row_table


def told(rows, events, config):
    facts = facts_of(row_table(rows), event_table(events), config)
    assert facts.schema == FACT_SCHEMA
    names = {signal.value: signal.name.lower() for signal in Signal}
    names |= {number: measure for measure, number in further_signals(config.history).items()}
    return [(one["row"], names[one["signal"]], one["at"], one["amount"]) for one in facts.to_pylist()]


def of_signal(events, signal, **keys):
    return [(moment, amount) for _, name, moment, amount in told([row("a")], events, data_config(**keys)) if name == signal]


@settings(max_examples=150, deadline=None)
@given(logs(), configs)
def test_facts_are_the_oracles(log, config):
    expected = [(*fact[:3], float(np.float32(fact[3]))) for fact in oracle.facts(*log, config)]
    assert sorted(told(*log, config)) == sorted(expected)


@settings(max_examples=60, deadline=None)
@given(logs(), configs, st.randoms(use_true_random=False))
def test_the_order_of_rows_and_events_does_not_matter(log, config, chance):
    rows, events = log
    places = list(range(len(rows)))
    chance.shuffle(places)
    moved = [{**one, "row": places.index(one["row"])} for one in events]
    chance.shuffle(moved)
    back = [(places[index], *rest) for index, *rest in told([rows[place] for place in places], moved, config)]
    assert sorted(back) == sorted(told(rows, events, config))


def test_facts_come_by_time():
    log = [row("a", 5), row("b", 1)], [event(0, "click", 3), event(1, "play", 9, watch_seconds=1.0)]
    moments = [moment for _, _, moment, _ in told(*log, data_config())]
    # The click precedes its impression, where a clock was wrong; it counts from then on. The play counts by two measures.
    assert moments == [at(1), at(5), at(5), at(9), at(9)]


def test_only_the_first_click_counts():
    assert of_signal([event(0, "click", 2), event(0, "click", 1)], "click") == [(at(1), 1.0)]


def test_a_long_watch_counts_once_at_the_play_that_makes_it():
    plays = [event(0, "play", hours, watch_seconds=seconds) for hours, seconds in ((4, 9.0), (1, 4.0), (2, 5.0), (3, 1.0))]
    assert of_signal(plays, "long_watch") == [(at(3), 1.0)]


def test_watch_time_of_one_moment_counts_together():
    plays = [event(0, "play", 1, watch_seconds=5.0), event(0, "play", 1, watch_seconds=5.0)]
    assert of_signal(plays, "long_watch") == [(at(1), 1.0)]


def test_what_speaks_against_at_the_same_moment_counts():
    weights = {"satisfaction": {"weights": {"like": 1.0, "hide": -1.0}}}
    assert of_signal([event(0, "like", 1), event(0, "hide", 1)], "satisfaction", **weights) == []
    assert of_signal([event(0, "like", 1), event(0, "hide", 2)], "satisfaction", **weights) == [(at(1), 1.0)]


def test_weights_that_add_up_to_the_threshold_but_for_rounding_reach_it():
    weights = {"satisfaction": {"weights": {"like": 0.1, "follow": 0.7, "share": 0.2}}}
    events = [event(0, "like", 1), event(0, "follow", 2), event(0, "share", 3)]
    assert of_signal(events, "satisfaction", **weights) == [(at(3), 1.0)]


def test_a_grade_counts_by_its_rises_and_falls():
    satisfaction = {"weights": {"like": 0.75, "hide": -0.5}, "survey_weight": 0.5, "survey_neutral": 3.0, "threshold": "graded"}
    events = [event(0, "like", 1), event(0, "survey", 2, score=5.0), event(0, "hide", 3), event(0, "survey", 4, score=1.0)]
    # 0.75, then 1.75 cut to 1, then 1.25 cut to 1; the lower score changes nothing.
    assert of_signal(events, "satisfaction", satisfaction=satisfaction) == [(at(1), 0.75), (at(2), 0.25)]
    assert of_signal(events[::2], "satisfaction", satisfaction=satisfaction) == [(at(1), 0.75), (at(3), -0.5)]


WATCHES = [
    event(0, "play", 1, watch_seconds=2.0),
    event(0, "play", 2, watch_seconds=5.0),
    event(0, "like", 3),
    event(0, "like", 4),
]


@pytest.mark.parametrize(
    ("measure", "wanted"),
    [
        ("watched_2s_rate", [(at(1), 1.0)]),
        ("watched_7s_rate", [(at(2), 1.0)]),
        ("watched_8s_rate", []),
        # Of the 5 units of a second and a half that the item lasts.
        ("watched_25pct_rate", [(at(1), 1.0)]),
        ("watched_90pct_rate", [(at(2), 1.0)]),
        ("watched_100pct_rate", []),
        ("like_rate", [(at(3), 1.0)]),
        ("hide_rate", []),
        ("log_watch", [(at(1), pytest.approx(np.log(3), abs=1e-6)), (at(2), pytest.approx(np.log(8 / 3), abs=1e-6))]),
    ],
)
def test_further_measures_count_when_they_come_true(measure, wanted):
    aggregates = [{"key": ["user_id"], "measures": [measure]}]
    assert of_signal(WATCHES, measure, aggregates=aggregates) == wanted


def test_a_whole_watch_is_one_where_the_column_of_durations_rounds():
    config = data_config(
        aggregates=[{"key": ["user_id"], "measures": ["watched_100pct_rate"]}], duration={"column": "duration"}
    )
    # As 32 bits hold it, 123.4 is a little more.
    for seconds, wanted in ((123.4, 1), (123.39, 0)):
        found = told([row("a", duration=123.4)], [event(0, "play", 1, watch_seconds=seconds)], config)
        assert sum(name == "watched_100pct_rate" for _, name, _, _ in found) == wanted


def test_hundreds_of_measures_keep_apart():
    measures = [f"watched_{seconds}s_rate" for seconds in range(1, 301)]
    config = data_config(aggregates=[{"key": ["user_id"], "measures": measures}])
    found = told([row("a")], [event(0, "play", 1, watch_seconds=150.0)], config)
    counted = {name for _, name, _, _ in found if name.startswith("watched_")}
    assert counted == {f"watched_{seconds}s_rate" for seconds in range(1, 151)}


def test_a_history_has_only_the_facts_that_it_counts():
    names = {name for _, name, _, _ in told([row("a")], WATCHES, data_config(aggregates=[{"key": ["user_id"]}]))}
    assert names == {"impression", "satisfaction", "watch_seconds"}


def test_sums_of_steps_do_not_depend_on_their_order():
    amounts = np.random.default_rng(0).exponential(20.0, 10_000)
    permuted = np.random.default_rng(1).permutation(amounts)
    assert steps_of(amounts).sum() == steps_of(permuted).sum()
    assert steps_of(amounts).sum() / 2**20 == pytest.approx(amounts.sum(), rel=1e-6)


def test_two_million_endless_plays_do_not_overflow():
    assert int(steps_of(np.array([np.inf]))[0]) * 2**21 <= 2**63
    assert steps_of(np.array([1e300])) == steps_of(np.array([2.0**22]))


def test_keyed_facts_have_keys_and_the_signals_of_their_aggregate():
    rows = row_table([row("a", author_id="x"), row("b", author_id=None)])
    events = event_table(
        [event(0, "click", 1), event(0, "play", 2, watch_seconds=50.0), event(1, "play", 2, watch_seconds=5.0)]
    )
    facts = keyed_facts(rows, facts_of(rows, events, data_config()), "author_id", data_config())
    assert facts.column_names == ["row", "key", "signal", "at", "amount"]
    assert facts["key"].to_pylist() == ["x"] * 3
    assert sorted(facts["signal"].to_pylist()) == [Signal.IMPRESSION, Signal.LONG_WATCH, Signal.WATCH_SECONDS]


def test_keys_keep_their_type():
    config = data_config(aggregates=[{"key": ["tag"]}])
    rows = row_table([row("a", tag=7)])
    facts = keyed_facts(rows, facts_of(rows, event_table([]), config), "tag", config)
    assert facts.schema.field("key").type == pa.int64()
    assert facts["key"].to_pylist() == [7]


def test_keyed_columns_are_those_of_the_item_side():
    assert keyed_columns(data_config().history) == ("item_id", "author_id", "tag", "duration_bucket")
    alone = [{"key": ["user_id"]}]
    assert keyed_columns(data_config(aggregates=alone).history) == ("item_id",)
    assert keyed_columns(data_config(aggregates=alone, has_ages=False).history) == ()
    assert keyed_columns(data_config(aggregates=alone, published_column="published").history) == ()


def test_a_column_without_features_is_refused():
    rows = row_table([row("a")])
    facts = facts_of(rows, event_table([]), data_config())
    with pytest.raises(ValueError, match=r"column must be one of \('item_id', .*\)\. Received: surface"):
        keyed_facts(rows, facts, "surface", data_config())


def test_many_rows_give_the_same_facts_as_each_row_alone():
    chance = random.Random(5)
    rows = [row(f"r{number}", chance.random()) for number in range(40)]
    kinds = ["play", "click", "like", "hide"]
    events = [event(chance.randrange(40), chance.choice(kinds), chance.random(), chance.random() * 20) for _ in range(300)]
    config = data_config(satisfaction={"weights": {"like": 0.9, "click": 0.3, "hide": -0.2}, "threshold": "graded"})
    alone = [
        (index, *fact[1:])
        for index, one in enumerate(rows)
        for fact in told([one], [{**found, "row": 0} for found in events if found["row"] == index], config)
    ]
    assert sorted(told(rows, events, config)) == sorted(alone)
