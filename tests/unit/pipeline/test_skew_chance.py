"""What chance makes of a distance, against SciPy and against samples that are drawn anew."""

import math

import numpy as np
import pytest
import scipy.spatial.distance
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.skew.chance import Resampling, jensen_shannon_distance, jensen_shannon_divergence, l_infinity

SHARES = st.lists(st.tuples(*[st.integers(0, 50)] * 3), min_size=2, max_size=12).filter(
    lambda rows: all(sum(column) for column in zip(*rows, strict=True))
)


@settings(deadline=None)
@given(SHARES)
def test_distances_are_those_of_their_definition(rows):
    p, q, r = (np.array(column) / sum(column) for column in zip(*rows, strict=True))
    assert l_infinity(p, q) == pytest.approx(max(abs(a - b) for a, b in zip(p, q, strict=True)))
    assert jensen_shannon_distance(p, q) == pytest.approx(scipy.spatial.distance.jensenshannon(p, q, base=2), abs=1e-7)
    assert jensen_shannon_divergence(p, q) == pytest.approx(jensen_shannon_distance(q, p) ** 2)
    for distance_fn in (l_infinity, jensen_shannon_distance):
        assert distance_fn(p, r) <= distance_fn(p, q) + distance_fn(q, r) + 1e-7
    assert np.array_equal(l_infinity(np.stack([p, r]), q), [l_infinity(p, q), l_infinity(r, q)])


def test_chance_of_a_share_is_that_of_its_standard_error():
    """Rows of as many users: the largest of 1,000 deviations is 3.2 standard errors or so."""
    rng = np.random.default_rng(1)
    bins = (rng.random(2_000) < 0.3).astype(int)
    chance = Resampling([f"u{row}" for row in range(2_000)], 10**9).chance(np.arange(2_000), bins, l_infinity)
    assert 2.6 < chance / math.sqrt(0.3 * 0.7 / 2_000) < 4.5
    # As few training users as served ones: two errors instead of one.
    both = Resampling([f"u{row}" for row in range(2_000)], 2_000).chance(np.arange(2_000), bins, l_infinity)
    assert both == pytest.approx(chance * math.sqrt(2))


def test_rows_of_one_user_count_as_one():
    rng = np.random.default_rng(2)
    traits = (rng.random(200) < 0.3).astype(int)
    alone = Resampling([f"u{user}" for user in range(200)], 10**9).chance(np.arange(200), traits, l_infinity)
    users = np.repeat([f"u{user}" for user in range(200)], 10)
    assert Resampling(users, 10**9).chance(np.arange(2_000), np.repeat(traits, 10), l_infinity) == pytest.approx(alone)


@pytest.mark.parametrize("distance_fn", [l_infinity, jensen_shannon_distance])
@pytest.mark.parametrize("num_users", [30, 300, 3_000])
def test_samples_of_one_distribution_lie_within_chance(distance_fn, num_users):
    """Users with tastes of their own, five rows each, against as many training users four times over."""
    shares, beyond = np.array([0.5, 0.3, 0.15, 0.05]), 0
    for seed in range(40):
        rng = np.random.default_rng(seed)

        def drawn(count, rng=rng):
            tastes = rng.dirichlet(4 * shares, count)
            return np.array([rng.choice(4, 5, p=taste) for taste in tastes])

        served, training = drawn(num_users), drawn(4 * num_users)
        resampling = Resampling(np.repeat(np.arange(num_users), 5), 4 * num_users, seed)
        chance = resampling.chance(np.arange(served.size), served.ravel(), distance_fn)
        of_served, of_training = (np.bincount(each.ravel(), minlength=4) / each.size for each in (served, training))
        beyond += distance_fn(of_served, of_training) > chance
    assert beyond <= 1


def test_values_that_few_rows_have_are_resampled_alone():
    """Resamples in which nobody has a value say nothing."""
    chance = Resampling(["u1", "u2", "u3"], 10).chance(np.array([0, 0]), np.array([0, 1]), l_infinity)
    assert chance == 0.0
