"""Heads against their definitions, in plain Python."""

import math

import numpy as np
import pytest
import scipy.stats

from data.schema import mask_name
from models.config import TaskConfig
from models.errors import HeadError
from models.heads.quantiles import weighted_quantiles
from models.heads.registry import make_head

WATCH = "watch_seconds"


def watch_head(**config):
    return make_head(TaskConfig(label=WATCH, head=config))


def columns(seconds, weights=None, **features):
    weights = np.ones(len(seconds)) if weights is None else np.asarray(weights)
    arrays = {name: np.asarray(column, "f4") for name, column in features.items()}
    return {WATCH: np.asarray(seconds, "f4"), mask_name(WATCH): weights.astype("f4"), **arrays}


def draws(rows=600, seed=0):
    """Watch times, of which a third are 0, and transformed durations."""
    generator = np.random.default_rng(seed)
    duration = generator.normal(size=rows).astype("f4")
    seconds = generator.exponential(np.exp(2 + duration)) * (generator.random(rows) < 0.67)
    return np.round(seconds, 1).astype("f4"), duration


def test_quantiles_are_numbers_with_their_level_at_or_below_them():
    generator = np.random.default_rng(0)
    numbers, weights = generator.integers(8, size=60).astype(float), generator.integers(1, 4, size=60)
    for level in np.linspace(0, 1, 13):
        everyone = sorted(np.repeat(numbers, weights))
        expected = everyone[max(math.ceil(level * len(everyone) - 1e-9) - 1, 0)]
        assert weighted_quantiles(numbers, weights, [level])[0] == expected
    assert weighted_quantiles([3.0, 1.0, 2.0], [0.1, 0.1, 0.1], [1 / 3, 2 / 3, 1]).tolist() == [1.0, 2.0, 3.0]


def test_served_values_of_the_scaled_heads_are_multiples_of_the_weighted_mean():
    for kind in ("weighted_logistic", "tweedie"):
        head = watch_head(kind=kind)
        head.adapt(columns([10.0, 0.0, 99.0, 4.0], [1, 2, 0, 1]))
        assert head.mean_seconds.numpy() == pytest.approx(14 / 4)
        np.testing.assert_allclose(head.served(np.array([0.0, math.log(2)], "f4"), {}), [3.5, 7.0], rtol=1e-6)


def test_log1p_serves_the_seconds_behind_it():
    served = watch_head(kind="log1p").served(np.array([-1.0, 0.0, math.log(11)], "f4"), {})
    np.testing.assert_allclose(served, [0, 0, 10], rtol=1e-6)


def test_weighted_logistic_odds_are_the_expected_seconds():
    """The loss of Covington et al. with every row a negative once: gradient 0 where the odds are the mean."""
    head = watch_head(kind="weighted_logistic")
    seconds = np.array([0.0, 0.0, 30.0, 6.0], "f4")
    for mean_seconds in (1.0, 50.0):
        head.mean_seconds.assign(mean_seconds)
        at = math.log(9.0 / mean_seconds)
        losses = [float(head.loss(np.full(4, at + step, "f4"), seconds, np.ones(4, "f4"), {})) for step in (-0.3, 0, 0.3)]
        assert losses[1] == min(losses)
        assert float(head.served(np.array([at], "f4"), {})[0]) == pytest.approx(9.0, rel=1e-5)


def duration_head(seconds, duration, weights=None, **config):
    head = watch_head(kind="duration_quantile", duration="length", **config)
    head.adapt(columns(seconds, weights, length=duration))
    return head


def test_ranks_are_those_of_the_group_with_ties_in_the_middle():
    seconds, duration = draws()
    head = duration_head(seconds, duration, num_groups=3, num_quantiles=401)
    ranks = head.ranks(seconds, {"length": duration}).numpy()
    borders = [sorted(duration)[199], sorted(duration)[399]]
    group = np.array([sum(d > border for border in borders) for d in duration])
    for each in range(3):
        mine = seconds[group == each]
        assert len(mine) == 200
        rank_by_seconds = dict(zip(*mid_ranks(mine), strict=True))
        np.testing.assert_allclose(ranks[group == each], [rank_by_seconds[s] for s in mine], atol=0.005)
    # The third of the rows at 0 share one rank, a sixth.
    assert np.ptp(ranks[(seconds == 0) & (group == 0)]) == 0


def mid_ranks(seconds):
    """Different watch times, and the middle rank of each."""
    distinct = sorted(set(seconds))
    return distinct, [((seconds < s).sum() + (seconds <= s).sum()) / 2 / len(seconds) for s in distinct]


def test_served_seconds_are_the_quantile_of_the_group():
    seconds, duration = draws()
    head = duration_head(seconds, duration, num_groups=3, num_quantiles=2_001)
    borders = np.sort(duration)[[199, 399]]
    for rank in (0.01, 0.2, 0.25, 0.5, 0.8, 0.99):
        outputs = np.full(len(duration), math.log(rank / (1 - rank)), "f4")
        served = head.served(outputs, {"length": duration}).numpy()
        for each in range(3):
            mine = np.searchsorted(borders, duration) == each
            distinct, ranks = mid_ranks(seconds[mine])
            assert np.ptp(served[mine]) == 0
            assert served[mine][0] == pytest.approx(np.interp(rank, ranks, distinct), rel=0.02, abs=1e-4)


def test_many_zeros_do_not_hide_the_order_of_ranks():
    """Half of the watch times are 0; a mean rank is seldom far from 1/2, yet the larger one must be served as more."""
    head = duration_head([0.0] * 50 + list(range(1, 51)), np.ones(100), num_groups=1, num_quantiles=101)
    ranks = np.linspace(0.26, 0.49, 24)
    served = head.served(np.log(ranks / (1 - ranks)).astype("f4"), {"length": np.ones(24, "f4")}).numpy()
    assert (np.diff(served) > 0).all()
    assert served[-1] < 1.0


def test_a_watch_time_comes_back_from_its_rank():
    seconds, duration = draws()
    head = duration_head(seconds, duration, num_groups=2, num_quantiles=301)
    ranks = np.clip(head.ranks(seconds, {"length": duration}).numpy().astype(float), 1e-6, 1 - 1e-6)
    served = head.served(np.log(ranks / (1 - ranks)).astype("f4"), {"length": duration}).numpy()
    np.testing.assert_allclose(served, seconds, rtol=0.01, atol=0.01)


def test_ranks_of_unseen_watch_times_lie_between_and_at_the_ends():
    head = duration_head([0.0, 0.0, 10.0, 20.0], [1.0] * 4, num_groups=1, num_quantiles=9)
    # Middle ranks: 2/8 of the zeros, 5/8 of 10, 7/8 of 20.
    ranks = head.ranks(np.array([0.0, 5.0, 10.0, 15.0, 20.0, 99.0], "f4"), {"length": np.ones(6, "f4")})
    np.testing.assert_allclose(ranks, [0.25, 0.4375, 0.625, 0.75, 0.875, 0.875], atol=1e-6)
    constant = duration_head([3.0, 3.0], [1.0, 1.0], num_groups=1, num_quantiles=5)
    np.testing.assert_allclose(constant.ranks(np.array([0.0, 3.0, 9.0], "f4"), {"length": np.ones(3, "f4")}), 0.5)


def test_groups_of_durations_that_repeat_hold_rows_each():
    duration = np.array([1.0] * 9 + [5.0], "f4")
    head = duration_head(np.arange(10), duration, num_groups=4, num_quantiles=3)
    served = head.served(np.zeros(4, "f4"), {"length": np.array([0.0, 1.0, 2.0, 9.0], "f4")}).numpy()
    assert served.tolist() == [4.0, 4.0, 9.0, 9.0]
    constant = duration_head(np.arange(10), np.full(10, 7.0), num_groups=4, num_quantiles=3)
    assert constant.served(np.zeros(2, "f4"), {"length": np.array([7.0, 8.0], "f4")}).numpy().tolist() == [4.5, 4.5]
    duration = np.array([1.0] * 6 + [2.0, 3.0, 4.0] + [5.0] * 6)
    head = duration_head(np.arange(15), duration, num_groups=4, num_quantiles=3)
    # Quarters of the rows end within 1, 3 and 5: groups up to 1, up to 3, and all longer ones.
    served = head.served(np.full(6, 50.0, "f4"), {"length": np.array([1, 2, 3, 4, 5, 6], "f4")}).numpy()
    assert served.tolist() == [5.0, 7.0, 7.0, 14.0, 14.0, 14.0]


def test_long_items_win_nothing_by_being_long():
    """The point of the method: with watch times that grow with duration, equal interest has equal targets."""
    generator = np.random.default_rng(2)
    interest, duration = generator.random(4_000), generator.choice([10.0, 100.0], size=4_000).astype("f4")
    seconds = (interest * duration).astype("f4")
    head = duration_head(seconds, duration, num_groups=2)
    ranks = head.ranks(seconds, {"length": duration}).numpy()
    assert scipy.stats.spearmanr(ranks, interest).statistic > 0.999
    assert abs(scipy.stats.spearmanr(ranks, duration).statistic) < 0.03


def test_ordinal_probabilities_fall_and_their_area_is_served():
    seconds, _ = draws()
    head = watch_head(kind="ordinal", num_thresholds=5)
    head.adapt(columns(seconds))
    positive = np.sort(seconds[seconds > 0])
    thresholds = [0.0] + [float(positive[math.ceil(len(positive) * k / 5) - 1]) for k in (1, 2, 3, 4)]
    outputs = np.random.default_rng(1).normal(size=(20, 5)).astype("f4")
    for row, served in zip(outputs, head.served(outputs, {}).numpy(), strict=True):
        survivals = [float((seconds > t).mean()) for t in thresholds]
        prior = [math.log(p / (1 - p)) for p in survivals]
        logit, expected = prior[0] + row[0], 0.0
        for k, threshold in enumerate(thresholds):
            if k:
                drop = prior[k - 1] - prior[k]
                logit -= math.log1p(math.exp(row[k] + math.log(math.expm1(drop))))
            end = thresholds[k + 1] if k < 4 else math.inf
            beyond = seconds[seconds > threshold]
            expected += (np.minimum(beyond, end) - threshold).mean() / (1 + math.exp(-logit))
        assert served == pytest.approx(expected, rel=1e-4)


def test_ordinal_serves_the_seconds_at_the_expected_rank():
    seconds, _ = draws()
    head = watch_head(kind="ordinal", num_thresholds=4, serve="rank")
    head.adapt(columns(seconds))
    positive = np.sort(seconds[seconds > 0])
    thresholds = [0.0] + [float(positive[math.ceil(len(positive) * k / 4) - 1]) for k in (1, 2, 3)]
    outputs = np.random.default_rng(3).normal(size=(12, 4)).astype("f4")
    distinct, ranks = mid_ranks(seconds)
    for row, served in zip(outputs, head.served(outputs, {}).numpy(), strict=True):
        survivals = [float((seconds > t).mean()) for t in thresholds]
        prior = [math.log(p / (1 - p)) for p in survivals]
        logit, beyond = prior[0] + row[0], []
        for k in range(4):
            if k:
                logit -= math.log1p(math.exp(row[k] + math.log(math.expm1(prior[k - 1] - prior[k]))))
            beyond.append(1 / (1 + math.exp(-logit)))
        # Probability and middle rank of each interval: at the least, between thresholds, beyond the last.
        shares = [1 - beyond[0], *(beyond[k] - beyond[k + 1] for k in range(3)), beyond[3]]
        borders = [0.0, *(1 - survival for survival in survivals), 1.0]
        expected_rank = sum(share * (low + high) / 2 for share, low, high in zip(shares, borders, borders[1:], strict=False))
        assert served == pytest.approx(np.interp(expected_rank, ranks, distinct), rel=0.02, abs=0.05)
    assert not head.serves_mean


def test_ordinal_loss_is_the_mean_cross_entropy_of_its_thresholds():
    head = watch_head(kind="ordinal", num_thresholds=4)
    head.adapt(columns([0.0, 0.0, 5.0, 5.0, 9.0]))
    # Thresholds 0 and 5 alone: the rest repeat, or nothing was watched beyond them.
    loss = float(head.loss(np.zeros((1, 4), "f4"), np.array([5.0], "f4"), np.ones(1, "f4"), {}))
    assert loss == pytest.approx((-math.log(3 / 5) - math.log(1 - 1 / 5)) / 2, rel=1e-5)


def test_ordinal_outputs_of_zero_serve_the_mean_also_where_nothing_is_zero():
    for seconds in (draws()[0], draws()[0] + 3.5, np.array([1.0, 1.0, 2.0])):
        head = watch_head(kind="ordinal", num_thresholds=7)
        head.adapt(columns(seconds))
        assert float(head.served(np.zeros((1, 7), "f4"), {})[0]) == pytest.approx(seconds.mean(), rel=1e-5)


@pytest.mark.parametrize(
    ("config", "rows", "message"),
    [
        (
            {"kind": "tweedie"},
            columns([1.0], [0.0]),
            r"watch_seconds.head needs training rows with a known label. Received: none",
        ),
        ({"kind": "tweedie"}, columns([0.0, 0.0]), r"needs training rows with seconds above 0. Received: none"),
        ({"kind": "weighted_logistic"}, columns([3.0, -1.0]), r"finite and not negative. Received: -1.0"),
        ({"kind": "weighted_logistic"}, columns([3.0, math.nan]), r"finite and not negative. Received: nan"),
        ({"kind": "ordinal"}, columns([3.0, 3.0]), r"with different seconds. Received: 3.0 only"),
        (
            {"kind": "duration_quantile", "duration": "length"},
            columns([3.0, 1.0], length=[[1.0, 2.0], [3.0, 4.0]]),
            r"features of one number a row. Received: length, \(2,\) a row",
        ),
    ],
)
def test_rows_that_do_not_define_a_head_are_refused(config, rows, message):
    with pytest.raises(HeadError, match=message):
        watch_head(**config).adapt(rows)
