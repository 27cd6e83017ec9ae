import pyarrow as pa
import pytest

from data.attribution import attribute, fill_users
from data.schema import ENGAGEMENT_SCHEMA, LABELS, mask_name
from tests.unit.data.rows import at, data_config, engagement, engagement_table, impression, impression_table, microseconds

LABEL_COLUMNS = [name for label in LABELS for name in (label, mask_name(label))]
HOUR = 3600
DAY = 24 * HOUR


def attributed(impressions, engagements, watermark=None, **keys):
    tables = impression_table(impressions), engagement_table(engagements)
    return attribute(*tables, data_config(**keys), microseconds(watermark))


def labels_of(result):
    return {row["impression_id"]: {name: row[name] for name in LABEL_COLUMNS} for row in result.rows.to_pylist()}


def fates(result):
    """Reasons of engagements that occurred, and how often."""
    prefix = "engagements_"
    return {key.removeprefix(prefix): n for key, n in result.counts.items() if key.startswith(prefix) and n}


def clicked_ids(result):
    return [row["impression_id"] for row in result.rows.to_pylist() if row["click"]]


def test_by_impression_id():
    result = attributed(
        [impression("b"), impression("a")],
        [
            engagement("1", "click", user_id="u", impression_id="a"),
            engagement("2", "like", user_id="u", impression_id="a", seconds=2),
        ],
    )
    assert labels_of(result)["a"] == {**dict.fromkeys(LABEL_COLUMNS, 1.0), "watch_seconds": 0.0}
    assert labels_of(result)["b"] == dict(zip(LABEL_COLUMNS, [0.0, 1.0] * 3, strict=True))
    assert result.events.to_pylist() == [
        {"row": 0, "kind": "click", "engaged_at": at(1), "watch_seconds": None, "score": None},
        {"row": 0, "kind": "like", "engaged_at": at(2), "watch_seconds": None, "score": None},
    ]


def test_columns_of_rows():
    table = impression_table([impression("a")]).append_column("slot", pa.array(["top"]))
    rows = attribute(table, engagement_table([]), data_config(context_columns={"slot": "string"}), None).rows
    assert rows.schema.names == [*table.schema.names, *rows.schema.names[len(table.schema.names) :]]
    assert {name: rows.schema.field(name).type for name in LABEL_COLUMNS} == dict.fromkeys(LABEL_COLUMNS, pa.float32())
    assert rows.schema.field("is_dropped").type == pa.bool_()


def test_an_impression_id_wins_over_the_item():
    events = [engagement("1", "click", user_id="u", item_id="i", impression_id="b")]
    assert clicked_ids(attributed([impression("a"), impression("b", item_id="j")], events)) == ["b"]


def test_an_impression_is_one_users_own():
    shown = [impression("a", user_id="v"), impression("a", user_id="u")]
    result = attributed(shown, [engagement("1", "click", user_id="v", impression_id="a")])
    assert [(row["user_id"], row["click"]) for row in result.rows.to_pylist()] == [("u", 0.0), ("v", 1.0)]
    assert result.counts["impressions_duplicate"] == 0
    strangers = attributed([impression("a", user_id="v")], [engagement("1", "click", user_id="u", impression_id="a")])
    assert fates(strangers) == {"without_impression": 1}


@pytest.mark.parametrize(
    ("seconds", "expected", "fate"),
    [
        (9, None, "before_impression"),
        (10, "a", "attributed"),
        (19, "a", "attributed"),
        (20, "b", "attributed"),
        (20 + HOUR, "b", "attributed"),
        (21 + HOUR, None, "beyond_window"),
    ],
)
def test_last_touch(seconds, expected, fate):
    result = attributed(
        [impression("a", seconds=10), impression("b", seconds=20), impression("c", item_id="other", seconds=20)],
        [engagement("1", "click", seconds=seconds, user_id="u", item_id="i")],
        attribution={"window_hours": {"click": 1}},
    )
    assert clicked_ids(result) == ([expected] if expected else [])
    assert fates(result) == {fate: 1}


def test_last_touch_of_two_at_one_moment_is_the_greater_id():
    events = [engagement("1", "click", user_id="u", item_id="i")]
    assert clicked_ids(attributed([impression("b"), impression("a")], events)) == ["b"]


@pytest.mark.parametrize(("clock_skew_seconds", "expected"), [(2, "b"), (1, "a")])
def test_last_touch_is_late_by_the_clock_skew(clock_skew_seconds, expected):
    result = attributed(
        [impression("a", seconds=10), impression("b", seconds=20)],
        [engagement("1", "click", seconds=18, user_id="u", item_id="i")],
        attribution={"clock_skew_seconds": clock_skew_seconds},
    )
    assert clicked_ids(result) == [expected]


@pytest.mark.parametrize(("user_id", "item_id"), [("u", "j"), ("v", "i")])
def test_last_touch_needs_user_and_item(user_id, item_id):
    result = attributed([impression("a")], [engagement("1", "click", user_id=user_id, item_id=item_id)])
    assert fates(result) == {"without_impression": 1}


@pytest.mark.parametrize("target", [{"impression_id": "a"}, {"item_id": "i"}])
@pytest.mark.parametrize(
    ("kind", "seconds", "fate"),
    [
        ("click", 95, "attributed"),
        ("click", 94, "before_impression"),
        ("click", 100 + HOUR // 2, "attributed"),
        ("click", 101 + HOUR // 2, "beyond_window"),
        ("like", 100 + DAY, "attributed"),
        ("like", 101 + DAY, "beyond_window"),
        ("play", 101 + DAY, "beyond_window"),
        ("survey", 100 + 7 * DAY, "attributed"),
        ("survey", 101 + 7 * DAY, "beyond_window"),
        ("hide", 100 + 2 * HOUR, "attributed"),
        ("hide", 101 + 2 * HOUR, "beyond_window"),
        ("share", 100 + 1000 * DAY, "attributed"),
    ],
)
def test_window_of_each_kind_and_clock_skew(target, kind, seconds, fate):
    result = attributed(
        [impression("a", seconds=100)],
        [engagement("1", kind, seconds=seconds, user_id="u", watch_seconds=1.0, score=1.0, **target)],
        attribution={"clock_skew_seconds": 5, "window_hours": {"hide": 2, "share": 10_000_000.0}},
    )
    assert fates(result) == {fate: 1}


def test_an_unknown_impression_id_is_no_last_touch():
    result = attributed([impression("a")], [engagement("1", "click", user_id="u", item_id="i", impression_id="z")])
    assert fates(result) == {"without_impression": 1}


def test_plays_add_up_and_repeated_events_do_not():
    first = engagement("1", "play", user_id="u", impression_id="a", watch_seconds=2.5)
    second = engagement("2", "play", user_id="u", impression_id="a", watch_seconds=4.0, seconds=2)
    result = attributed([impression("a")], [first, first, second])
    assert labels_of(result)["a"]["watch_seconds"] == 6.5
    assert fates(result) == {"attributed": 2, "duplicate": 1}


def test_of_one_event_id_the_earliest_stays_then_the_least():
    def play(seconds, watch_seconds):
        return engagement("1", "play", seconds=seconds, user_id="u", impression_id="a", watch_seconds=watch_seconds)

    result = attributed([impression("a")], [play(2, 1.0), play(1, 9.0), play(1, 5.0)])
    assert result.events.column("watch_seconds").to_pylist() == [5.0]
    assert fates(result) == {"attributed": 1, "duplicate": 2}


@pytest.mark.parametrize(
    ("other", "num_duplicates"),
    [
        ({}, 1),
        ({"user_id": "v"}, 0),
        ({"kind": "like"}, 0),
        ({"seconds": 2}, 0),
        ({"item_id": "j"}, 0),
        ({"impression_id": "a"}, 0),
    ],
)
def test_one_delivery_under_two_event_ids(other, num_duplicates):
    event = {"kind": "click", "user_id": "u", "item_id": "i", "seconds": 1}
    result = attributed([impression("a")], [engagement("1", **event), engagement("2", **{**event, **other})])
    assert result.counts["engagements_duplicate"] == num_duplicates


def test_one_event_id_of_two_users_is_two_events():
    shown = [impression("a"), impression("b", user_id="v")]
    result = attributed(shown, [engagement("1", "click", user_id=user, item_id="i") for user in "uv"])
    assert clicked_ids(result) == ["a", "b"]


def test_of_repeated_impressions_the_earliest_stays_then_the_least():
    shown = [
        impression("a", seconds=5, surface="late"),
        impression("a", seconds=3, surface="second"),
        impression("a", seconds=3, surface=None),
        impression("a", seconds=3, surface="first"),
    ]
    result = attributed(shown, [])
    assert result.rows["surface"].to_pylist() == ["first"]
    assert result.counts["impressions_duplicate"] == 3


def test_nothing_in_nothing_out():
    result = attributed([], [])
    assert (result.rows.num_rows, result.events.num_rows, set(result.counts.values())) == (0, 0, {0})
    assert fates(attributed([], [engagement("1", "click", user_id="u", item_id="i")])) == {"without_impression": 1}


def test_an_unknown_kind_is_an_error():
    with pytest.raises(ValueError, match=r"kind must be one of click, play.* Received: poke"):
        attributed([impression("a")], [engagement("1", "poke", user_id="u", item_id="i")])


def test_long_logs():
    # Times too far apart to be packed with pairs of user and item into one sort key; two items are shown, then clicked.
    starts = [(n // 2) * 60_000_000 + n % 2 - 60_000_000_000 for n in range(3_000)]
    shown = [impression(str(n), item_id=str(n % 1_500), seconds=start) for n, start in enumerate(starts)]
    engaged = [engagement(str(n), "click", start + 10, user_id="u", item_id=str(n % 1_500)) for n, start in enumerate(starts)]
    assert len(clicked_ids(attributed(shown, engaged))) == 3_000


def test_two_signals_at_one_moment_are_in_order_of_their_amounts():
    plays = [
        engagement("1", "play", user_id="u", item_id="i", impression_id="a", watch_seconds=3.0),
        engagement("2", "play", user_id="u", item_id="i", watch_seconds=2.0),
    ]
    for events in (plays, plays[::-1]):
        result = attributed([impression("a")], events)
        assert result.events["watch_seconds"].to_pylist() == [2.0, 3.0]
        assert result.rows["watch_seconds"].to_pylist() == [5.0]


@pytest.mark.parametrize(
    ("satisfaction", "signals", "expected", "mask"),
    [
        ({}, ["like"], 1.0, 1.0),
        ({}, ["hide"], 0.0, 1.0),
        ({"weights": {"like": 1, "hide": -1}}, ["like", "hide"], 0.0, 1.0),
        ({"weights": {"share": 1}}, ["like"], 0.0, 1.0),
        ({"weights": {"click": 0.7, "like": 0.2, "share": 0.1}}, ["click", "like", "share"], 1.0, 1.0),
        ({"weights": {"click": 0.7, "like": 0.2, "share": 0.1}}, ["like", "share"], 0.0, 1.0),
        ({"weights": {"like": 0.25, "share": 0.5}, "threshold": "graded"}, ["like", "share"], 0.75, 1.0),
        ({"weights": {"like": 3, "hide": -1}, "threshold": "graded"}, ["like", "hide"], 1.0, 1.0),
        ({"weights": {"like": 3, "hide": -1}, "threshold": "graded"}, ["hide"], 0.0, 1.0),
        ({"known": "clicked"}, ["like"], 1.0, 0.0),
        ({"known": "clicked"}, ["click"], 0.0, 1.0),
        ({"known": "surveyed"}, ["survey"], 0.0, 1.0),
        ({"known": "surveyed"}, ["like"], 1.0, 0.0),
        ({"survey_weight": 1, "survey_neutral": 3}, ["survey"], 1.0, 1.0),
        ({"survey_weight": 1, "survey_neutral": 3.5}, ["survey"], 0.0, 1.0),
        ({"survey_weight": 0.5, "survey_neutral": 3, "threshold": "graded"}, ["survey"], 0.5, 1.0),
    ],
)
def test_satisfaction(satisfaction, signals, expected, mask):
    events = [
        engagement(kind, kind, user_id="u", impression_id="a", score=4.0 if kind == "survey" else None) for kind in signals
    ]
    (row,) = attributed([impression("a")], events, satisfaction=satisfaction).rows.to_pylist()
    assert (row["satisfaction"], row["satisfaction_mask"]) == (expected, mask)


def test_of_several_surveys_the_highest_counts_and_likes_count_once():
    events = [engagement(str(n), "survey", n, user_id="u", impression_id="a", score=float(n)) for n in (1, 4, 2)]
    events += [engagement(f"like{n}", "like", n, user_id="u", impression_id="a") for n in (1, 2, 3)]
    definition = {"weights": {"like": 0.25}, "survey_weight": 0.5, "survey_neutral": 3.5, "threshold": "graded"}
    (row,) = attributed([impression("a")], events, satisfaction=definition).rows.to_pylist()
    assert row["satisfaction"] == 0.5


def test_watch_known_only_where_clicked():
    shown = [impression("a"), impression("b")]
    result = attributed(shown, [engagement("1", "click", user_id="u", impression_id="b")], watch_known="clicked")
    assert result.rows["watch_seconds_mask"].to_pylist() == [0.0, 1.0]


MASKS = [mask_name(label) for label in LABELS]


@pytest.mark.parametrize(
    ("watermark", "masks"),
    [
        (None, [1.0, 1.0, 1.0]),
        (-1, [0.0, 0.0, 0.0]),
        (HOUR // 2 - 1, [0.0, 0.0, 0.0]),
        (HOUR // 2, [1.0, 0.0, 0.0]),
        (DAY, [1.0, 1.0, 0.0]),
        (7 * DAY - 1, [1.0, 1.0, 0.0]),
        (7 * DAY, [1.0, 1.0, 1.0]),
    ],
)
@pytest.mark.parametrize("delayed", ["mask", "drop", "weight"])
def test_open_labels(delayed, watermark, masks):
    (row,) = attributed(
        [impression("a")],
        [engagement("1", "click", user_id="u", impression_id="a"), engagement("2", "like", user_id="u", impression_id="a")],
        watermark=None if watermark is None else at(watermark),
        attribution={"delayed": delayed},
        satisfaction={"survey_weight": 0.1},
    ).rows.to_pylist()
    assert [row[mask] for mask in MASKS] == ([1.0] * 3 if delayed == "weight" else masks)
    assert row["is_dropped"] == (delayed == "drop" and 0.0 in masks)


@pytest.mark.parametrize(
    ("satisfaction", "hours"),
    [
        ({"weights": {"like": 1, "hide": 0}}, 24),
        ({"weights": {"like": 1, "hide": -1}}, 48),
        ({"weights": {"click": 1}}, 0.5),
        ({"weights": {"click": 1}, "known": "surveyed"}, 168),
        ({"weights": {}, "survey_weight": -1.0}, 168),
    ],
)
def test_satisfaction_is_open_as_long_as_a_signal_that_it_reads(satisfaction, hours):
    for seconds, mask in ((hours * HOUR - 1, 0.0), (hours * HOUR, 1.0)):
        result = attributed(
            [impression("a")],
            [engagement("1", "survey", user_id="u", impression_id="a", score=1.0)],
            watermark=at(seconds),
            attribution={"window_hours": {"hide": 48}},
            satisfaction=satisfaction,
        )
        assert result.rows["satisfaction_mask"].to_pylist() == [mask]


def test_weighted_labels_are_those_seen_at_the_watermark():
    events = [engagement("1", "click", 100, user_id="u", impression_id="a")]
    for seconds, expected in ((99, 0.0), (100, 1.0)):
        result = attributed([impression("a")], events, watermark=at(seconds), attribution={"delayed": "weight"})
        assert result.rows["click"].to_pylist() == [expected]
        assert fates(result) == {"attributed": 1}


def test_fill_users():
    shown = impression_table(
        [
            impression("a", user_id="late", item_id="x", seconds=9),
            impression("a", user_id="v", item_id="y", seconds=5),
            impression("a", user_id="u", item_id="z", seconds=5),
            impression("b", user_id="w", item_id="k"),
        ]
    )
    events = engagement_table([engagement(str(n), "click", impression_id=id_) for n, id_ in enumerate("bacab")])
    filled, counts = fill_users(shown.select(["impression_id", "user_id", "item_id", "impressed_at"]), events)
    assert filled.schema == ENGAGEMENT_SCHEMA
    assert filled["event_id"].to_pylist() == ["0", "1", "3", "4"]
    assert filled["user_id"].to_pylist() == ["w", "u", "u", "w"]
    assert filled["item_id"].to_pylist() == ["k", "z", "z", "k"]
    assert counts == {"engagements_without_impression": 1, "engagements_duplicate": 0}
    # Two name one impression, kind and time, and so do another two.
    assert fill_users(shown.slice(0, 0), events)[1] == {"engagements_without_impression": 3, "engagements_duplicate": 2}
