"""Planted skews are found and named, and rows of one distribution show none."""

import collections

import numpy as np
import pytest
import scipy.spatial.distance

from pipeline.skew.chance import Resampling
from pipeline.skew.comparing import ColumnRule, compare_columns
from pipeline.skew.predictions import prediction_batch
from pipeline.skew.statistics import binned_numbers, bucket_edges, by_name, statistics_of, training_counts, values_of
from tests.unit.pipeline.skewed_rows import batch_of, feed

NUM_TRAINING_USERS, NUM_SERVED_USERS = 3_000, 150
NAMES = ("user_id", "item_id", "segment", "category", "duration_seconds", "user_history", "hour", "is_weekend")
IDS = ("user_id", "item_id")


@pytest.fixture(scope="module")
def training():
    return statistics_of(batch_of(feed(0, NUM_TRAINING_USERS))).datasets[0]


def rules(limit=0.1, **changed):
    own = {name: ColumnRule(limit, has_distance=name not in IDS) for name in NAMES}
    # All served users are new ones in these tests.
    return own | {"user_id": ColumnRule(1.0, has_distance=False)} | changed


def compared(training, served, own=None):
    """`ColumnSkew` by name of served columns."""
    resampling = Resampling(served["user_id"], NUM_TRAINING_USERS)
    batch = batch_of({name: column for name, column in served.items() if name != "click"})
    return {column.name: column for column in compare_columns(batch, training, own or rules(), resampling)}


def skewed(columns):
    return {name for name, column in columns.items() if column.reasons}


@pytest.mark.parametrize("seed", range(1, 9))
def test_rows_of_one_distribution_show_no_skew(training, seed):
    """Neither with the limits of the default nor where chance alone is allowed for."""
    for num_users, limit in ((30, 0.1), (NUM_SERVED_USERS, 0.01)):
        columns = compared(training, feed(seed, num_users), rules(limit))
        assert skewed(columns) == set()
        assert list(columns) == list(NAMES)
        assert columns["user_id"].outside.value == 1.0
        assert columns["user_id"].distance is columns["item_id"].distance is None


PLANTED = {
    "a shifted number": ("hour", lambda hour: np.minimum(hour // 2 + 12, 23)),
    "a wrong unit": ("duration_seconds", lambda seconds: 1_000 * seconds),
    "a wrong unit in one entry": ("user_history", lambda rates: rates * np.array([1_000, 1], np.float32)),
    "a new string": ("category", lambda names: np.where(np.arange(len(names)) % 2, "podcast", names)),
    "other shares of known strings": ("segment", lambda names: np.where(names == "casual", "core", names)),
    "one value alone": ("hour", lambda hour: np.full_like(hour, 7)),
    "histories that were not found": ("user_history", np.zeros_like),
    "rare values become frequent": ("is_weekend", lambda flags: 1 - flags),
    "new items": ("item_id", lambda names: np.array([f"new {name}" for name in names], object)),
    "half of the rows lack it": ("segment", lambda names: np.where(np.arange(len(names)) % 2, names, None)),
    "numbers as strings": ("duration_seconds", lambda seconds: np.array([str(each) for each in seconds], object)),
}


@pytest.mark.parametrize(("column", "change_fn"), PLANTED.values(), ids=PLANTED)
@pytest.mark.parametrize("seed", [1, 2])
def test_planted_skews_are_found_and_named(training, column, change_fn, seed):
    served = feed(seed, NUM_SERVED_USERS)
    columns = compared(training, served | {column: change_fn(served[column])})
    assert skewed(columns) == {column}
    assert all(reason.startswith(f"{column} ") for reason in columns[column].reasons)


def test_a_column_that_no_row_has_is_missing(training):
    served = feed(1, NUM_SERVED_USERS)
    del served["duration_seconds"]
    column = compared(training, served)["duration_seconds"]
    assert column.distance is column.outside is None
    assert column.reasons == ("duration_seconds is missing from 100.0% of the served rows, and from 0.0% in training",)
    own = rules(duration_seconds=ColumnRule(0.1, may_lack=True))
    assert skewed(compared(training, served, own)) == set()


def test_a_limit_is_that_of_its_column(training):
    served = feed(1, NUM_SERVED_USERS)
    served["category"] = np.where(np.arange(len(served["category"])) % 5 == 0, "podcast", served["category"])
    assert skewed(compared(training, served)) == {"category"}
    assert skewed(compared(training, served, rules(category=ColumnRule(0.4)))) == set()


def test_reasons_say_what_and_by_how_much(training):
    served = feed(1, NUM_SERVED_USERS)
    column = compared(training, served | {"duration_seconds": 1_000 * served["duration_seconds"]})["duration_seconds"]
    distance, outside = column.reasons
    assert distance.startswith(
        "duration_seconds is distributed differently than in training: Jensen-Shannon divergence 1.000, "
        "at most 0.1 is allowed, and chance gives up to 0.0"
    )
    low, high = min(feed(0, NUM_TRAINING_USERS)["duration_seconds"]), max(feed(0, NUM_TRAINING_USERS)["duration_seconds"])
    assert f"has values beyond those of training, {low:.6g} to {high:.6g}: " in outside


def test_few_rows_do_not_cry_wolf(training):
    """One answer of one hundred items to each of a few users: all of a column of the user may be alike by chance."""
    served = feed(1, 4, rows_by_user=100)
    served["segment"] = np.full(len(served["segment"]), "core", object)
    assert "segment" not in skewed(compared(training, served, rules(segment=ColumnRule(0.9))))


def test_one_value_that_is_far_away_is_one_value(training):
    """Cut into buckets by its own range, as TFDV does, a column with it would look like no other."""
    served = feed(1, NUM_SERVED_USERS)
    served["duration_seconds"][0] = 1e9
    column = compared(training, served)["duration_seconds"]
    assert column.reasons == ()
    assert 0 < column.outside.value < 0.01


def numbers(kind, seed):
    rng = np.random.default_rng(seed)
    return {
        "normal": rng.normal(size=4_000),
        "heavy": rng.pareto(1.0, 4_000),
        "half zero": np.where(rng.random(4_000) < 0.5, 0, rng.exponential(size=4_000)),
        "few": rng.integers(0, 3, 4_000).astype(float),
        "rare": (rng.random(4_000) < 0.03).astype(float),
        "constant": np.full(4_000, 2.5),
    }[kind]


@pytest.mark.parametrize("kind", ["normal", "heavy", "half zero", "few", "rare", "constant"])
@pytest.mark.parametrize("change", ["none", "shift", "scale"])
def test_the_distance_is_close_to_that_of_the_values_themselves(kind, change):
    """Against SciPy's over the same bins, filled with both sides' own values; training's are known by its statistics alone."""
    own, served = (numbers(kind, seed).astype(np.float32) for seed in (1, 2))
    served = {"none": served, "shift": served + np.float32(0.5), "scale": served * np.float32(3)}[change]
    data_set = statistics_of(batch_of({"x": own})).datasets[0]
    resampling = Resampling(np.arange(4_000), 4_000)
    [column] = compare_columns(batch_of({"x": served}), data_set, {"x": ColumnRule(1.0)}, resampling)
    feature = by_name(data_set)["x"]
    edges = bucket_edges(feature)

    def shares(values):
        bins = [sum(edge <= value for edge in edges) + (value > edges[-1]) for value in values.astype(float).tolist()]
        return np.bincount(bins, minlength=len(edges) + 2) / len(values)

    wanted = scipy.spatial.distance.jensenshannon(shares(own), shares(served), base=2) ** 2
    # Of a value that fills whole buckets the statistics do not say how much of a further bucket it fills.
    assert wanted - (0.06 if kind in ("few", "half zero", "rare") else 0.02) < column.distance.value < wanted + 0.02
    values = values_of(batch_of({"x": served}), "x")
    counts = np.bincount(binned_numbers(feature, values).bins, minlength=len(edges) + 2)
    assert counts.tolist() == pytest.approx((4_000 * shares(served)).tolist())
    assert training_counts(feature, values.values, counts).sum() == pytest.approx(4_000)


def test_values_that_training_lists_in_part_are_taken_against_its_own_rest():
    """Beyond its 1,000 most frequent values a string is unknown to the statistics, though not to training."""
    rng = np.random.default_rng(0)
    shares = 1 / np.arange(1, 5_001)
    names = np.array([f"n{number}" for number in range(5_000)], object)
    own, served = (rng.choice(names, size, p=shares / shares.sum()) for size in (40_000, 3_000))
    data_set = statistics_of(batch_of({"tag": own})).datasets[0]
    # As the pipeline's StatisticsGen counts them; what is computed in memory takes a sketch of the values.
    ranks = data_set.features[0].string_stats.rank_histogram
    del ranks.buckets[:]
    for name, count in collections.Counter(own.tolist()).most_common(1_000):
        ranks.buckets.add(label=name, sample_count=count)
    resampling = Resampling(np.arange(3_000), 40_000)
    [column] = compare_columns(batch_of({"tag": served}), data_set, {"tag": ColumnRule(0.05, has_distance=False)}, resampling)
    assert column.outside.value == pytest.approx(1 - (shares[:1_000] / shares.sum()).sum(), abs=0.03)
    assert column.reasons == ()
    foreign = np.where(np.arange(3_000) % 5 == 0, "new", served)
    [column] = compare_columns(batch_of({"tag": foreign}), data_set, {"tag": ColumnRule(0.05, has_distance=False)}, resampling)
    assert "tag has values beyond those of training, 1,000 most frequent values: " in column.reasons[0]
    rule = ColumnRule(0.05, has_distance=False, vocabulary=frozenset(name.encode() for name in names))
    [column] = compare_columns(batch_of({"tag": foreign}), data_set, {"tag": rule}, resampling)
    assert column.outside.value == 0.2
    assert column.reasons == ("tag has values beyond those of training, 5,000 values: 20.0% of the served ones",)


def test_predictions_without_spread_are_told_and_judged_where_named():
    rng = np.random.default_rng(0)
    before = statistics_of(prediction_batch({"predicted_click": rng.beta(2, 6, 20_000)})).datasets[0]
    resampling = Resampling(np.arange(1_000) // 10, 2_000)
    for values, has_left in ((np.full(1_000, 0.5), True), (rng.beta(2, 6, 1_000), False)):
        batch = prediction_batch({"predicted_click": values})
        told, judged = (
            compare_columns(batch, before, {"predicted_click": ColumnRule(0.3, judges_distance=is_judged)}, resampling)[0]
            for is_judged in (False, True)
        )
        assert (told.reasons, bool(judged.reasons)) == ((), has_left)
        assert told.distance.value == judged.distance.value
    [beyond] = compare_columns(
        prediction_batch({"predicted_click": np.full(1_000, 1.5)}),
        before,
        {"predicted_click": ColumnRule(0.3)},
        resampling,
        "its evaluation",
    )
    assert "predicted_click has values beyond those of its evaluation" in beyond.reasons[1]


def test_absent_predictions_are_missing():
    batch = prediction_batch({"predicted_click": np.array([0.5, np.nan, 0.25])})
    assert batch.column(0).to_pylist() == [[0.5], None, [0.25]]
