import time

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from models import metrics
from models.bootstrap import bootstrap_interval, paired_difference
from models.errors import MetricError
from models.measures.registry import MEASURES, statistic_of

BY_GROUP = ("gauc", "ndcg")


def draws(rows=600, users=60, seed=0, decimals=2):
    generator = np.random.default_rng(seed)
    labels = generator.integers(2, size=rows).astype(float)
    users = generator.integers(users, size=rows)
    first = np.round(np.clip(generator.normal(0.45 + 0.05 * labels, 0.2), 0.01, 0.99), decimals)
    second = np.round(np.clip(generator.normal(0.40 + 0.2 * labels, 0.2), 0.01, 0.99), decimals)
    return labels, first, second, users


def measured(measure, labels, predictions, groups, weights=None):
    """The measure by its own function."""
    metric_fn = getattr(metrics, measure.removesuffix("_seconds"))
    return metric_fn(labels, predictions, *((groups,) if measure in BY_GROUP else ()), weights=weights)


@pytest.mark.parametrize("measure", MEASURES)
@pytest.mark.parametrize("is_weighted", [False, True])
def test_estimate_is_the_difference_of_the_measures(measure, is_weighted):
    labels, first, second, users = draws()
    weights = np.random.default_rng(1).choice([0.0, 1.0, 2.5], size=len(users)) if is_weighted else None
    values = [measured(measure, labels, predictions, users, weights) for predictions in (first, second)]
    options = {"groups": users, "lists": users, "num_replicates": 200, "weights": weights}
    difference = paired_difference(measure, labels, first, second, users, **options)
    assert difference.estimate == pytest.approx(values[1] - values[0], abs=1e-12)
    assert difference.low < difference.high
    assert difference.num_replicates == 200
    interval = bootstrap_interval(measure, labels, second, users, **options)
    assert interval.estimate == pytest.approx(values[1], abs=1e-12)
    if measure != "expected_calibration_error":
        assert difference.low < difference.estimate < difference.high
        assert interval.low < interval.estimate < interval.high


@pytest.mark.parametrize("measure", MEASURES)
def test_identical_predictions_differ_by_exactly_nothing(measure):
    labels, first, _, users = draws()
    difference = paired_difference(measure, labels, first, first.copy(), users, groups=users, lists=users, num_replicates=60)
    assert (difference.estimate, difference.low, difference.high) == (0.0, 0.0, 0.0)


@pytest.mark.parametrize("measure", MEASURES)
@pytest.mark.parametrize("decimals", [1, 9])
def test_a_replicate_is_the_measure_of_the_drawn_users_rows(measure, decimals):
    """Against the rows of each drawn user copied as often as he was drawn, each copy a user of his own."""
    labels, predictions, _, users = draws(rows=200, users=30, decimals=decimals)
    statistic = statistic_of(measure, labels, predictions, groups=users, lists=users)
    counts = np.random.default_rng(2).multinomial(30, np.full(30, 1 / 30), size=3)
    for counts_of_users, value in zip(counts, statistic.resampled(users)(counts), strict=True):
        rows = [
            (labels[row], predictions[row], f"{user} {copy}")
            for user in range(30)
            for copy in range(counts_of_users[user])
            for row in np.flatnonzero(users == user)
        ]
        columns = [np.array(column) for column in zip(*rows, strict=True)]
        expected = measured(measure, *columns)
        assert value == pytest.approx(expected, abs=0.006 if measure == "xauc" else 1e-12)


@pytest.mark.parametrize("measure", MEASURES)
def test_every_user_drawn_once_is_the_measure_itself(measure):
    labels, predictions, _, users = draws(rows=200, users=30)
    statistic = statistic_of(measure, labels, predictions, groups=users, lists=users)
    assert statistic.resampled(users)(np.ones((1, 30), int))[0] == pytest.approx(statistic.value, abs=1e-12)


def test_xauc_without_a_drawn_pair_says_that_it_has_no_interval():
    truths = np.r_[1.0, np.zeros(4_999_999)]
    with pytest.raises(MetricError, match="none of 200,000 random pairs of rows differs in truth: XAUC has no interval"):
        bootstrap_interval("xauc", truths, truths, np.zeros(len(truths), int), num_replicates=2)


def test_no_drawn_row_means_no_value():
    labels, predictions, _, users = draws(rows=50, users=5)
    for measure in MEASURES:
        resampled_fn = statistic_of(measure, labels, predictions, groups=users, lists=users).resampled(users)
        assert np.isnan(resampled_fn(np.zeros((1, 5), int))).all(), measure


def test_replicates_resample_whole_users():
    """The interval against a plain loop that copies each drawn user's rows."""
    labels, first, second, users = draws()
    generator = np.random.default_rng(5)
    rows_by_user = [np.flatnonzero(users == user) for user in np.unique(users)]
    differences = []
    for _ in range(400):
        drawn = generator.integers(len(rows_by_user), size=len(rows_by_user))
        rows = np.concatenate([rows_by_user[user] for user in drawn])
        differences.append(roc_auc_score(labels[rows], second[rows]) - roc_auc_score(labels[rows], first[rows]))
    low, high = np.percentile(differences, [2.5, 97.5])
    difference = paired_difference("auc", labels, first, second, users)
    assert difference.low == pytest.approx(low, abs=0.015)
    assert difference.high == pytest.approx(high, abs=0.015)


def test_repeating_every_row_of_a_user_does_not_narrow_the_interval():
    labels, first, second, users = draws()
    once = paired_difference("auc", labels, first, second, users)
    repeated = [np.repeat(column, 5) for column in (labels, first, second, users)]
    again = paired_difference("auc", *repeated)
    assert again.low == pytest.approx(once.low, abs=1e-9)
    assert again.high == pytest.approx(once.high, abs=1e-9)


def test_covers_the_truth_about_as_often_as_it_says():
    covered = 0
    for seed in range(60):
        labels, first, second, users = draws(rows=300, users=100, seed=seed, decimals=9)
        difference = paired_difference("mean_absolute_error", labels, first, second, users, num_replicates=300, seed=seed)
        covered += difference.low <= TRUE_DIFFERENCE <= difference.high
    assert covered >= 51


LARGE = draws(rows=400_000, users=4, seed=99, decimals=9)
TRUE_DIFFERENCE = np.abs(LARGE[0] - LARGE[2]).mean() - np.abs(LARGE[0] - LARGE[1]).mean()


def test_thousand_replicates_of_many_rows_take_seconds():
    labels, first, second, users = draws(rows=35_000, users=9_000)
    started_at = time.monotonic()
    paired_difference("auc", labels, first, second, users)
    assert time.monotonic() - started_at < 30


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (("recall", [1, 0], [0.1, 0.2], [0.1, 0.2], [1, 2]), ValueError, "measure must be one of auc.*Received: recall"),
        (("auc", [1, 0], [0.1, 0.2], [0.1], [1, 2]), ValueError, "vectors of one length"),
        (("gauc", [1, 0], [0.1, 0.2], [0.1, 0.2], [1, 2]), ValueError, "groups must be given for gauc"),
        (("gauc", [1, 0], [0.1, 0.2], [0.1, 0.2], [1, 2], ["a", "a"]), ValueError, "every group must hold rows of one user"),
        (("gauc", [1, 0], [0.1, 0.2], [0.1, 0.2], [1, 2], ["a", "b"]), MetricError, "no group holds both classes"),
        (("auc", [1, 1], [0.1, 0.2], [0.1, 0.2], [1, 2]), MetricError, "of one class"),
        (("auc", [], [], [], []), MetricError, "no row has a known label"),
        (("xauc", [1, 1], [0.1, 0.2], [0.1, 0.2], [1, 2]), MetricError, "no pair of rows differs in truth"),
    ],
)
def test_refuses_what_it_cannot_compare(arguments, error, message):
    with pytest.raises(error, match=message):
        paired_difference(*arguments)
