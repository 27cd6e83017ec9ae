import itertools
import math

import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import log_loss as sklearn_log_loss
from sklearn.metrics import ndcg_score, roc_auc_score

from models.errors import MetricError
from models.measures.registry import MEASURES, statistic_of
from models.metrics import (
    auc,
    expected_calibration_error,
    gauc,
    lists_of,
    log_loss,
    mean_absolute_error,
    ndcg,
    normalised_entropy,
    reliability_bins,
    xauc,
)


def draws(rows=500, seed=0, decimals=2):
    """Labels, predictions with many ties, groups."""
    generator = np.random.default_rng(seed)
    labels = generator.integers(2, size=rows).astype(float)
    predictions = np.round(np.clip(generator.normal(0.45 + 0.1 * labels, 0.2), 0.01, 0.99), decimals)
    return labels, predictions, generator.integers(40, size=rows)


def auc_oracle(labels, predictions):
    pairs = [
        (p, n) for p, y in zip(predictions, labels, strict=True) if y for n, z in zip(predictions, labels, strict=True) if not z
    ]
    return sum(1.0 if p > n else 0.5 if p == n else 0.0 for p, n in pairs) / len(pairs)


@pytest.mark.parametrize("decimals", [1, 2, 8])
def test_auc(decimals):
    labels, predictions, _ = draws(decimals=decimals)
    assert auc(labels, predictions) == pytest.approx(auc_oracle(labels, predictions), abs=1e-12)
    assert auc(labels, predictions) == pytest.approx(roc_auc_score(labels, predictions), abs=1e-12)


def test_auc_weights_are_repetitions():
    labels, predictions, _ = draws(decimals=1)
    weights = np.random.default_rng(1).integers(4, size=len(labels))
    expected = roc_auc_score(np.repeat(labels, weights), np.repeat(predictions, weights))
    assert auc(labels, predictions, weights) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("decimals", [1, 8])
def test_gauc(decimals):
    labels, predictions, groups = draws(rows=150, decimals=decimals)
    total = rows = 0
    for group in set(groups):
        mine = groups == group
        if 0 < labels[mine].sum() < mine.sum():
            total += mine.sum() * auc_oracle(labels[mine], predictions[mine])
            rows += mine.sum()
    assert rows < len(labels)
    assert gauc(labels, predictions, groups) == pytest.approx(total / rows, abs=1e-12)
    names = [f"user {group}" for group in groups]
    assert gauc(labels, predictions, names) == pytest.approx(gauc(labels, predictions, groups), abs=1e-12)


def test_log_loss_and_normalised_entropy():
    labels, predictions, _ = draws()
    assert log_loss(labels, predictions) == pytest.approx(sklearn_log_loss(labels, predictions), abs=1e-12)
    rate = labels.mean()
    entropy = -rate * math.log(rate) - (1 - rate) * math.log(1 - rate)
    assert normalised_entropy(labels, predictions) == pytest.approx(log_loss(labels, predictions) / entropy, abs=1e-12)
    assert log_loss([1.0], [0.0]) == pytest.approx(-math.log(1e-7))


def calibration_error_oracle(labels, predictions, num_bins):
    """Rows as equal slices of weight, one after another; the rows of a tie mixed."""
    slices = 12
    rows = [(p, np.mean([z for z, q in zip(labels, predictions, strict=True) if q == p])) for p in sorted(predictions)]
    pieces = [row for row in rows for _ in range(slices * num_bins)]
    size = len(pieces) // num_bins
    bins = [pieces[start : start + size] for start in range(0, len(pieces), size)]
    assert len(bins) == num_bins
    return sum(abs(sum(p - y for p, y in bin_)) for bin_ in bins) / len(pieces)


@pytest.mark.parametrize(("rows", "decimals"), [(503, 9), (500, 1), (37, 9), (7, 1)])
def test_calibration_error(rows, decimals):
    labels, predictions, _ = draws(rows=rows, decimals=decimals)
    expected = calibration_error_oracle(labels, predictions, 10)
    assert expected_calibration_error(labels, predictions) == pytest.approx(expected, abs=1e-12)


def test_calibration_error_of_bins_that_divide_the_rows_is_the_textbooks():
    labels, predictions, _ = draws(rows=500, decimals=12)
    order = np.argsort(predictions)
    bins = np.split(order, 10)
    expected = np.mean([abs(predictions[bin_].mean() - labels[bin_].mean()) for bin_ in bins])
    assert expected_calibration_error(labels, predictions) == pytest.approx(expected, abs=1e-12)


def test_reliability_bins_are_those_of_the_calibration_error():
    labels, predictions, _ = draws(rows=500, decimals=12)
    bins = reliability_bins(labels, predictions, 5)
    for bin_, rows in zip(bins, np.split(np.argsort(predictions), 5), strict=True):
        assert bin_.predicted == pytest.approx(predictions[rows].mean())
        assert bin_.observed == pytest.approx(labels[rows].mean())
        assert bin_.num_rows == pytest.approx(100)
        interval = scipy.stats.binomtest(int(labels[rows].sum()), 100).proportion_ci(method="wilson")
        assert (bin_.low, bin_.high) == pytest.approx((interval.low, interval.high), abs=1e-9)
    gaps = [abs(bin_.predicted - bin_.observed) for bin_ in bins]
    assert np.mean(gaps) == pytest.approx(expected_calibration_error(labels, predictions, 5))
    assert [bin_.predicted for bin_ in bins] == sorted(bin_.predicted for bin_ in bins)


def test_reliability_intervals_stay_within_0_and_1_and_count_weights():
    bins = reliability_bins([0, 0, 1, 1], [0.1, 0.2, 0.8, 0.9], 2)
    assert bins[0].low == 0.0
    assert bins[1].high == 1.0
    assert bins[0].high < bins[1].predicted
    weighted = reliability_bins([0, 0, 1, 1], [0.1, 0.2, 0.8, 0.9], 2, weights=[3, 1, 1, 3])
    # 64 / 20 rows' worth of evidence instead of 4.
    assert weighted[0].num_rows == pytest.approx(1.6)
    assert weighted[0].predicted == pytest.approx(0.125)


def test_calibration_error_ignores_the_order_of_rows():
    labels, predictions, _ = draws(decimals=1)
    order = np.argsort(labels)
    expected = expected_calibration_error(labels, predictions)
    assert expected_calibration_error(labels[order], predictions[order]) == pytest.approx(expected, abs=1e-12)
    assert expected_calibration_error(labels[order[::-1]], predictions[order[::-1]]) == pytest.approx(expected, abs=1e-12)
    assert expected_calibration_error([1.0, 0.0, 0.0, 0.0], [0.25] * 4) == pytest.approx(0.0, abs=1e-12)
    with pytest.raises(ValueError, match=r"num_bins must be at least 2. Received: num_bins=1"):
        expected_calibration_error(labels, predictions, 1)


def test_xauc():
    generator = np.random.default_rng(2)
    truths, predictions = generator.integers(6, size=60).astype(float), generator.integers(5, size=60).astype(float)
    points = [
        0.5 if predictions[i] == predictions[j] else float((truths[i] > truths[j]) == (predictions[i] > predictions[j]))
        for i in range(60)
        for j in range(60)
        if truths[i] != truths[j]
    ]
    assert xauc(truths, predictions) == pytest.approx(np.mean(points), abs=1e-12)
    assert xauc(truths, truths) == 1.0
    assert xauc(truths, -truths) == 0.0
    assert xauc(truths, np.zeros(60)) == 0.5


@settings(deadline=None, max_examples=60)
@given(
    rows=st.integers(2, 70),
    truths=st.integers(2, 40),
    predictions=st.integers(1, 40),
    weights=st.integers(1, 4),
    seed=st.integers(0, 1_000),
)
def test_xauc_is_that_of_every_pair_looked_at(rows, truths, predictions, weights, seed):
    generator = np.random.default_rng(seed)
    truths_N = np.r_[0.0, 1.0, generator.integers(truths, size=rows - 2)] / 7
    predictions_N, weights_N = generator.integers(predictions, size=rows) / 3 - 2, generator.integers(1, weights + 1, rows) / 8
    in_order = weight = 0.0
    for i, j in itertools.combinations(range(rows), 2):
        if truths_N[i] != truths_N[j]:
            sign = (truths_N[i] - truths_N[j]) * (predictions_N[i] - predictions_N[j])
            weight += weights_N[i] * weights_N[j]
            in_order += weights_N[i] * weights_N[j] * (0.5 if sign == 0 else float(sign > 0))
    assert xauc(truths_N, predictions_N, weights_N) == pytest.approx(in_order / weight, abs=1e-12)


def test_xauc_of_many_rows_is_somers_d():
    generator = np.random.default_rng(3)
    truths = generator.integers(300, size=50_000)
    predictions = np.round(truths / 100 + generator.normal(size=50_000), 1)
    expected = (1 + scipy.stats.somersd(truths, predictions).statistic) / 2
    assert 0.6 < expected < 0.9
    assert xauc(truths, predictions) == pytest.approx(expected, abs=1e-12)


def test_xauc_weighs_a_pair_by_the_product_of_its_rows():
    truths, predictions = np.array([1.0, 2.0, 3.0]), np.array([1.0, 3.0, 2.0])
    # Pairs (1, 2) and (1, 3) in order, weights 2 and 10; pair (2, 3) in reverse, weight 5.
    assert xauc(truths, predictions, weights=[2, 1, 5]) == pytest.approx(12 / 17, abs=1e-12)


@pytest.mark.parametrize("k", [1, 3, 10, 100])
@pytest.mark.parametrize("decimals", [1, 9])
@pytest.mark.parametrize("is_graded", [False, True])
def test_ndcg(k, decimals, is_graded):
    labels, predictions, lists = draws(decimals=decimals)
    if is_graded:
        labels *= np.random.default_rng(5).choice([0.25, 0.5, 1.0], size=len(labels))
    values = []
    for each in set(lists):
        mine = lists == each
        if labels[mine].sum() > 0:
            values.append(ndcg_score(labels[mine][np.newaxis], predictions[mine][np.newaxis], k=k))
    assert ndcg(labels, predictions, lists, k) == pytest.approx(np.mean(values), abs=1e-12)


def test_ndcg_by_hand():
    # Best first, then the two others tied: (3/4 + 0) / 2 at places 2 and 3.
    discount = [1 / math.log2(place + 1) for place in (1, 2, 3)]
    best = 1.0 * discount[0] + 0.75 * discount[1]
    expected = (1.0 * discount[0] + 0.375 * discount[1] + 0.375 * discount[2]) / best
    assert ndcg([0.75, 1.0, 0.0], [0.2, 0.9, 0.2], ["a"] * 3) == pytest.approx(expected)
    assert ndcg([0, 1, 0, 0], [0.9, 0.1, 0.5, 0.4], ["a", "a", "b", "b"], k=1) == 0.0


def test_ndcg_weighs_a_list_by_the_mean_weight_of_its_rows():
    labels, predictions, lists = [1, 0, 1, 0], [0.9, 0.1, 0.1, 0.9], ["a", "a", "b", "b"]
    second = 1 / math.log2(3)
    assert ndcg(labels, predictions, lists) == pytest.approx((1 + second) / 2)
    assert ndcg(labels, predictions, lists, weights=[1, 2, 4, 5]) == pytest.approx((1.5 + 4.5 * second) / 6)
    # Without the row above it the second list is in order.
    assert ndcg(labels, predictions, lists, weights=[1, 1, 1, 0]) == 1.0


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: auc([1, 1], [0.1, 0.2]), "all labels are of one class"),
        (lambda: auc([1, 0], [0.1, 0.2], [1, 0]), "all labels are of one class"),
        (lambda: gauc([1, 0], [0.1, 0.2], [1, 2]), "no group holds both classes"),
        (lambda: normalised_entropy([1, 1], [0.1, 0.2]), "all labels are of one class"),
        (lambda: xauc([2.0, 2.0], [0.1, 0.2]), "no pair of rows differs in truth"),
        (lambda: log_loss([], []), "no row has a known label"),
        (lambda: ndcg([0, 0], [0.1, 0.2], [1, 2]), "no list holds a label above 0"),
        (lambda: auc([1, 0], [0.1, 0.2], [0, 0]), "no row has a known label"),
        (lambda: gauc([], [], []), "no row has a known label"),
        (lambda: xauc([], []), "no row has a known label"),
        (lambda: mean_absolute_error([], []), "no row has a known label"),
    ],
)
def test_undefined_measures_say_why(call, message):
    with pytest.raises(MetricError, match=message):
        call()


@pytest.mark.parametrize("metric_fn", [auc, log_loss, mean_absolute_error, expected_calibration_error, xauc])
def test_wrong_vectors_are_refused(metric_fn):
    with pytest.raises(ValueError, match=r"must be vectors of one length. Received: shapes \(2,\) and \(3,\)"):
        metric_fn([0.0, 1.0], [0.1, 0.2, 0.3])
    for labels, predictions in (([0.0, 1.0], [0.1, math.nan]), ([0.0, math.inf], [0.1, 0.2])):
        with pytest.raises(ValueError, match="must be finite"):
            metric_fn(labels, predictions)
    for weights in ([1.0, -1.0], [1.0, math.nan]):
        with pytest.raises(ValueError, match="weights must be finite and at least 0"):
            metric_fn([0.0, 1.0], [0.1, 0.2], weights=weights)
    with pytest.raises(ValueError, match=r"weights must be a vector as long as the labels, 2. Received: \(3,\)"):
        metric_fn([0.0, 1.0], [0.1, 0.2], weights=[1.0, 1.0, 1.0])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: auc([0.5, 1], [0.1, 0.2]), "labels of an AUC must be 0 or 1"),
        (lambda: gauc([0.5, 1], [0.1, 0.2], [1, 1]), "labels of an AUC must be 0 or 1"),
        (lambda: ndcg([-1, 1], [0.1, 0.2], [1, 1]), "labels of an NDCG must be at least 0"),
        (lambda: ndcg([0, 1], [0.1, 0.2], [1, 1], k=0), "k must be at least 1. Received: k=0"),
        (lambda: gauc([0, 1], [0.1, 0.2], [1]), r"groups must be a vector as long as the labels, 2. Received: \(1,\)"),
        (lambda: statistic_of("recall", [0, 1], [0.1, 0.2]), "measure must be one of auc, .* Received: recall"),
        (lambda: statistic_of("ndcg", [0, 1], [0.1, 0.2], groups=[1, 1]), "lists must be given for ndcg. Received: lists=None"),
        (lambda: lists_of([1, 1], ["a"]), r"requests must be as many as groups, 2. Received: \(1,\)"),
    ],
)
def test_wrong_arguments_are_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


BY_NAME = {
    "auc": lambda y, p, groups, weights: auc(y, p, weights),
    "gauc": gauc,
    "log_loss": lambda y, p, groups, weights: log_loss(y, p, weights),
    "normalised_entropy": lambda y, p, groups, weights: normalised_entropy(y, p, weights),
    "expected_calibration_error": lambda y, p, groups, weights: expected_calibration_error(y, p, weights=weights),
    "mean_absolute_error": lambda y, p, groups, weights: mean_absolute_error(y, p, weights),
    "xauc": lambda y, p, groups, weights: xauc(y, p, weights),
    "ndcg": lambda y, p, groups, weights: ndcg(y, p, groups, weights=weights),
}


def test_every_measure_is_held_to_the_laws_of_weights():
    assert set(BY_NAME) == set(MEASURES) - {"mean_absolute_error_seconds"}


@pytest.mark.parametrize("measure", BY_NAME)
@settings(deadline=None, max_examples=12)
@given(seed=st.integers(0, 1_000), decimals=st.sampled_from([1, 2, 9]))
def test_weight_zero_drops_a_row_and_the_scale_of_weights_does_not_matter(measure, seed, decimals):
    labels, predictions, groups = draws(rows=120, seed=seed, decimals=decimals)
    weights = np.random.default_rng(seed).integers(4, size=120).astype(float)
    known = weights > 0
    metric_fn = BY_NAME[measure]
    expected = metric_fn(labels[known], predictions[known], groups[known], weights[known])
    labels[~known], predictions[~known] = math.nan, math.inf
    assert metric_fn(labels, predictions, groups, weights) == pytest.approx(expected, abs=1e-12)
    assert metric_fn(labels, predictions, groups, 3.7 * weights) == pytest.approx(expected, abs=1e-9)
    ones = metric_fn(labels[known], predictions[known], groups[known], None)
    assert metric_fn(labels, predictions, groups, 0.3 * known) == pytest.approx(ones, abs=1e-9)


@pytest.mark.parametrize("measure", sorted(set(BY_NAME) - {"ndcg"}))
@pytest.mark.parametrize("decimals", [1, 9])
def test_weights_are_repetitions(measure, decimals):
    """Not of NDCG: a list with a row twice is another list."""
    labels, predictions, groups = draws(rows=200, decimals=decimals)
    weights = np.random.default_rng(1).integers(1, 4, size=200)
    repeated = [np.repeat(column, weights) for column in (labels, predictions, groups)]
    expected = BY_NAME[measure](*repeated, None)
    assert BY_NAME[measure](labels, predictions, groups, weights) == pytest.approx(expected, abs=1e-12)
