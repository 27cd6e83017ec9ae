import dataclasses

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data.attribution import attribute
from data.schema import LABELS, EngagementKind, mask_name
from tests.unit.data import oracle
from tests.unit.data.rows import data_config, engagement, engagement_table, impression, impression_table

LABEL_COLUMNS = [name for label in LABELS for name in (label, mask_name(label))]


def labels_of(rows):
    return {row["impression_id"]: {name: row[name] for name in LABEL_COLUMNS} for row in rows.to_pylist()}


def attributed(impressions, engagements, **keys):
    return attribute(impression_table(impressions), engagement_table(engagements), data_config(**keys))


def test_by_impression_id():
    result = attributed(
        [impression("a"), impression("b")],
        [engagement("1", "click", impression_id="a"), engagement("2", "like", impression_id="a")],
    )
    assert labels_of(result.rows)["a"]["click"] == 1.0
    assert labels_of(result.rows)["a"]["satisfaction"] == 1.0
    assert labels_of(result.rows)["b"] == dict(zip(LABEL_COLUMNS, [0.0, 1.0] * 3, strict=True))


def test_an_impression_id_wins_over_user_and_item():
    result = attributed(
        [impression("a", user_id="u"), impression("b", user_id="v")],
        [engagement("1", "click", impression_id="b", user_id="u", item_id="i")],
    )
    assert [row["click"] for row in result.rows.to_pylist()] == [0.0, 1.0]


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [(9, None), (10, "a"), (19, "a"), (20, "b"), (20 + 3600, "b"), (21 + 3600, None)],
)
def test_last_touch(seconds, expected):
    result = attributed(
        [impression("a", seconds=10), impression("b", seconds=20), impression("c", item_id="other", seconds=20)],
        [engagement("1", "click", seconds=seconds, user_id="u", item_id="i")],
        last_touch_window_hours=1.0,
    )
    clicked = [row["impression_id"] for row in result.rows.to_pylist() if row["click"]]
    assert clicked == ([expected] if expected else [])
    assert result.num_engagements_unattributed == (expected is None)


def test_plays_add_up_and_repeated_events_do_not():
    result = attributed(
        [impression("a")],
        [
            engagement("1", "play", impression_id="a", watch_seconds=2.5),
            engagement("1", "play", impression_id="a", watch_seconds=2.5),
            engagement("2", "play", impression_id="a", watch_seconds=4.0),
        ],
    )
    assert labels_of(result.rows)["a"]["watch_seconds"] == 6.5
    assert result.num_engagements_duplicate == 1


def test_of_repeated_impressions_the_earliest_stays():
    result = attributed([impression("a", seconds=5, surface="late"), impression("a", seconds=3, surface="early")], [])
    assert result.rows["surface"].to_pylist() == ["early"]
    assert result.num_impressions_duplicate == 1


def test_events_of_unknown_impressions_are_counted():
    result = attributed([impression("a")], [engagement("1", "click", impression_id="z", user_id="u", item_id="i")])
    assert result.num_engagements_unattributed == 1
    assert result.num_engagements_attributed == 0


def test_nothing_in_nothing_out():
    result = attributed([], [])
    assert result.rows.num_rows == 0
    assert attributed([], [engagement("1", "click", user_id="u", item_id="i")]).num_engagements_unattributed == 1


@pytest.mark.parametrize(
    ("satisfaction", "signals", "expected", "mask"),
    [
        ({}, ["like"], 1.0, 1.0),
        ({}, ["hide"], 0.0, 1.0),
        ({"negative": ["hide"]}, ["like", "hide"], 0.0, 1.0),
        ({"positive": ["share"]}, ["like"], 0.0, 1.0),
        ({"known": "clicked"}, ["like"], 1.0, 0.0),
        ({"known": "clicked"}, ["click"], 0.0, 1.0),
        ({"known": "surveyed"}, ["survey"], 0.0, 1.0),
        ({"known": "surveyed"}, ["like"], 1.0, 0.0),
        ({"survey_at_least": 4.0}, ["survey"], 1.0, 1.0),
        ({"survey_at_least": 4.5}, ["survey"], 0.0, 1.0),
    ],
)
def test_satisfaction(satisfaction, signals, expected, mask):
    events = [engagement(kind, kind, impression_id="a", score=4.0 if kind == "survey" else None) for kind in signals]
    (row,) = attributed([impression("a")], events, satisfaction=satisfaction).rows.to_pylist()
    assert (row["satisfaction"], row["satisfaction_mask"]) == (expected, mask)


def test_watch_known_only_where_clicked():
    rows = attributed(
        [impression("a"), impression("b")], [engagement("1", "click", impression_id="b")], watch_known="clicked"
    ).rows
    assert rows["watch_seconds_mask"].to_pylist() == [0.0, 1.0]


ids = st.sampled_from(["a", "b", "c", "d"])
impressions_strategy = st.lists(
    st.builds(
        impression,
        ids,
        user_id=st.sampled_from(["u", "v"]),
        item_id=st.sampled_from(["i", "j"]),
        seconds=st.integers(0, 5),
        surface=st.sampled_from([None, "x", "y"]),
    ),
    max_size=8,
)


@st.composite
def engagements(draw):
    kind = draw(st.sampled_from([kind.value for kind in EngagementKind]))
    pair = {"user_id": draw(st.sampled_from(["u", "v"])), "item_id": draw(st.sampled_from(["i", "j"]))}
    return engagement(
        draw(st.sampled_from("1234567")),
        kind,
        seconds=draw(st.integers(0, 8)),
        impression_id=draw(st.one_of(st.none(), ids)),
        watch_seconds=draw(st.sampled_from([0.0, 0.1, 0.7, 3.3])) if kind == "play" else None,
        score=draw(st.integers(1, 5).map(float)) if kind == "survey" else None,
        **pair,
    )


configs = st.builds(
    lambda known, watch_known, negative: data_config(
        satisfaction={"known": known, "negative": negative, "survey_at_least": 4.0},
        watch_known=watch_known,
        last_touch_window_hours=3 / 3600,
    ),
    st.sampled_from(["all", "clicked", "surveyed"]),
    st.sampled_from(["all", "clicked"]),
    st.sampled_from([[], ["hide"]]),
)


@settings(max_examples=150, deadline=None)
@given(impressions_strategy, st.lists(engagements(), max_size=12), configs, st.randoms(use_true_random=False))
def test_agrees_with_the_oracle_in_any_order(impression_rows, engagement_rows, config, random):
    result = attribute(impression_table(impression_rows), engagement_table(engagement_rows), config)
    labels, counts = oracle.attribute(impression_rows, engagement_rows, config)
    found = labels_of(result.rows)
    assert {key: {n: pytest.approx(v, rel=1e-6) for n, v in row.items()} for key, row in labels.items()} == found
    assert counts == {name: value for name, value in dataclasses.asdict(result).items() if name != "rows"}
    random.shuffle(impression_rows)
    random.shuffle(engagement_rows)
    shuffled = attribute(impression_table(impression_rows), engagement_table(engagement_rows), config)
    assert shuffled.rows.equals(result.rows)
