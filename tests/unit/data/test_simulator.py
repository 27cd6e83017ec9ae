import gzip
import json

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from data.attribution import attribute, fill_users
from data.auc import area_under_curve
from data.schema import ENGAGEMENT_SCHEMA, IMPRESSION_SCHEMA
from data.simulator import simulate, write_feed
from data.source_config import SimulatorConfig
from tests.unit.data.rows import data_config

CONFIG = SimulatorConfig(num_users=200, num_items=60, num_impressions=20_000, num_days=4, seed=3)


@pytest.fixture(scope="module")
def feed():
    return simulate(CONFIG)


def test_the_seed_decides(feed):
    again, other = simulate(CONFIG), simulate(CONFIG.model_copy(update={"seed": 4}))
    assert again == feed
    assert other.impressions != feed.impressions


def test_sizes_and_schemas(feed):
    assert feed.impressions.num_rows == 20_000
    assert feed.impressions.schema == IMPRESSION_SCHEMA
    assert feed.engagements.schema == ENGAGEMENT_SCHEMA
    assert (feed.users.num_rows, feed.items.num_rows) == (200, 60)
    assert sorted(set(feed.truth["day"].to_pylist())) == [f"2026-01-0{day}" for day in range(1, 5)]


def test_requests_show_distinct_items_to_one_user(feed):
    distinct = feed.impressions.to_pandas().drop_duplicates("impression_id")
    by_request = distinct.groupby("request_id")
    assert (by_request["user_id"].nunique() == 1).all()
    assert (by_request["item_id"].nunique() == by_request.size()).all()
    assert (by_request["position"].nunique() == by_request.size()).all()
    assert distinct["propensity"].between(0, 1, inclusive="right").all()


def test_position_matters(feed):
    shown = feed.impressions.to_pandas().drop_duplicates("impression_id")
    rate = (
        feed.truth.to_pandas().set_index("impression_id")["click"].groupby(shown.set_index("impression_id")["position"]).mean()
    )
    assert rate[1] > rate[4] + 0.1 > rate[10] + 0.15


def test_labels_are_drawn_with_their_probabilities(feed):
    truth = feed.truth.to_pandas()
    for label in ("click", "satisfaction"):
        probability = truth[f"{label}_probability"]
        error = np.sqrt((probability * (1 - probability)).sum())
        assert abs(truth[label].sum() - probability.sum()) < 4 * error


def test_best_auc_is_that_of_the_probabilities(feed):
    truth = feed.truth.to_pandas()
    late = truth[truth["day"] >= "2026-01-03"]
    for label in ("click", "satisfaction"):
        assert feed.best_auc(label) == pytest.approx(roc_auc_score(truth[label], truth[f"{label}_probability"]))
        expected = roc_auc_score(late[label], late[f"{label}_probability"])
        assert feed.best_auc(label, "2026-01-03") == pytest.approx(expected)


def test_default_feeds_leave_room_to_learn():
    best = simulate(SimulatorConfig(num_impressions=50_000)).best_auc("click")
    assert 0.78 < best < 0.86


def test_attribution_finds_the_truth(feed):
    is_nameless = pc.is_null(feed.engagements["user_id"])
    filled, counts = fill_users(feed.impressions, feed.engagements.filter(is_nameless))
    assert set(counts.values()) == {0}
    engagements = pa.concat_tables([filled, feed.engagements.filter(pc.invert(is_nameless))])
    result = attribute(feed.impressions, engagements, data_config(), None)
    found = result.rows.select(["impression_id", "click", "satisfaction", "watch_seconds"]).to_pandas()
    both = found.merge(feed.truth.to_pandas(), on="impression_id", suffixes=("", "_true"), validate="1:1")
    assert len(both) == feed.truth.num_rows
    assert (both["click"] == both["click_true"]).all()
    assert (both["satisfaction"] == both["satisfaction_true"]).all()
    assert np.allclose(both["watch_seconds"], both["watch_seconds_true"])
    assert result.counts["engagements_attributed"] + result.counts["engagements_duplicate"] == feed.engagements.num_rows
    assert result.counts["impressions_duplicate"] == 60
    assert result.counts["engagements_duplicate"] > 0
    assert feed.engagements["impression_id"].null_count > 0


def test_files(feed, tmp_path):
    write_feed(feed, tmp_path / "logs")
    with gzip.open(tmp_path / "logs" / "impressions.jsonl.gz", "rt") as file:
        lines = [json.loads(line) for line in file]
    assert len(lines) == 20_000
    first = feed.impressions.slice(0, 1).to_pylist()[0]
    assert lines[0]["impressed_at"] == first["impressed_at"].timestamp() * 1000
    assert {**lines[0], "impressed_at": None, "day": None} == {
        **first,
        "impressed_at": None,
        "propensity": pytest.approx(first["propensity"]),
    }
    truth = json.loads((tmp_path / "logs" / "truth.json").read_text())["best_auc"]
    assert truth["overall"]["click"] == feed.best_auc("click")
    assert truth["from_day"]["2026-01-03"]["satisfaction"] == feed.best_auc("satisfaction", "2026-01-03")


def test_the_smallest_feed(tmp_path):
    feed = simulate(SimulatorConfig(num_users=1, num_items=1, num_impressions=1, items_per_request=1, num_days=1))
    write_feed(feed, tmp_path)
    assert json.loads((tmp_path / "truth.json").read_text())["best_auc"]["overall"] == {"click": None, "satisfaction": None}


def test_as_many_items_as_slots():
    feed = simulate(SimulatorConfig(num_users=3, num_items=10, num_impressions=300, num_days=1))
    assert feed.impressions.num_rows == 300


def test_too_few_items_are_refused():
    with pytest.raises(ValueError, match=r"num_items must be at least items_per_request \(10\). Received: 9"):
        SimulatorConfig(num_items=9)


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 4)), min_size=2, max_size=30))
def test_area_under_curve_counts_ties_half(rows):
    labels, scores = zip(*rows, strict=True)
    if len(set(labels)) == 2:
        assert area_under_curve(labels, scores) == pytest.approx(roc_auc_score(labels, scores))
    else:
        with pytest.raises(ValueError, match=r"labels must hold both classes. Received: "):
            area_under_curve(labels, scores)
