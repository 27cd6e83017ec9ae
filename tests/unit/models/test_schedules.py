import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.errors import TrainingError
from models.schedules import WarmupThenDecay


def rates(decay, warmup_steps, total_steps, peak=0.5):
    schedule = WarmupThenDecay(peak, decay, warmup_steps, total_steps)
    return [float(schedule(step)) for step in range(total_steps or 10)]


@pytest.mark.parametrize(
    ("decay", "warmup_steps", "total_steps", "expected"),
    [
        ("constant", 0, None, [0.5] * 10),
        ("constant", 4, None, [0.125, 0.25, 0.375] + [0.5] * 7),
        ("linear", 0, 5, [0.5, 0.4, 0.3, 0.2, 0.1]),
        ("linear", 2, 6, [0.25, 0.5, 0.5, 0.375, 0.25, 0.125]),
        ("cosine", 0, 4, [0.5, 0.25 * (1 + math.cos(math.pi / 4)), 0.25, 0.25 * (1 + math.cos(3 * math.pi / 4))]),
        ("cosine", 3, 5, [0.5 / 3, 1 / 3, 0.5, 0.5, 0.25]),
    ],
)
def test_rates_of_hand_worked_schedules(decay, warmup_steps, total_steps, expected):
    assert rates(decay, warmup_steps, total_steps) == pytest.approx(expected, abs=1e-7)


@settings(deadline=None, max_examples=40)
@given(
    decay=st.sampled_from(["linear", "cosine"]), warmup_steps=st.integers(0, 20), decay_steps=st.integers(1, 40), data=st.data()
)
def test_rates_rise_to_the_peak_and_fall_to_zero(decay, warmup_steps, decay_steps, data):
    total_steps = warmup_steps + decay_steps
    schedule = WarmupThenDecay(1.0, decay, warmup_steps, total_steps)
    step = data.draw(st.integers(0, total_steps - 1))
    here, after = float(schedule(step)), float(schedule(step + 1))
    assert 0 < here <= 1
    assert after >= here - 1e-6 if step + 1 < warmup_steps else True
    assert after <= here + 1e-6 if step >= warmup_steps else True
    assert float(schedule(warmup_steps)) == 1
    assert float(schedule(total_steps)) == pytest.approx(0, abs=1e-6)
    assert float(schedule(total_steps + 5)) == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("warmup_steps", [10, 11])
def test_a_warmup_without_an_end_is_an_error(warmup_steps):
    with pytest.raises(TrainingError, match=rf"must be fewer than the steps of all epochs, 10. Received: {warmup_steps}"):
        WarmupThenDecay(1.0, "linear", warmup_steps, 10)


def test_configuration_round_trip():
    schedule = WarmupThenDecay(0.1, "cosine", 3, 20)
    again = WarmupThenDecay.from_config(schedule.get_config())
    assert [float(schedule(step)) for step in range(22)] == [float(again(step)) for step in range(22)]
