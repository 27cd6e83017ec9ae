import numpy as np
import pytest

from benchmarks.figures import PROJECT
from benchmarks.history.study import refreshed_daily
from benchmarks.jobs import quick_job
from benchmarks.kuairand.report import comparisons
from benchmarks.kuairand.study import (
    BODIES,
    DAILY,
    LATE,
    LATE_SECONDS,
    OLDER,
    SMALL_TOWER,
    STALE,
    TUNED,
    jobs_of,
    known_late,
    variants,
    with_older,
)
from benchmarks.prepared import prepare, score, train, train_and_score, with_evaluation_rows
from data.columns import labelled_schema
from data.examples import read_examples
from pipeline.config import load


def test_variants_differ_in_body_and_small_towers_alone():
    config = load(PROJECT / "configs" / "kuairand.toml", ["model.members=3"])
    found = {variant.name: variant.applied(config) for variant in variants(config, list(BODIES))}
    assert found.pop(TUNED) == config
    assert list(found) == [f"{body}{towers}" for body in BODIES for towers in ("", " + small towers")]
    for body, own in BODIES.items():
        for name, small_tower in ((body, None), (f"{body} + small towers", SMALL_TOWER)):
            model = config.model.model_copy(update={"body": own, "small_tower": small_tower, "members": 1})
            assert found[name] == config.model_copy(update={"model": model}), name


def test_what_is_known_late_differs_in_the_delay_alone():
    config = load(PROJECT / "configs" / "kuairand.toml")
    late = known_late(config)
    assert late.data.history.delay_seconds == LATE_SECONDS > config.data.history.delay_seconds
    history = late.data.history.model_copy(update={"delay_seconds": config.data.history.delay_seconds})
    assert late.model_copy(update={"data": late.data.model_copy(update={"history": history})}) == config


def test_every_ranker_is_trained_and_judged_on_its_own_past():
    config = load(PROJECT / "configs" / "kuairand.toml")
    late, daily = known_late(config), refreshed_daily(config)
    jobs = with_older(
        jobs_of(config, variants(config, ["MMoE"]), "rows"), "midnight", (late, "late rows"), (daily, "daily rows")
    )
    *of_bodies, configured, of_late, of_daily = ((job.config, job.rows, job.judged) for job in jobs)
    assert [each[1:] for each in of_bodies] == [
        ("rows", {"MMoE": "rows"}),
        ("rows", {"MMoE + small towers": "rows"}),
    ]
    assert configured == (config, "rows", {TUNED: "rows", STALE: "midnight"})
    assert of_late == (late, "late rows", {LATE: "late rows"})
    assert of_daily == (daily, "daily rows", {DAILY: "daily rows"})
    assert [name for job in jobs[-3:] for name in job.judged] == [TUNED, *OLDER]


def test_small_towers_and_older_pasts_are_compared_with_what_they_change():
    pairs = {each.title: (each.before, each.after) for each in comparisons([TUNED, *OLDER], ["MMoE"])}
    assert pairs == {
        "Small towers behind MMoE": ("MMoE", "MMoE + small towers"),
        "As configured, served the past as of midnight": (TUNED, STALE),
        "As configured, the past known ten minutes late": (TUNED, LATE),
        "Trained on the past as of midnight too": (TUNED, DAILY),
    }
    assert len(comparisons([TUNED], ["MMoE"])) == 1


@pytest.fixture(scope="module")
def at_once_and_daily(tmp_path_factory):
    """A small job with items at once, its rows, and those of the same log with everything as of midnight."""
    folder = tmp_path_factory.mktemp("study")
    config = quick_job(folder, num_impressions=4_000)
    tree = config.model_dump()
    tree["model"]["features"] = [each for each in tree["model"]["features"] if each["name"] in ("surface", "item_history")]
    tree["data"]["history"]["refresh_hours"] = 0.0
    tree["train"]["epochs"] = 1
    config = type(config).model_validate(tree)
    features = config.sized_model.features
    jobs = (("once", config), ("daily", refreshed_daily(config)))
    return config, *(prepare(job, folder / name, features) for name, job in jobs)


def test_older_evaluation_rows_meet_the_ranker_of_fresher_ones(at_once_and_daily):
    config, at_once, daily = at_once_and_daily
    older = with_evaluation_rows(at_once, daily, config.sized_model)
    assert (older.tft_output, older.files_by_split) == (at_once.tft_output, at_once.files_by_split)
    for name, keys in at_once.rows.keys.items():
        np.testing.assert_array_equal(older.rows.keys[name], keys)
    np.testing.assert_array_equal(older.batches[0]["surface"], at_once.batches[0]["surface"])
    fitted = train(config, at_once, seed=0)
    fresh, stale = (score(fitted, rows).served.predictions["click"] for rows in (at_once, older))
    assert np.abs(fresh - stale).max() > 1e-4
    np.testing.assert_array_equal(train_and_score(config, at_once, 0).served.predictions["click"], fresh)


def told_by_raw(config, ingested, transformed):
    """Transformed numbers of an item's past by the raw ones that they stand for."""
    paths = sorted(str(path) for path in (ingested.folder / "eval").glob("*.gz"))
    raw = read_examples(paths, labelled_schema(config.data))["item_history"].to_pylist()
    told = np.concatenate([batch["item_history"] for batch in transformed.batches])
    assert len(raw) == len(told) > 200
    return dict(zip(map(tuple, raw), map(tuple, told), strict=True))


def test_older_rows_are_transformed_as_those_that_were_trained_on(at_once_and_daily):
    config, at_once, daily = at_once_and_daily
    by_raw = told_by_raw(config, at_once, at_once)
    older = told_by_raw(config, daily, with_evaluation_rows(at_once, daily, config.sized_model))
    shared = by_raw.keys() & older.keys()
    assert shared
    assert shared < by_raw.keys()
    np.testing.assert_allclose([older[raw] for raw in shared], [by_raw[raw] for raw in shared], atol=1e-6)
    its_own = told_by_raw(config, daily, daily)
    assert all(np.abs(np.subtract(older[raw], its_own[raw])).max() > 1e-3 for raw in shared)
