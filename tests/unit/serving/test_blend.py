import math
import random
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.config import BlendConfig
from serving.errors import BlendError
from serving.ranker.blend import blended_score, ranked_order

probabilities = st.floats(0, 1)
exponents = st.floats(0, 3)


@given(probabilities, st.floats(0, 1e5), probabilities, exponents, exponents, exponents)
def test_score_is_the_weighted_geometric_blend(click, watch_seconds, satisfaction, a, b, c):
    weights = BlendConfig(click_weight=a, watch_weight=b, satisfaction_weight=c)
    wanted = math.pow(click, a) * math.pow(1 + watch_seconds, b) * math.pow(satisfaction, c)
    assert blended_score(weights, click, watch_seconds, satisfaction) == pytest.approx(wanted, rel=1e-12)


def test_score_by_hand():
    assert blended_score(BlendConfig(), 0.5, 8.0, 0.25) == pytest.approx(0.5 * 3 * 0.5)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, -0.1])
@pytest.mark.parametrize("name", ["click", "watch_seconds", "satisfaction"])
def test_prediction_that_is_not_finite_or_negative_raises(name, value):
    predictions = {"click": 0.1, "watch_seconds": 1.0, "satisfaction": 0.1} | {name: value}
    with pytest.raises(BlendError, match=f"Received: {name}="):
        blended_score(BlendConfig(), **predictions)


@pytest.mark.parametrize(
    "weights", [BlendConfig(click_weight=-1.0), BlendConfig(watch_weight=400.0), BlendConfig(watch_weight=170.0)]
)
def test_score_that_overflows_raises(weights):
    with pytest.raises(BlendError, match="blended score must be finite"):
        blended_score(weights, 0.0 if weights.click_weight < 0 else 1.0, 99.0, 1.0)


def test_a_weight_of_zero_ignores_its_prediction():
    assert blended_score(BlendConfig(click_weight=0, watch_weight=0), 0.0, 7.0, 0.25) == 0.5


def test_order_is_by_score_and_then_by_id_whatever_the_order_of_arrival():
    score_by_id = {"c": 2.0, "a": 1.0, "b": 1.0, "d": 3.0}
    for seed in range(5):
        item_ids = random.Random(seed).sample(sorted(score_by_id), k=4)
        order = ranked_order(item_ids, [score_by_id[item_id] for item_id in item_ids])
        assert [item_ids[index] for index in order] == ["d", "c", "a", "b"]


def test_blending_and_configuration_load_neither_tensorflow_nor_grpc():
    program = (
        "import sys, serving.config, serving.errors, serving.ranker.blend, serving.features.tables;"
        "print([name for name in ('tensorflow', 'grpc', 'pandas') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "[]"
