import dataclasses

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data.attribution import attribute
from data.config import DataConfig
from data.delays import (
    DELAY_EDGES_SECONDS,
    MAX_WEIGHT,
    DelayCounts,
    DelayEstimateError,
    LabelDelays,
    delay_counts,
    label_weights,
)
from data.labels import microseconds_of
from data.schema import LABELS, weight_name
from tests.unit.data import oracle
from tests.unit.data.rows import at, data_config, engagement, engagement_table, impression, impression_table, microseconds
from tests.unit.data.test_attribution_properties import configs, engagements, impressions_strategy, watermarks

HOUR = 3600
WINDOW_SECONDS = 24 * HOUR
RATE = 0.3


def weighted_config(**keys):
    return data_config(attribution={"delayed": "weight", "window_hours": {"click": 24}}, **keys)


def attributed(impressions, engagements, config, watermark):
    return attribute(impression_table(impressions), engagement_table(engagements), config, microseconds(watermark))


def histogram_of(delays):
    """Plain count: place of a delay is the number of edges below it."""
    histogram = [0] * (len(DELAY_EDGES_SECONDS) + 1)
    for delay in delays:
        histogram[sum(edge < delay for edge in DELAY_EDGES_SECONDS)] += 1
    return tuple(histogram)


def counts_of(delays, num_closed):
    """The same `LabelDelays` for every label."""
    return DelayCounts({label: LabelDelays(num_closed, histogram_of(delays)) for label in LABELS})


@dataclasses.dataclass(frozen=True)
class SeenFeed:
    """Four days of clicks, exponentially late within a window of a day, as seen at the end of the fourth day."""

    rows: pa.Table
    events: pa.Table
    counts: DelayCounts
    config: DataConfig
    watermark_us: int
    age_hours: np.ndarray
    is_clicked_in_the_end: np.ndarray

    def click_weights(self):
        weights = label_weights(self.rows, self.counts, self.config, self.watermark_us)
        return np.asarray(self.rows["click"]), weights[weight_name("click")]


@pytest.fixture(scope="module")
def feed():
    random = np.random.default_rng(7)
    num_rows, seen_until = 20_000, 4 * 24 * HOUR
    shown = random.integers(0, seen_until, num_rows)
    delays = random.exponential(5 * HOUR, 2 * num_rows)
    delays = delays[delays <= WINDOW_SECONDS][:num_rows]
    is_clicked = random.random(num_rows) < RATE
    impressions = [impression(f"{n:05d}", user_id=str(n % 50), seconds=int(s)) for n, s in enumerate(shown)]
    clicks = [
        engagement(str(n), "click", float(shown[n] + delays[n]), user_id=str(n % 50), impression_id=f"{n:05d}")
        for n in np.flatnonzero(is_clicked & (shown + delays <= seen_until))
    ]
    config = weighted_config(satisfaction={"weights": {"click": 1}})
    watermark_us = microseconds(at(seen_until))
    result = attributed(impressions, clicks, config, at(seen_until))
    counts = delay_counts(result.rows, result.events, config, watermark_us)
    age_hours = (seen_until - shown) / HOUR
    return SeenFeed(result.rows, result.events, counts, config, watermark_us, age_hours, is_clicked)


def test_the_weighted_rate_of_open_rows_is_right_where_others_are_biased(feed):
    is_young = feed.age_hours < 24
    labels, weights = (values[is_young] for values in feed.click_weights())
    # Four standard errors of the weighted mean.
    tolerance = 4 * np.std(weights * (labels - RATE)) / np.sqrt(len(labels))
    assert tolerance < 0.05
    assert np.average(labels, weights=weights) == pytest.approx(RATE, abs=tolerance)
    # As if what has not come would not come:
    assert labels.mean() < RATE - 2 * tolerance
    # Positives at once and negatives when their window has closed:
    is_kept = ~is_young | (np.asarray(feed.rows["click"]) > 0)
    assert np.asarray(feed.rows["click"])[is_kept].mean() > RATE + tolerance
    assert np.mean(feed.is_clicked_in_the_end) == pytest.approx(RATE, abs=0.02)


def test_the_weighted_rate_is_right_at_every_age(feed):
    labels, weights = feed.click_weights()
    for youngest, oldest in ((1, 4), (4, 8), (8, 14), (14, 24)):
        part = (feed.age_hours > youngest) & (feed.age_hours < oldest)
        tolerance = 4 * np.std(weights[part] * (labels[part] - RATE)) / np.sqrt(part.sum())
        assert tolerance < 0.15
        assert np.average(labels[part], weights=weights[part]) == pytest.approx(RATE, abs=tolerance)


def test_closed_rows_weigh_one(feed):
    weights = label_weights(feed.rows, feed.counts, feed.config, feed.watermark_us)
    assert list(weights) == [weight_name(label) for label in LABELS]
    assert {values.dtype for values in weights.values()} == {np.dtype(np.float32)}
    assert (weights[weight_name("click")][feed.age_hours >= 24] == 1).all()
    assert (weights[weight_name("click")][feed.age_hours < 23] != 1).all()
    # Satisfaction is here the click itself.
    assert (weights[weight_name("satisfaction")] == weights[weight_name("click")]).all()


def test_a_complete_log_weighs_one(feed):
    assert all((values == 1).all() for values in label_weights(feed.rows, DelayCounts(), feed.config, None).values())


@pytest.mark.parametrize(
    ("age_seconds", "is_clicked", "expected"),
    [
        (1024, True, 2.0),
        (1024, False, 0.75 / (1 - 0.25 * 0.5)),
        (1536, True, 1 / 0.75),
        (1536, False, 0.75 / (1 - 0.25 * 0.75)),
        (2048, True, 1.0),
        (2048, False, 1.0),
        (880, True, 0.0),
        (880, False, 0.0),
        (10, True, 0.0),
        (10, False, 0.0),
        (0, False, 0.0),
        (-5, False, 0.0),
        (WINDOW_SECONDS - 1, False, 1.0),
        (WINDOW_SECONDS, False, 1.0),
    ],
)
def test_weights_by_age(age_seconds, is_clicked, expected):
    # Half of the positives come by the edge of 1024 s, the others evenly up to that of 2048 s; 3 of 4 rows are negative.
    edge = DELAY_EDGES_SECONDS.index(1024.0)
    counts = [0] * (len(DELAY_EDGES_SECONDS) + 1)
    edges = np.array(DELAY_EDGES_SECONDS[edge : edge + 5])
    counts[edge + 1 : edge + 5] = (np.diff(edges) / 1024 * 1_000_000).round().astype(int).tolist()
    counts[edge] = sum(counts)
    delays = LabelDelays(4 * sum(counts), tuple(counts))
    config = weighted_config()
    clicks = [engagement("1", "click", min(age_seconds, 1), user_id="u", impression_id="a")] if is_clicked else []
    result = attributed([impression("a")], clicks, config, at(age_seconds))
    weights = label_weights(result.rows, DelayCounts(dict.fromkeys(LABELS, delays)), config, microseconds(at(age_seconds)))
    assert weights[weight_name("click")].tolist() == [pytest.approx(expected, rel=1e-5)]


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.floats(0, 1e6), min_size=1, max_size=20),
    st.integers(0, 20),
    st.integers(-10, WINDOW_SECONDS - 1),
)
def test_weights_are_bounded_and_expected_weights_sum_to_one(delays, num_negative, age_seconds):
    config = weighted_config()
    rows = attributed([impression("a"), impression("b")], [], config, at(age_seconds)).rows
    column = rows.column_names.index("click")
    rows = rows.set_column(column, rows.schema.field("click"), pa.chunked_array([pa.array([1.0, 0.0], pa.float32())]))
    counts = counts_of(delays, len(delays) + num_negative)
    positive, negative = label_weights(rows, counts, config, microseconds(at(age_seconds)))[weight_name("click")].tolist()
    rate, arrived = len(delays) / (len(delays) + num_negative), counts.by_label["click"].share_after(age_seconds)
    assert 0 <= negative <= 1 + 1e-6
    assert 0 <= positive <= MAX_WEIGHT
    if arrived < 1 / MAX_WEIGHT:
        assert (positive, negative) == (0, 0)
    else:
        assert rate * arrived * positive == pytest.approx(rate, rel=1e-5)
        assert (1 - rate * arrived) * negative == pytest.approx(1 - rate, rel=1e-5, abs=1e-9)


def test_a_delay_that_no_row_tells_is_an_error():
    config = weighted_config()
    silent = attributed([impression("a")], [], config, at(60)).rows
    click = engagement("1", "click", user_id="u", impression_id="a")
    clicked = attributed([impression("a")], [click], config, at(60)).rows
    message = "data.attribution.delayed = weight must find rows with click whose window .* {} closed rows, 0 of them positive"
    with pytest.raises(DelayEstimateError, match=message.format(0)):
        label_weights(silent, counts_of([], 0), config, microseconds(at(60)))
    with pytest.raises(DelayEstimateError, match=message.format(9)):
        label_weights(clicked, counts_of([], 9), config, microseconds(at(60)))
    # What has never happened in closed rows needs no weight while it does not happen.
    weights = label_weights(silent, counts_of([], 9), config, microseconds(at(60)))
    assert {name: values.tolist() for name, values in weights.items()} == {weight_name(label): [1.0] for label in LABELS}


def test_an_unknown_label_needs_no_delay():
    config = weighted_config(satisfaction={"known": "surveyed"})
    rows = attributed([impression("a")], [], config, at(60)).rows
    counts = counts_of([1], 2).by_label | {"satisfaction": LabelDelays()}
    weights = label_weights(rows, DelayCounts(counts), config, microseconds(at(60)))
    assert weights[weight_name("satisfaction")].tolist() == [1.0]


def test_what_makes_a_label_and_when():
    events = [
        engagement("1", "click", 7, user_id="u", impression_id="a"),
        engagement("2", "click", 5, user_id="u", impression_id="a"),
        engagement("3", "play", 9, user_id="u", impression_id="a", watch_seconds=0.0),
        engagement("4", "play", 30, user_id="u", impression_id="a", watch_seconds=4.0),
        engagement("5", "hide", 2, user_id="u", impression_id="a"),
        engagement("6", "survey", 100, user_id="u", impression_id="a", score=5.0),
        engagement("7", "like", 200, user_id="u", impression_id="a"),
    ]
    definition = {"weights": {"like": 1, "hide": -0.5}, "survey_weight": 1.0, "survey_neutral": 3.0}
    config = weighted_config(satisfaction=definition)
    shown = [impression("a"), impression("b"), impression("young", seconds=WINDOW_SECONDS)]
    for watermark, num_closed in ((None, 3), (at(7 * WINDOW_SECONDS), 2)):
        result = attributed(shown, events, config, watermark)
        counts = delay_counts(result.rows, result.events, config, microseconds(watermark)).by_label
        assert counts["satisfaction"] == LabelDelays(num_closed, histogram_of([100]))
        assert counts["click"] == LabelDelays(3, histogram_of([5]))
        assert counts["watch_seconds"] == LabelDelays(3, histogram_of([9]))
    assert counts["click"].num_positive == 1


@settings(max_examples=100, deadline=None)
@given(impressions_strategy, st.lists(engagements(), max_size=14), configs, watermarks)
def test_counts_agree_with_the_oracle(impression_rows, engagement_rows, config, watermark):
    result = attributed(impression_rows, engagement_rows, config, watermark)
    rows, events, _ = oracle.attribute(impression_rows, engagement_rows, config, watermark)
    expected = {}
    for label in LABELS:
        num_closed, delays = oracle.closed_delays(label, rows, events, config, watermark)
        expected[label] = LabelDelays(num_closed, histogram_of(delays))
    assert delay_counts(result.rows, result.events, config, microseconds(watermark)) == DelayCounts(expected)


label_delays = st.builds(
    LabelDelays,
    st.integers(0, 10**9),
    st.lists(st.integers(0, 10**9), min_size=len(DELAY_EDGES_SECONDS) + 1, max_size=len(DELAY_EDGES_SECONDS) + 1).map(tuple),
)
delay_counts_strategy = st.builds(DelayCounts, st.fixed_dictionaries(dict.fromkeys(LABELS, label_delays)))


@settings(max_examples=30, deadline=None)
@given(delay_counts_strategy, delay_counts_strategy, delay_counts_strategy)
def test_counts_add_up_in_any_order(one, two, three):
    assert one.merge(two).merge(three) == one.merge(two.merge(three))
    assert one.merge(two) == two.merge(one)
    assert one.merge(DelayCounts()) == one
    click = one.by_label["click"].num_positive + two.by_label["click"].num_positive
    assert one.merge(two).by_label["click"].num_positive == click


def test_counts_of_parts_add_up_to_those_of_the_whole(feed):
    rows, events, counts, config, watermark_us = feed.rows, feed.events, feed.counts, feed.config, feed.watermark_us
    num_closed = np.count_nonzero(microseconds_of(rows["impressed_at"]) + WINDOW_SECONDS * 1_000_000 <= watermark_us)
    assert counts.by_label["click"].num_closed == num_closed
    merged = DelayCounts()
    for start, end in ((0, 3_000), (3_000, 3_001), (3_001, rows.num_rows)):
        row = np.asarray(events["row"])
        part = events.filter(pa.array((row >= start) & (row < end)))
        part = part.set_column(
            0, part.schema.field("row"), pa.chunked_array([pc.subtract(part["row"].combine_chunks(), start)])
        )
        merged = merged.merge(delay_counts(rows.slice(start, end - start), part, config, watermark_us))
    assert merged == counts


def test_edges_are_fixed():
    assert (DELAY_EDGES_SECONDS[0], DELAY_EDGES_SECONDS[40], DELAY_EDGES_SECONDS[-1]) == (1.0, 1024.0, 2.0**25)
