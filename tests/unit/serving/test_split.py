import hashlib

import pydantic
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from serving.experiments.config import ExperimentConfig
from serving.experiments.split import TrafficSplit, unit_hash

units = st.text(max_size=8)
weights = st.dictionaries(st.sampled_from(["a", "b", "c", "d"]), st.floats(0.1, 10), min_size=1)


@settings(deadline=None)
@given(units, units, weights, st.floats(0, 1), st.floats(0, 1))
def test_a_greater_ramp_moves_no_unit_between_arms(unit, salt, weights, one, other):
    low, high = sorted((one, other))
    salt = salt or "s"
    before = TrafficSplit(ExperimentConfig(salt=salt, ramp=low, weights=weights)).arm(unit)
    after = TrafficSplit(ExperimentConfig(salt=salt, ramp=high, weights=weights)).arm(unit)
    assert after == before or before == "default"


def test_arms_by_the_definition():
    """By the hash's definition: blake2b of length-prefixed texts, 53 bits of 64."""

    def share(purpose, unit):
        content = b"".join(len(one.encode()).to_bytes(4, "little") + one.encode() for one in ("salt", purpose, unit))
        return (int.from_bytes(hashlib.blake2b(content, digest_size=8).digest(), "little") // 2**11) / 2**53

    split = TrafficSplit(ExperimentConfig(salt="salt", ramp=0.4, weights={"control": 1, "small": 3}))
    for number in range(200):
        unit = f"user {number}"
        assert unit_hash("salt", "arm", unit) == share("arm", unit)
        wanted = "default" if share("ramp", unit) >= 0.4 else "control" if share("arm", unit) < 0.25 else "small"
        assert split.arm(unit) == wanted


def test_shares_are_those_declared():
    split = TrafficSplit(ExperimentConfig(salt="x", ramp=0.5, weights={"a": 1, "b": 1, "c": 2}))
    counts = dict.fromkeys(("a", "b", "c", "default"), 0)
    for number in range(20_000):
        counts[split.arm(str(number))] += 1
    assert stats.chisquare(list(counts.values()), [2_500, 2_500, 5_000, 10_000]).pvalue > 1e-3


def test_two_experiments_do_not_know_of_each_other():
    one, other = (TrafficSplit(ExperimentConfig(salt=salt, weights={"a": 1, "b": 1})) for salt in ("one", "two"))
    table = [[0, 0], [0, 0]]
    for number in range(20_000):
        table["ab".index(one.arm(str(number)))]["ab".index(other.arm(str(number)))] += 1
    assert stats.chi2_contingency(table).pvalue > 1e-3


def test_nobody_is_in_no_experiment():
    assert TrafficSplit(None).arm("u") == "default"
    assert {TrafficSplit(ExperimentConfig(salt="s", ramp=0, weights={"a": 1})).arm(str(n)) for n in range(50)} == {"default"}
    assert {TrafficSplit(ExperimentConfig(salt="s", ramp=1, weights={"a": 1})).arm(str(n)) for n in range(50)} == {"a"}


def test_salt_and_unit_do_not_run_into_each_other():
    assert unit_hash("ab", "arm", "c") != unit_hash("a", "arm", "bc")


def test_the_default_arm_is_nobodys_name():
    with pytest.raises(pydantic.ValidationError, match="weights must not name default, the arm of those outside"):
        ExperimentConfig(salt="s", weights={"default": 1})
