import collections

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data.attribution import attribute, fill_users
from data.schema import LABELS, EngagementKind
from tests.unit.data import oracle
from tests.unit.data.rows import at, data_config, engagement, engagement_table, impression, impression_table, microseconds

HOUR = 3600

ids = st.sampled_from(["a", "b", "c", "d"])
users = st.sampled_from(["u", "v", "w"])
items = st.sampled_from(["i", "j"])
impressions_strategy = st.lists(
    st.builds(
        impression,
        ids,
        user_id=users,
        item_id=items,
        seconds=st.integers(0, 5),
        surface=st.sampled_from([None, "x", "y"]),
        position=st.sampled_from([None, 1, 2]),
    ),
    max_size=10,
)


@st.composite
def engagements(draw):
    kind = draw(st.sampled_from([kind.value for kind in EngagementKind]))
    return engagement(
        draw(st.sampled_from("123456789")),
        kind,
        seconds=draw(st.integers(0, 8)),
        impression_id=draw(st.one_of(st.none(), ids, st.just("z"))),
        user_id=draw(users),
        item_id=draw(items),
        watch_seconds=draw(st.sampled_from([0.0, 0.1, 0.7, 3.3])) if kind == "play" else None,
        score=draw(st.integers(1, 5).map(float)) if kind == "survey" else None,
    )


weights = st.sampled_from([-0.7, -0.1, 0.0, 0.1, 0.2, 0.7, 1.0])
satisfactions = st.fixed_dictionaries(
    {
        "weights": st.dictionaries(st.sampled_from(["click", "play", "share", "hide"]), weights).map(
            lambda w: {"like": 0.7, **w}
        ),
        "survey_weight": st.sampled_from([0.0, 0.1, -0.2]),
        "survey_neutral": st.sampled_from([0.0, 3.0]),
        "threshold": st.sampled_from(["graded", 0.7, 1.0]),
        "known": st.sampled_from(["all", "clicked", "surveyed"]),
    }
)
attributions = st.fixed_dictionaries(
    {
        "window_hours": st.dictionaries(
            st.sampled_from([kind.value for kind in EngagementKind]), st.integers(1, 6).map(lambda seconds: seconds / HOUR)
        ),
        "clock_skew_seconds": st.sampled_from([0.0, 1.0, 2.0]),
        "delayed": st.sampled_from(["mask", "drop", "weight"]),
    }
)
configs = st.builds(
    lambda satisfaction, attribution, watch_known: data_config(
        satisfaction=satisfaction, attribution=attribution, watch_known=watch_known
    ),
    satisfactions,
    attributions,
    st.sampled_from(["all", "clicked"]),
)
watermarks = st.one_of(st.none(), st.integers(-1, 10).map(at))


def events_by_key(result):
    keys = [(row["impression_id"], row["user_id"]) for row in result.rows.to_pylist()]
    events = {key: [] for key in keys}
    for event in result.events.to_pylist():
        events[keys[event.pop("row")]].append(event)
    return events


@settings(max_examples=200, deadline=None)
@given(impressions_strategy, st.lists(engagements(), max_size=14), configs, watermarks)
def test_agrees_with_the_oracle(impression_rows, engagement_rows, config, watermark):
    tables = impression_table(impression_rows), engagement_table(engagement_rows)
    result = attribute(*tables, config, microseconds(watermark))
    expected, expected_events, counts = oracle.attribute(impression_rows, engagement_rows, config, watermark)
    found = {(row["impression_id"], row["user_id"]): row for row in result.rows.to_pylist()}
    assert list(found) == list(expected)
    for key, row in expected.items():
        labels = {name: pytest.approx(row[name], rel=1e-6) for name in LABELS}
        assert found[key] == {**row, **labels}
    names = ("kind", "engaged_at", "watch_seconds", "score")
    assert events_by_key(result) == {
        key: [{name: event[name] for name in names} for event in events] for key, events in expected_events.items()
    }
    assert result.events["row"].to_pylist() == sorted(result.events["row"].to_pylist())
    assert result.counts == counts
    assert result.rows.num_rows + counts["impressions_duplicate"] == len(impression_rows)
    assert sum(number for name, number in counts.items() if name.startswith("engagements_")) == len(engagement_rows)


@settings(max_examples=100, deadline=None)
@given(
    impressions_strategy,
    st.lists(engagements(), max_size=14),
    configs,
    watermarks,
    st.randoms(use_true_random=False),
)
def test_order_and_repeats_and_chunks_change_nothing(impression_rows, engagement_rows, config, watermark, random):
    tables = impression_table(impression_rows), engagement_table(engagement_rows)
    once = attribute(*tables, config, microseconds(watermark))
    repeated = [rows + random.choices(rows, k=len(rows)) if rows else [] for rows in (impression_rows, engagement_rows)]
    for rows in repeated:
        random.shuffle(rows)
    halves = [
        pa.concat_tables([table_of(rows[: len(rows) // 2]), table_of(rows[len(rows) // 2 :])])
        for table_of, rows in zip((impression_table, engagement_table), repeated, strict=True)
    ]
    again = attribute(*halves, config, microseconds(watermark))
    assert again.rows.equals(once.rows)
    assert again.events.equals(once.events)
    duplicates = {"impressions_duplicate": len(impression_rows), "engagements_duplicate": len(engagement_rows)}
    assert again.counts == {name: number + duplicates.get(name, 0) for name, number in once.counts.items()}


@settings(max_examples=100, deadline=None)
@given(
    impressions_strategy,
    st.lists(engagements(), max_size=14),
    configs,
    watermarks,
    st.fixed_dictionaries({user: st.integers(0, 2) for user in "uvw"}),
)
def test_any_split_by_user_changes_nothing(impression_rows, engagement_rows, config, watermark, part_by_user):
    tables = impression_table(impression_rows), engagement_table(engagement_rows)
    whole = attribute(*tables, config, microseconds(watermark))
    rows, events, counts = {}, {}, collections.Counter(dict.fromkeys(whole.counts, 0))
    for part in range(3):
        part_tables = [
            table_of([row for row in table if part_by_user[row["user_id"]] == part])
            for table_of, table in ((impression_table, impression_rows), (engagement_table, engagement_rows))
        ]
        result = attribute(*part_tables, config, microseconds(watermark))
        rows |= {(row["impression_id"], row["user_id"]): row for row in result.rows.to_pylist()}
        events |= events_by_key(result)
        counts.update(result.counts)
    assert [rows[key] for key in sorted(rows)] == whole.rows.to_pylist()
    assert events == events_by_key(whole)
    assert counts == whole.counts


@settings(max_examples=100, deadline=None)
@given(impressions_strategy, st.lists(engagements(), max_size=14))
def test_fill_users_agrees_with_the_oracle(impression_rows, engagement_rows):
    nameless = [{**row, "user_id": None, "item_id": None} for row in engagement_rows if row["impression_id"] is not None]
    filled, counts = fill_users(impression_table(impression_rows), engagement_table(nameless))
    assert (filled.to_pylist(), counts) == oracle.fill_users(impression_rows, nameless)
