import dataclasses

import numpy as np
import pytest

from models.bootstrap import Estimate, paired_estimates
from models.config import ModelConfig
from models.metrics import auc, mean_absolute_error, reliability_bins, xauc
from pipeline.evaluation_config import EvaluationConfig, GateConfig
from pipeline.gate import evaluate_candidate, judge, read_evaluation, write_evaluation
from pipeline.measuring import MeasureResult, measure_task
from pipeline.scoring import InService, ScoredRows
from tests.unit.pipeline.saved_models import LABELS

TASKS = ModelConfig.model_fields["tasks"].default
CLICK, WATCH, SATISFACTION = TASKS


def scored(seed=0, num_rows=3_000, num_users=400, noise=1.0, model=0, **more_noise):
    """Rows of one feed as a model scores them; the same seed is the same feed, whatever the model and its noise by task."""
    feed, own = np.random.default_rng(seed), np.random.default_rng([seed, model])
    users, taste, mood = feed.integers(num_users, size=num_rows), *feed.normal(size=(2, num_rows))
    draw = feed.normal(size=(2, num_rows))
    labels = {
        "click": (taste + draw[0] > 0).astype(np.float32),
        "watch_seconds": np.exp(1 + taste + mood).astype(np.float32),
        "satisfaction": (mood + draw[1] > 1).astype(np.float32),
    }
    masks = {label: (feed.random(num_rows) < 0.9).astype(np.float32) for label in LABELS}
    shift = {label: own.normal(size=num_rows) * more_noise.get(label, noise) for label in LABELS}
    predictions = {
        "click": 1 / (1 + np.exp(-taste - shift["click"])),
        "watch_seconds": np.exp(1 + taste + mood + shift["watch_seconds"]),
        "satisfaction": 1 / (1 + np.exp(1 - mood - shift["satisfaction"])),
    }
    keys = {
        "user_id": np.array([b"u%d" % user for user in users], object),
        "item_id": np.full(num_rows, b"i", object),
        "day": np.array([b"2026-01-0%d" % day for day in feed.integers(2, 4, size=num_rows)], object),
        "request_id": np.array([b"r%d" % request for request in feed.integers(3, size=num_rows)], object),
    }
    return ScoredRows(keys, labels, masks, predictions)


def with_predictions(rows, **predictions):
    return dataclasses.replace(rows, predictions={**rows.predictions, **predictions})


def judged(candidate, in_service=None, unseen_from="2026-01-02", **evaluation):
    settings = EvaluationConfig.model_validate({"replicates": 100, **evaluation})
    in_service = in_service and InService("version 17", in_service, unseen_from)
    return evaluate_candidate(candidate, in_service, TASKS, settings)


def test_first_model_passes_without_floors():
    result = judged(scored())
    assert (result.is_blessed, result.blocks, result.notes, result.in_service) == (True, (), (), "")
    assert (result.num_rows, result.num_users) == (3_000, 400)
    assert all(measure.change is None for task in result.tasks for measure in task.measures.values())


@pytest.mark.parametrize(
    ("worse", "title", "verb"), [("click", "click AUC", "fell"), ("watch_seconds", "watch_seconds XAUC", "fell")]
)
def test_worse_model_is_held_back_for_its_task_alone(worse, title, verb):
    in_service = scored()
    candidate = with_predictions(in_service, **{worse: scored(noise=3.0).predictions[worse]})
    result = judged(candidate, in_service)
    [line] = result.blocks
    assert line.startswith(f"{title} {verb} by 0.")
    assert line.endswith("against the model in service, version 17")
    assert not result.is_blessed
    assert [bool(task.gate.blocks) for task in result.tasks] == [task.label == worse for task in TASKS]
    loss, low, high = (float(number.strip("(),")) for number in (line.split(" by ")[1].split(" ")[i] for i in (0, 1, 3)))
    assert 0 < low < loss < high


def test_numbers_of_a_block_are_the_change_in_the_measure():
    in_service, noisy = scored(), scored(noise=3.0)
    candidate = with_predictions(in_service, click=noisy.predictions["click"])
    is_known = in_service.masks["click"] > 0
    values = [
        auc(in_service.labels["click"][is_known], rows.predictions["click"][is_known]) for rows in (in_service, candidate)
    ]
    result = judged(candidate, in_service)
    measure = result.task("click").measures["auc"]
    assert (measure.before.estimate, measure.value) == pytest.approx(values, abs=1e-12)
    assert measure.change.estimate == pytest.approx(values[1] - values[0], abs=1e-12)
    assert f"fell by {values[0] - values[1]:.4f} " in result.blocks[0]
    assert measure.is_worse
    assert not measure.is_better


def test_swapped_tasks_are_found_out():
    """A model whose outputs of two tasks changed places is as good on average, and no good on either."""
    in_service = scored(click=0.5, satisfaction=0.5)
    swapped = with_predictions(
        in_service, click=in_service.predictions["satisfaction"], satisfaction=in_service.predictions["click"]
    )
    lines = judged(swapped, in_service).blocks
    assert [line.split(" by ")[0] for line in lines] == ["click AUC fell", "satisfaction AUC fell"]


def test_each_task_is_measured_on_its_own_rows():
    """Planted bug: measures of satisfaction taken from the labels, the scores or the mask of clicks."""
    rows = scored()
    right = judged(rows).task("satisfaction")
    is_known = rows.masks["satisfaction"] > 0
    assert right.num_rows == is_known.sum() != (rows.masks["click"] > 0).sum()
    truth = auc(rows.labels["satisfaction"][is_known], rows.predictions["satisfaction"][is_known])
    assert right.measures["auc"].value == pytest.approx(truth, abs=1e-12)
    for part in ("labels", "masks", "predictions"):
        columns = getattr(rows, part)
        planted = dataclasses.replace(rows, **{part: {**columns, "satisfaction": columns["click"]}})
        assert judged(planted).task("satisfaction").measures["auc"].value != pytest.approx(truth, abs=1e-4), part


def test_noise_passes():
    """Of 120 models just as good as the one in service, 2.5% of a task are to be held back by chance: 3, hardly 8."""
    num_blocked = 0
    for seed in range(120):
        first, second = (scored(seed, 800, 120, model=model) for model in (0, 1))
        columns = first.labels["click"], first.predictions["click"], second.predictions["click"], first.users
        before, after, change = paired_estimates("auc", *columns, num_replicates=200, weights=first.masks["click"])
        measures = {"auc": MeasureResult("click", "auc", after, before=before, change=change)}
        num_blocked += bool(judge(CLICK, measures, GateConfig(), "version 17").blocks)
    assert 0 < num_blocked < 8


def test_tolerance_forgives_as_much_as_it_says():
    in_service = scored()
    candidate = with_predictions(in_service, click=scored(noise=1.5).predictions["click"])
    change = judged(candidate, in_service).task("click").measures["auc"].change
    assert change.high < 0
    for factor, is_blessed in ((0.99, False), (1.01, True)):
        gates = {"click": {"tolerance": -change.high * factor}}
        result = judged(candidate, in_service, gates=gates)
        assert result.is_blessed == is_blessed
    [line] = judged(candidate, in_service, gates={"click": {"tolerance": 0.001}}).blocks
    assert line.endswith("version 17; 0.001 is tolerated")


def test_floor():
    rows = scored()
    value = judged(rows).task("click").measures["auc"].value
    assert judged(rows, gates={"click": {"floor": value}}).is_blessed
    [line] = judged(rows, gates={"click": {"floor": 0.95}}).blocks
    assert line.startswith(f"click AUC is {value:.4f} (0.")
    assert line.endswith("), the floor is 0.95")


def test_floor_of_an_error_is_a_ceiling():
    rows = scored()
    gate = {"measure": "mean_absolute_error_seconds", "floor": 1.0}
    [line] = judged(rows, gates={"watch_seconds": gate}).blocks
    assert line.startswith("watch_seconds MAE, s is ")
    assert line.endswith("the ceiling is 1")
    assert judged(rows, gates={"watch_seconds": {**gate, "floor": 1_000.0}}).is_blessed


def test_error_that_rose_is_a_loss():
    in_service = scored()
    candidate = with_predictions(in_service, watch_seconds=in_service.predictions["watch_seconds"] * 3)
    assert judged(candidate, in_service).is_blessed
    [line] = judged(candidate, in_service, gates={"watch_seconds": {"measure": "mean_absolute_error_seconds"}}).blocks
    known = in_service.masks["watch_seconds"] > 0
    errors = [
        mean_absolute_error(in_service.labels["watch_seconds"][known], rows.predictions["watch_seconds"][known])
        for rows in (in_service, candidate)
    ]
    assert line.startswith(f"watch_seconds MAE, s rose by {errors[1] - errors[0]:.4f} (")


def test_task_of_one_class_blocks_only_with_a_floor():
    rows = scored()
    rows = dataclasses.replace(rows, labels={**rows.labels, "satisfaction": np.zeros(3_000, np.float32)})
    result = judged(rows, rows)
    assert result.is_blessed
    assert result.notes == ("satisfaction AUC is not defined: all labels are of one class",)
    [line] = judged(rows, rows, gates={"satisfaction": {"floor": 0.5}}).blocks
    assert line == "satisfaction AUC is not defined: all labels are of one class, and its floor is 0.5"


def test_scores_that_are_no_numbers_are_held_back():
    rows = scored()
    broken = rows.predictions["click"].copy()
    broken[np.flatnonzero(rows.masks["click"] > 0)[:12]] = np.nan
    broken[np.flatnonzero(rows.masks["click"] == 0)[:5]] = np.inf
    result = judged(with_predictions(rows, click=broken), rows)
    assert result.blocks == ("click AUC is not defined: 12 predictions are not finite",)
    assert result.task("click").reliability == ()


def test_a_score_that_is_no_number_holds_back_though_its_label_is_unknown():
    rows = scored()
    broken = rows.predictions["watch_seconds"].copy()
    broken[np.flatnonzero(rows.masks["watch_seconds"] == 0)[:5]] = np.nan
    broken = with_predictions(rows, watch_seconds=broken)
    line = "watch_seconds: 5 predictions of rows without a known label are not finite"
    assert judged(broken, rows).blocks == (line,)
    # As the model in service it can be compared with all the same.
    assert judged(rows, broken).task("watch_seconds").measures["xauc"].change is not None


def test_model_without_a_task_is_held_back():
    rows = scored()
    without = dataclasses.replace(rows, predictions={label: rows.predictions[label] for label in ("click", "watch_seconds")})
    assert judged(without).blocks == ("satisfaction AUC is not defined: the model has no such output",)


def test_model_in_service_without_a_task_is_not_compared():
    rows = scored()
    old = dataclasses.replace(rows, predictions={"click": rows.predictions["click"]})
    result = judged(with_predictions(rows, click=scored(noise=3.0).predictions["click"]), old)
    assert result.notes == tuple(
        line
        for label in ("watch_seconds", "satisfaction")
        for line in (f"{label} is not compared with version 17: the model has no such output", unjudged(label))
    )
    assert [line.split(" by ")[0] for line in result.blocks] == ["click AUC fell"]
    assert result.task("satisfaction").measures["auc"].value > 0.6


def unjudged(label):
    return f"{label} passed unjudged: it has no floor, and no change against version 17 was measured"


def memorised(rows, day):
    """Rows as a model scores them that was trained on this day's labels."""
    is_seen = rows.keys["day"] == day
    return with_predictions(rows, click=np.where(is_seen, 0.1 + 0.8 * rows.labels["click"], rows.predictions["click"]))


def test_days_that_the_model_in_service_was_trained_on_do_not_count_for_the_change():
    """It knows by heart what happened on 2 January; on 3 January both models say the same."""
    rows = scored()
    in_service = memorised(rows, b"2026-01-02")
    assert not judged(rows, in_service, unseen_from="2026-01-02").is_blessed
    result = judged(rows, in_service, unseen_from="2026-01-03")
    assert result.is_blessed
    change = result.task("click").measures["auc"].change
    assert (change.estimate, change.low, change.high) == (0, 0, 0)
    assert result.notes == ("changes, and the values of version 17, are of the rows from 2026-01-03 on, which it has not seen",)
    assert (result.in_service, result.is_compared_throughout) == ("version 17", False)


def test_values_and_floors_are_of_all_rows_and_changes_of_the_unseen_ones():
    rows, other = scored(), scored(model=1)
    result = judged(rows, other, unseen_from="2026-01-03", gates={"click": {"floor": 0.99}})
    measured = result.task("click").measures["auc"]
    aucs = {}
    for name, each in (("candidate", rows), ("in_service", other)):
        is_known = each.masks["click"] > 0
        for days, is_kept in (("all", is_known), ("unseen", is_known & (each.keys["day"] == b"2026-01-03"))):
            aucs[name, days] = auc(each.labels["click"][is_kept], each.predictions["click"][is_kept])
    assert measured.value == pytest.approx(aucs["candidate", "all"])
    assert measured.before.estimate == pytest.approx(aucs["in_service", "unseen"])
    assert measured.change.estimate == pytest.approx(aucs["candidate", "unseen"] - aucs["in_service", "unseen"])
    assert result.num_rows == len(rows.users)
    assert any(line.startswith(f"click AUC is {aucs['candidate', 'all']:.4f}") for line in result.blocks)


@pytest.mark.parametrize(("floor", "is_blessed"), [(0.5, True), (0.99, False)])
def test_floors_alone_judge_where_the_model_in_service_has_seen_all_days(floor, is_blessed):
    rows = scored(noise=2.0)
    result = judged(rows, scored(), unseen_from="2026-01-04", gates={"click": {"floor": floor}})
    assert result.is_blessed == is_blessed
    assert all(measure.change is None and measure.before is None for task in result.tasks for measure in task.measures.values())
    assert result.in_service == ""
    assert result.notes == (
        "no comparison with version 17: all these rows are of days before 2026-01-04, up to which it was trained",
        unjudged("watch_seconds"),
        unjudged("satisfaction"),
    )


def test_a_first_model_is_not_called_unjudged():
    assert judged(scored()).notes == ()


def test_scores_of_days_that_are_not_compared_are_no_obstacle():
    """What the model in service made of a day that it has seen is not looked at, be it no number."""
    rows = scored()
    is_seen = (rows.keys["day"] == b"2026-01-02") & (rows.masks["click"] > 0)
    assert is_seen.any()
    in_service = with_predictions(rows, click=np.where(is_seen, np.nan, rows.predictions["click"]))
    result = judged(rows, in_service, unseen_from="2026-01-03")
    assert result.task("click").measures["auc"].change.estimate == 0
    assert not any("click is not compared" in line for line in result.notes)
    broken = with_predictions(rows, click=np.where(is_seen, rows.predictions["click"], np.nan))
    notes = judged(rows, broken, unseen_from="2026-01-03").notes
    assert next(line for line in notes if line.startswith("click")).endswith("predictions are not finite")


def test_unseen_rows_that_define_no_change_are_named():
    rows = scored()
    is_late = rows.keys["day"] == b"2026-01-03"
    rows = dataclasses.replace(
        rows, masks={**rows.masks, "click": np.where(is_late, 0, rows.masks["click"]).astype(np.float32)}
    )
    result = judged(rows, rows, unseen_from="2026-01-03")
    assert result.task("click").measures["auc"].value > 0.5
    assert "click is not compared with version 17: no row has a known label" in result.notes


def test_unknown_training_days_are_noted_and_compared_all_the_same():
    in_service = scored()
    candidate = with_predictions(in_service, click=scored(noise=3.0).predictions["click"])
    result = judged(candidate, in_service, unseen_from=None)
    assert [line.split(" by ")[0] for line in result.blocks] == ["click AUC fell"]
    assert result.notes[0].startswith("on which days version 17 was trained is not known")


def test_graded_satisfaction_is_judged_by_its_order():
    rows = scored()
    task = SATISFACTION.model_validate({"label": "satisfaction", "head": {"kind": "graded"}})
    measures = measure_task(task, rows, None, 100, 10)
    gate = judge(task, measures, EvaluationConfig().gate("satisfaction"))
    assert gate.measure == "xauc"
    assert "auc" not in measures


def test_values_are_those_of_the_bootstrap_pairs():
    rows = scored()
    known = rows.masks["watch_seconds"] > 0
    truth = xauc(rows.labels["watch_seconds"][known], rows.predictions["watch_seconds"][known])
    assert judged(rows, rows).task("watch_seconds").measures["xauc"].value == truth


def test_reliability_is_of_probabilities_alone():
    rows = scored()
    result = judged(rows)
    known = rows.masks["click"] > 0
    assert result.task("click").reliability == reliability_bins(rows.labels["click"][known], rows.predictions["click"][known])
    assert result.task("watch_seconds").reliability == ()


def test_result_travels_as_json(tmp_path):
    in_service = scored()
    result = judged(
        with_predictions(in_service, click=1 - in_service.predictions["click"]), in_service, gates={"click": {"floor": 0.5}}
    )
    assert len(result.blocks) == 2
    write_evaluation(result, tmp_path)
    assert read_evaluation(tmp_path) == result


def test_result_without_a_value_says_nothing_of_a_change():
    nothing = MeasureResult("click", "auc", None, "why")
    assert (nothing.value, nothing.is_better, nothing.is_worse) == (None, False, False)
    level = MeasureResult("click", "auc", Estimate(0.7, 0.6, 0.8, 100))
    assert (level.value, level.is_better, level.is_worse) == (0.7, False, False)


def test_lists_are_a_users_requests():
    """Request ids that two users share make two lists; a row without one is listed with its user's day."""
    keys = {
        "user_id": np.array([b"a", b"b", b"a", b"a", b"a"], object),
        "day": np.array([b"1", b"1", b"2", b"1", b"1"], object),
        "request_id": np.array([b"r", b"r", b"r", b"", b""], object),
    }
    lists = ScoredRows(keys, {}, {}, {}).lists
    assert (lists[0] == lists[2], lists[3] == lists[4]) == (True, True)
    assert len({lists[0], lists[1], lists[3]}) == 3
