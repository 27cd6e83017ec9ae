import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data.columns import aggregate_column, empty_aggregate, history_fields
from data.history.ages import hours_between, published_at_ms
from data.history.aggregates import aggregate_features
from data.history.facts import facts_of, keyed_columns, keyed_facts
from data.history.features import attach_features, keyed_features, user_features
from tests.unit.data import history_oracle as oracle
from tests.unit.data.history_rows import (
    HOUR_US,
    at,
    configs,
    data_config,
    event,
    event_table,
    features_of,
    logs,
    row,
    row_table,
)


def assert_close(found, expected):
    assert found.keys() == expected.keys()
    for impression_id, values in expected.items():
        assert found[impression_id].keys() == values.keys()
        for name, value in values.items():
            assert found[impression_id][name] == (value if value in (None, []) else near(value)), (impression_id, name)


def near(value):
    if isinstance(value, list) and isinstance(value[0], str):
        return value
    return pytest.approx(value, rel=1e-6, abs=1e-9)


@settings(max_examples=150, deadline=None)
@given(logs(), configs)
def test_features_are_the_oracles(log, config):
    assert_close(features_of(*log, config), oracle.features(*log, config))


@settings(max_examples=80, deadline=None)
@given(logs(), configs, st.randoms(use_true_random=False), st.integers(1, 3), st.integers(1, 3))
def test_order_and_partitions_do_not_change_a_bit(log, config, chance, num_partitions, num_key_parts):
    rows, events = log
    places = list(range(len(rows)))
    chance.shuffle(places)
    moved = [{**one, "row": places.index(one["row"])} for one in events]
    chance.shuffle(moved)
    scattered = features_of(
        [rows[place] for place in places],
        moved,
        config,
        partition_of=lambda one: ord(one["user_id"]) % num_partitions,
        key_part_of=lambda key: ord(str(key)[0]) % num_key_parts,
        seed=chance.randrange(2**32),
    )
    assert scattered == features_of(rows, events, config)


def test_columns_stand_in_the_order_of_the_schema():
    table = row_table([row("a")])
    config = data_config()
    facts = facts_of(table, event_table([]), config)
    keyed = {}
    for column in keyed_columns(config.history):
        found = keyed_facts(table, facts, column, config).append_column("partition", pa.array([0], pa.int32()))
        keyed[column] = [keyed_features(found, column, config)]
    attached = attach_features(table, user_features(table, facts, config), keyed, config)
    assert attached.schema == pa.schema([*table.schema, *history_fields(config.history)])


def test_an_example_by_hand():
    config = data_config(
        aggregates=[{"key": ["user_id"], "windows": ["2h", "all"], "measures": ["impressions", "click_rate", "watch_seconds"]}],
        sequences=[{"name": "clicked"}],
        prior={"click_rate": 0.5},
        prior_impressions=2.0,
        delay_seconds=0.0,
    )
    rows = [row("a", 0, item_id="i"), row("b", 1, item_id="j"), row("c", 3, item_id="k")]
    events = [event(0, "click", 0.5), event(1, "click", 2), event(1, "play", 2, watch_seconds=9.0), event(2, "click", 3)]
    found = features_of(rows, events, config)
    # Two hours before "c", at 1, still count; the click on "c", at its own moment, does not.
    assert found["c"] == {
        "user_history": pytest.approx([1, (1 + 1) / 3, 9 / 3, 2, (2 + 1) / 4, 9 / 4]),
        "clicked": ["j", "i"],
        "item_age_hours": None,
        "user_idle_hours": 2.0,
    }
    assert found["a"]["user_history"] == [0, 0.5, 0, 0, 0.5, 0]


def test_a_user_with_the_surface_and_with_the_bucket_of_a_duration():
    aggregates = [
        {"key": ["user_id", name], "windows": ["all"], "measures": ["impressions"]} for name in ("surface", "duration_bucket")
    ]
    # 3.3 lies on an edge, so in the bucket above it, though as a float of 32 bits it is less than 3.3.
    durations_and_surfaces = [(3.2, "s"), (3.3, "s"), (9.0, "t"), (10.0, "s"), (5.0, "s"), (99.0, None), (None, "t")]
    rows = [
        row(str(hour), hour, duration=duration, surface=surface)
        for hour, (duration, surface) in enumerate(durations_and_surfaces)
    ]
    found = features_of(rows, [], data_config(aggregates=aggregates, sequences=[], has_ages=False))
    assert [found[str(hour)]["user_surface_history"] for hour in range(7)] == [[0], [1], [0], [2], [3], [0], [1]]
    assert [found[str(hour)]["user_duration_bucket_history"] for hour in range(7)] == [[0], [0], [1], [0], [2], [1], [0]]


def test_one_key_has_several_aggregates_each_with_its_refresh():
    aggregates = [
        {"key": ["user_id"], "windows": ["all"], "measures": ["impressions"], "refresh_hours": 24},
        {"key": ["user_id"], "name": "user_session", "windows": ["1h", "20m"], "measures": ["impressions"]},
        {"key": ["item_id"], "windows": ["all"], "measures": ["click_rate"], "refresh_hours": 24},
        {"key": ["item_id"], "name": "shown_today", "windows": ["1d"], "measures": ["impressions"]},
    ]
    config = data_config(aggregates=aggregates, sequences=[], has_ages=False, delay_seconds=0.0, prior={}, prior_impressions=1)
    now, minute, microsecond = 25.75, 1 / 60, 1 / HOUR_US
    shown = {"a": 23, "b": now - 1, "c": now - 20 * minute - microsecond, "d": now - 20 * minute, "e": now}
    rows = [row(name, hours) for name, hours in shown.items()]
    found = features_of(rows, [event(0, "click", 23.5), event(1, "click", 25.25)], config)
    # At midnight one impression and its click were known; a window's first moment is within it, and the one before is not.
    assert found["e"] == {"user_history": [1], "user_session": [3, 1], "item_history": [0.5], "shown_today": [4]}


def test_of_values_of_one_moment_the_lesser_comes_first():
    config = data_config(sequences=[{"name": "seen", "signal": "impression", "length": 3}])
    rows = [row("a", 1, item_id="z"), row("b", 1, item_id="x"), row("c", 0, item_id="w"), row("d", 1, item_id="y"), row("e", 9)]
    assert features_of(rows, [], config)["e"]["seen"] == ["x", "y", "z"]


def test_a_graded_impression_stands_in_a_sequence_once():
    satisfaction = {"weights": {"like": 0.25, "share": 0.5}, "threshold": "graded"}
    config = data_config(satisfaction=satisfaction, sequences=[{"name": "liked", "signal": "satisfaction"}])
    rows = [row("a", 0, item_id="i"), row("b", 0, item_id="j"), row("c", 9)]
    events = [event(0, "like", 1), event(1, "like", 2), event(0, "share", 3)]
    assert features_of(rows, events, config)["c"]["liked"] == ["j", "i"]


def test_a_mad_clock_does_not_disturb_the_others():
    rows = [row("a", 0), row("b", 1), row("c", 2)]
    mad = [*rows, row("y", -490_000), row("z", 2_000_000)]
    config = data_config(aggregates=[{"key": ["user_id"], "windows": ["1d"]}], sequences=[], has_ages=False)
    found = features_of(mad, [event(0, "click", 0.5)], config)
    assert {name: found[name] for name in "abc"} == features_of(rows, [event(0, "click", 0.5)], config)


def test_an_empty_partition_has_the_columns():
    table, events = row_table([]), event_table([])
    config = data_config()
    facts = facts_of(table, events, config)
    attached = attach_features(table, user_features(table, facts, config), {}, config)
    assert attached.num_rows == 0
    assert attached.schema == pa.schema([*table.schema, *history_fields(config.history)])
    keyed = keyed_facts(table, facts, "item_id", config).append_column("partition", pa.array([], pa.int32()))
    assert keyed_features(keyed, "item_id", config).num_rows == 0


def test_a_first_impression_has_the_empty_aggregate_to_the_bit():
    config = data_config()
    found = features_of(
        [row("a", author_id=None, tag=None, surface=None, duration=None)],
        [event(0, "click", -5), event(0, "play", 1, 3.0)],
        config,
    )["a"]
    for aggregate in config.history.aggregates[1:]:
        empty = np.array(empty_aggregate(aggregate, config.history), np.float32).tolist()
        assert found[aggregate_column(aggregate)] == empty
    assert (found["item_age_hours"], found["user_idle_hours"], found["last_clicked"]) == (None, None, [])


def test_rows_without_any_key_have_the_empty_aggregate():
    nothing = {"author_id": None, "tag": None, "surface": None, "duration": None}
    rows = [row(name, hours, **nothing) for hours, name in enumerate("abc")]
    config = data_config()
    found = features_of(rows, [event(0, "click", 0.5)], config)
    keyless = [one for one in config.history.aggregates if {"author_id", "tag", "surface", "duration_bucket"} & set(one.key)]
    assert len(keyless) == 7
    for values in found.values():
        for one in keyless:
            assert values[aggregate_column(one)] == np.array(empty_aggregate(one, config.history), np.float32).tolist()
    assert found["c"]["last_authors"] == []


def test_a_key_without_history_is_the_prior_exactly():
    chance = np.random.default_rng(3)
    aggregate = data_config(aggregates=[{"key": ["user_id"], "measures": ["click_rate"]}]).history.aggregates[0]
    nothing = facts_of(row_table([]), event_table([]), data_config())
    for prior, weight in chance.random((50, 2)):
        history = data_config(prior={"click_rate": prior}, prior_impressions=weight * 100 + 0.1).history
        found = aggregate_features(nothing, np.array([], np.int64), np.array([-1, 4]), np.array([0, at(0)]), aggregate, history)
        assert found.tolist() == np.full((2, 3), prior, np.float32).tolist()


def test_features_that_are_missing_or_told_twice_are_refused():
    table = row_table([row("a"), row("b", author_id=None)])
    config = data_config(aggregates=[{"key": ["author_id"]}], sequences=[], has_ages=False)
    facts = facts_of(table, event_table([]), config)
    keyed = keyed_facts(table, facts, "author_id", config).append_column("partition", pa.array([0], pa.int32()))
    found = keyed_features(keyed, "author_id", config)
    user_table = user_features(table, facts, config)
    with pytest.raises(ValueError, match=r"each row with a author_id must have its features once\. Received: row 0, 0 times"):
        attach_features(table, user_table, {}, config)
    with pytest.raises(ValueError, match=r"Received: row 0, 2 times"):
        attach_features(table, user_table, {"author_id": [found, found]}, config)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-01-01", 1_767_225_600_000 - 8 * 3_600_000),
        ("2026-01-01T00:00:00Z", 1_767_225_600_000),
        ("2026-01-01 00:00", 1_767_225_600_000),
        ("2026-01-01T08:00:00.5+08:00", 1_767_225_600_500),
        ("2026-01-01T08:00:00.0019999+0800", 1_767_225_600_001),
        ("2025-12-31T19:00:00-05", 1_767_225_600_000),
        ("2026-13-01", None),
        ("2026-02-30T00:00:00Z", None),
        ("0001-01-01", -62_135_596_800_000 - 29_143_000),
        ("now", None),
        ("1767225600000", None),
        ("", None),
        (None, None),
    ],
)
def test_published_texts(text, expected):
    assert published_at_ms(pa.array([text], pa.string()), "Asia/Shanghai").to_pylist() == [expected]


def test_published_numbers_are_milliseconds():
    assert published_at_ms(pa.array([5, None, 5]), "UTC").to_pylist() == [5, None, 5]
    numbers = pa.array([2.5, float("nan"), float("inf"), None], pa.float32())
    assert published_at_ms(numbers, "UTC").to_pylist() == [2, None, None, None]


def test_an_age_is_never_negative():
    ages = hours_between(pa.array([0, 7_200_000, None]), np.array([1_800_000, 3_600_000, 0]))
    assert ages.type == pa.float32()
    assert ages.to_pylist() == [0.5, 0.0, None]
