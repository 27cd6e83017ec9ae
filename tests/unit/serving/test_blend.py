import math
import random
import subprocess
import sys

import numpy as np
import pydantic
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serving.config import BlendConfig
from serving.errors import BlendError
from serving.ranker.blend import blended_scores, diversified_order, ranked_order
from serving.ranker.config import DurationConfig

probabilities = st.floats(0, 1)
exponents = st.floats(0, 3)
predictions = st.lists(st.tuples(probabilities, st.floats(0, 1e5), probabilities), min_size=1, max_size=8)
DURATION = DurationConfig(column="duration_seconds", durations=(10, 30, 60), usual_watch_seconds=(5, 9, 15))


def usual_by_hand(duration):
    """The curve of DURATION, written out."""
    if duration <= 10:
        return 5.0
    if duration <= 30:
        return 5 + (duration - 10) / 20 * 4
    return 9 + (duration - 30) / 30 * 6 if duration <= 60 else 15.0


def score_by_hand(config, click, watch_seconds, satisfaction, duration=None):
    click, watch_seconds, satisfaction = (
        min(value, config.caps.get(name, math.inf))
        for name, value in (("click", click), ("watch_seconds", watch_seconds), ("satisfaction", satisfaction))
    )
    watch = 1 + watch_seconds
    if config.duration is not None:
        usual = watch if duration is None else 1 + usual_by_hand(duration)
        watch /= math.pow(usual, config.duration.strength)
    a, b, c = config.click_weight, config.watch_weight, config.satisfaction_weight
    if config.kind == "linear":
        return a * click + b * (watch - 1) + c * satisfaction
    return math.pow(click, a) * math.pow(watch, b) * math.pow(satisfaction, c)


@settings(deadline=None)
@given(
    predictions,
    st.tuples(exponents, exponents, exponents),
    st.sampled_from(["geometric", "linear"]),
    st.dictionaries(st.sampled_from(["click", "watch_seconds", "satisfaction"]), st.floats(0.01, 50)),
    st.none() | st.floats(0, 1),
    st.lists(st.none() | st.floats(0, 100), min_size=8, max_size=8),
)
def test_scores_are_those_of_the_definition(rows, weights, kind, caps, strength, durations):
    config = BlendConfig(
        kind=kind,
        **dict(zip(("click_weight", "watch_weight", "satisfaction_weight"), weights, strict=True)),
        caps=caps,
        duration=None if strength is None else DURATION.model_copy(update={"strength": strength}),
    )
    durations = durations[: len(rows)]
    wanted = [score_by_hand(config, *row, duration) for row, duration in zip(rows, durations, strict=True)]
    given_back = blended_scores(config, *zip(*rows, strict=True), [math.nan if d is None else d for d in durations])
    assert given_back == pytest.approx(wanted, rel=1e-9, abs=1e-9)


def test_scores_by_hand():
    assert blended_scores(BlendConfig(), [0.5], [8.0], [0.25]).tolist() == [0.5 * 3 * 0.5]
    linear = BlendConfig(kind="linear", watch_weight=0.1, satisfaction_weight=2)
    assert blended_scores(linear, [0.5], [8.0], [0.25]).tolist() == pytest.approx([0.5 + 0.8 + 0.5])
    by_duration = BlendConfig(click_weight=0, watch_weight=1, satisfaction_weight=0, duration=DURATION)
    # As watched as is usual for its duration: 1, whatever the duration; twice as much counts more than half as much.
    assert blended_scores(by_duration, [0] * 4, [5.0, 9.0, 15.0, 77.0], [0] * 4, [10, 30, 600, math.nan]).tolist() == [
        1,
        1,
        1,
        1,
    ]
    assert blended_scores(by_duration, [0] * 2, [11.0, 7.0], [0] * 2, [10, 60]).tolist() == [2.0, 0.5]
    assert blended_scores(by_duration, [0], [3.0], [0]).tolist() == [1.0]


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, -0.1])
@pytest.mark.parametrize("name", ["click", "watch_seconds", "satisfaction"])
def test_prediction_that_is_not_finite_or_negative_raises(name, value):
    predictions = {"click": [0.1, 0.1], "watch_seconds": [1.0, 1.0], "satisfaction": [0.1, 0.1]}
    predictions[name] = [0.1, value]
    with pytest.raises(BlendError, match=f"{name} must be finite and not negative. Received: {name}={value}"):
        blended_scores(BlendConfig(), **predictions)


@pytest.mark.parametrize(
    "weights", [BlendConfig(click_weight=-1.0), BlendConfig(watch_weight=400.0), BlendConfig(watch_weight=170.0)]
)
def test_score_that_overflows_raises(weights):
    with pytest.raises(BlendError, match=r"blended score must be finite. Received: .*'watch_seconds': 99.0"):
        blended_scores(weights, [1.0, 0.0 if weights.click_weight < 0 else 1.0], [0.0, 99.0], [1.0, 1.0])


def test_a_weight_of_zero_ignores_its_prediction():
    assert blended_scores(BlendConfig(click_weight=0, watch_weight=0), [0.0], [7.0], [0.25]).tolist() == [0.5]


@given(st.lists(st.sampled_from([0.0, -0.0, 1.0, 2.5]) | st.floats(allow_nan=False), max_size=9), st.randoms())
def test_order_is_by_score_and_then_by_id_whatever_the_order_of_arrival(scores, shuffler):
    ids = [f"i{place}" for place in range(len(scores))]
    shuffler.shuffle(ids)
    wanted = sorted(range(len(ids)), key=lambda place: (-scores[place], ids[place]))
    assert ranked_order(ids, scores).tolist() == wanted


def test_order_by_hand():
    score_by_id = {"c": 2.0, "a": 1.0, "b": 1.0, "d": 3.0}
    for seed in range(5):
        item_ids = random.Random(seed).sample(sorted(score_by_id), k=4)
        order = ranked_order(item_ids, [score_by_id[item_id] for item_id in item_ids])
        assert [item_ids[index] for index in order] == ["d", "c", "a", "b"]


def greedy_order(order, scores, values, relevance):
    """Carbonell and Goldstein's rule, one choice after the other."""
    low, high = min(scores), max(scores)
    left, chosen = list(order), []
    while left:
        marginal = []
        for candidate in left:
            relevant = (scores[candidate] - low) / (high - low) if high > low else 1.0
            alike = max(
                (float(values[candidate] is not None and values[candidate] == values[other]) for other in chosen), default=0.0
            )
            marginal.append(relevance * relevant - (1 - relevance) * alike)
        chosen.append(left.pop(marginal.index(max(marginal))))
    return chosen


@settings(deadline=None)
@given(
    # Sixty-fourths, of which halves and distances are exact: ties are ties in both.
    st.lists(st.tuples(st.integers(0, 64), st.sampled_from(["a", "b", "c", None])), min_size=1, max_size=12),
    st.sampled_from([0.25, 0.5, 0.75, 1.0]),
)
def test_diversity_is_the_greedy_choice_of_maximal_marginal_relevance(rows, relevance):
    scores, values = [0.0, 1.0, *(score / 64 for score, _ in rows)], [None, None, *(value for _, value in rows)]
    order = ranked_order([f"{place:02}" for place in range(len(scores))], scores)
    assert diversified_order(order, scores, values, relevance).tolist() == greedy_order(
        order.tolist(), scores, values, relevance
    )


def test_diversity_by_hand():
    scores, values = [1.0, 0.9, 0.8, 0.0], ["a", "a", "b", "b"]
    assert diversified_order([0, 1, 2, 3], scores, values, 0.5).tolist() == [0, 2, 1, 3]
    assert diversified_order([0, 1, 2, 3], scores, values, 1.0).tolist() == [0, 1, 2, 3]
    assert diversified_order([1, 0], [1.7e308, -1.7e308][::-1], ["a", "a"], 0.5).tolist() == [1, 0]
    assert diversified_order([], [], [], 0.5).tolist() == []


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"durations": (30, 10, 60)}, r"durations must ascend. Received: \[30.0, 10.0, 60.0\]"),
        ({"usual_watch_seconds": (5,)}, r"usual_watch_seconds must hold one number a duration \(3\). Received: 1"),
        ({"usual_watch_seconds": (5, -1, 3)}, "greater than or equal to 0"),
    ],
)
def test_a_curve_that_is_none_is_refused(changes, message):
    with pytest.raises(pydantic.ValidationError, match=message):
        DurationConfig(**DURATION.model_dump() | changes)


def test_what_is_pure_loads_neither_tensorflow_nor_grpc():
    program = (
        "import sys, serving.config, serving.errors, serving.ranker.blend, serving.features.tables, serving.experiments.split,"
        "serving.features.sqlite_store;"
        "print([name for name in ('tensorflow', 'grpc', 'pandas', 'redis') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "[]"


def test_scores_of_many_candidates_are_those_of_each():
    random_ = np.random.default_rng(0)
    columns = random_.random(100), 100 * random_.random(100), random_.random(100)
    config = BlendConfig(duration=DURATION, caps={"watch_seconds": 50.0})
    together = blended_scores(config, *columns, np.arange(100.0))
    one_by_one = [blended_scores(config, *([column[place]] for column in columns), [float(place)])[0] for place in range(100)]
    assert together.tolist() == one_by_one
