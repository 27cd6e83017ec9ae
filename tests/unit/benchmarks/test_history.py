import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.figures import PROJECT
from benchmarks.gains import CLICK_AUC_GAIN, Gain, gain_figures, gain_rows, gain_table, gains, interval
from benchmarks.history.benchmark import page_text
from benchmarks.history.study import OWN_TRAINING, in_best_form, prepare, refreshed_daily, without_past
from benchmarks.jobs import quick_job
from data.columns import aggregate_entries, history_fields, labelled_schema
from data.examples import read_examples
from models.config import TaskConfig
from pipeline.config import load
from pipeline.scoring import ScoredRows

TASKS = (TaskConfig(label="click", head="binary"), TaskConfig(label="watch_seconds", head="log1p"))
NUM_ROWS = 300


def scored(click_noise, seconds_noise, seed, keys_seed=0):
    truth, noise = np.random.default_rng(keys_seed), np.random.default_rng(100 + seed)
    users = truth.integers(30, size=NUM_ROWS)
    click = truth.integers(2, size=NUM_ROWS).astype(np.float32)
    seconds = truth.exponential(20, size=NUM_ROWS).astype(np.float32)
    return ScoredRows(
        keys={"user_id": users.astype("S"), "item_id": truth.integers(9, size=NUM_ROWS).astype("S"), "day": np.full(300, b"d")},
        labels={"click": click, "watch_seconds": seconds},
        masks={"click": np.ones(NUM_ROWS), "watch_seconds": (np.arange(NUM_ROWS) % 3 > 0).astype(float)},
        predictions={
            "click": 1 / (1 + np.exp(-(click - 0.5 + click_noise * noise.normal(size=NUM_ROWS)))),
            "watch_seconds": seconds + seconds_noise * noise.uniform(size=NUM_ROWS),
        },
    )


def auc_by_pairs(labels, predictions):
    positive, negative = ([p for y, p in zip(labels, predictions, strict=True) if y == label] for label in (1, 0))
    return sum((p > q) + (p == q) / 2 for p in positive for q in negative) / (len(positive) * len(negative))


def test_interval_adds_the_margins_of_seeds_and_rows_as_squares():
    # Mean 2, standard deviation 1, and the t distribution's 97.5% point at 2 degrees of freedom.
    of_seeds = 4.302653 / math.sqrt(3)
    assert interval((1.0, 2.0, 3.0)) == pytest.approx((2 - of_seeds, 2 + of_seeds), rel=1e-6)
    low, high = interval((1.0, 2.0, 3.0), 4.0, 0.5)
    assert (2 - low, high - 2) == pytest.approx((math.sqrt(of_seeds**2 + 16), math.sqrt(of_seeds**2 + 0.25)), rel=1e-6)


@settings(deadline=None, max_examples=50)
@given(st.lists(st.floats(-1, 1), min_size=2, max_size=6), st.floats(0, 1), st.floats(0, 1))
def test_interval_holds_the_mean_and_grows_with_doubt(by_seed, below, above):
    low, high = interval(by_seed, below, above)
    inner_low, inner_high = interval(by_seed)
    mean = sum(by_seed) / len(by_seed)
    assert low <= min(mean - below, inner_low) + 1e-12
    assert high >= max(mean + above, inner_high) - 1e-12


def test_gains_are_paired_by_seed_and_keep_to_known_labels():
    before = [scored(3.0, 50.0, seed) for seed in (0, 1, 2)]
    after = [scored(1.0, 10.0, seed) for seed in (0, 1, 2)]
    by_key = {(gain.label, gain.measure): gain for gain in gains(before, after, TASKS, 50)}
    assert set(by_key) == {
        *(("click", measure) for measure in ("auc", "gauc", "log_loss", "expected_calibration_error")),
        *(("watch_seconds", measure) for measure in ("xauc", "mean_absolute_error_seconds")),
    }
    auc = by_key["click", "auc"]
    expected = [[auc_by_pairs(rows.labels["click"], rows.predictions["click"]) for rows in each] for each in (before, after)]
    assert auc.by_seed == pytest.approx([second - first for first, second in zip(*expected, strict=True)], abs=1e-9)
    assert (auc.before, auc.after) == pytest.approx([sum(each) / 3 for each in expected], abs=1e-9)
    assert 0 < auc.low < auc.mean < auc.high
    mae = by_key["watch_seconds", "mean_absolute_error_seconds"]
    known = [index for index in range(NUM_ROWS) if index % 3]
    errors = [
        sum(abs(float(rows.labels["watch_seconds"][i]) - float(rows.predictions["watch_seconds"][i])) for i in known) / 200
        for rows in before
    ]
    assert mae.before == pytest.approx(sum(errors) / 3, rel=1e-6)
    assert mae.high < 0


def test_equal_rankers_gain_nothing():
    rows = [scored(2.0, 5.0, seed) for seed in (0, 1)]
    assert {(gain.mean, gain.low, gain.high) for gain in gains(rows, rows, TASKS, 20)} == {(0.0, 0.0, 0.0)}


def test_the_interval_of_one_seed_or_of_other_rows_is_refused():
    one, two = [scored(1.0, 1.0, 0)], [scored(1.0, 1.0, seed) for seed in (0, 1)]
    with pytest.raises(ValueError, match=r"same two or more seeds\. Received: 1 and 1"):
        gains(one, one, TASKS, 20)
    with pytest.raises(ValueError, match=r"same two or more seeds\. Received: 2 and 1"):
        gains(two, one, TASKS, 20)
    with pytest.raises(ValueError, match=r"same rows in the same order"):
        gains(two, [scored(1.0, 1.0, seed, keys_seed=1) for seed in (0, 1)], TASKS, 20)


FOUND = [
    Gain("click", "auc", 0.72, 0.74, (0.01, 0.03), 0.005, 0.035),
    Gain("watch_seconds", "mean_absolute_error_seconds", 19.0, 18.5, (-0.4, -0.6), -0.9, -0.1),
]


def test_only_the_auc_of_the_click_has_a_target():
    figures = gain_figures("past", FOUND, CLICK_AUC_GAIN)
    assert {name: figure.holds for name, figure in figures.items() if figure.target} == {"past: click auc, gain": True}
    gain = figures["past: click auc, gain"]
    assert (gain.value, gain.low, gain.high, gain.num_repeats) == (pytest.approx(0.02), 0.01, 0.03, 2)
    assert figures["past: click auc, gain at least"].value == 0.005
    assert figures["past: watch_seconds mean_absolute_error_seconds, gain at most"].value == -0.1
    assert figures["past: watch_seconds mean_absolute_error_seconds, gain"].unit == "s"
    assert not any(figure.target for figure in gain_figures("refresh", FOUND).values())


def test_table_and_page():
    assert gain_rows(FOUND)[0] == ["click", "auc", "0.7200", "0.7400", "+0.0200", "+0.0050 to +0.0350"]
    table = gain_table(FOUND, "without", "with").splitlines()
    assert table[0] == "| task | measure | without | with | gain | 95% interval |"
    assert table[3] == "| watch seconds | mean absolute error seconds | 19.0000 | 18.5000 | -0.5000 | -0.9000 to -0.1000 |"
    text = page_text(FOUND, FOUND, FOUND[:1])
    assert text.startswith("Means of 2 seeds, the past as configured, against the same ranker")
    assert "refreshed once a day | as configured" in text


def kuairand():
    return load(PROJECT / "configs" / "kuairand.toml")


def test_the_ranker_without_the_past_differs_in_the_past_its_user_and_its_training():
    config = kuairand()
    same, own = without_past(config), in_best_form(without_past(config))
    past = {field.name for field in history_fields(config.data.history)}
    names, own_names = ([feature.name for feature in each.model.features] for each in (config, own))
    assert past & set(names)
    assert sorted(own_names) == sorted({*names, "user_id"} - past)
    assert sorted(feature.name for feature in same.model.features) == sorted({*names} - past)
    assert (same.train, same.data) == (config.train, config.data)
    assert own.train == config.train.model_copy(update=OWN_TRAINING)
    assert own.model.model_copy(update={"features": config.model.features}) == config.model
    assert own.data == config.data


def test_refresh_is_turned_both_ways():
    config = kuairand()
    history, daily = config.data.history, refreshed_daily(config).data.history
    assert 0.0 in map(history.refresh_of, history.aggregates)
    assert {*map(daily.refresh_of, (*daily.aggregates, *daily.sequences)), daily.refresh_hours} == {24.0}
    assert refreshed_daily(config).model == config.model
    own = [aggregate.model_copy(update={"refresh_hours": None}) for aggregate in history.aggregates]
    assert list(daily.aggregates) == own


def test_evaluation_rows_come_with_their_keys_and_labels(tmp_path):
    config = quick_job(tmp_path, num_impressions=2_000)
    features = [feature for feature in config.sized_model.features if feature.name in ("surface", "item_history")]
    prepared = prepare(config, tmp_path / "job", features)
    paths = sorted(str(path) for path in (tmp_path / "job" / "eval").glob("*.gz"))
    raw = read_examples(paths, labelled_schema(config.data))
    assert len(raw) == len(prepared.rows.keys["day"]) > 200
    assert [key.decode() for key in prepared.rows.keys["item_id"]] == raw["item_id"].to_pylist()
    np.testing.assert_array_equal(prepared.rows.labels["click"], raw["click"].to_numpy())
    assert sum(len(batch["surface"]) for batch in prepared.batches) == len(raw)
    (aggregate,) = (one for one in config.data.history.aggregates if one.key == ("item_id",))
    assert prepared.batches[0]["item_history"].shape[1] == len(aggregate_entries(aggregate))
