import numpy as np
import pyarrow as pa
import pytest

from data.columns import labelled_schema
from data.config import NegativeSamplingConfig
from data.delays import delay_counts
from data.schema import LABELS, TIMESTAMP, mask_name
from data.selection import select_rows
from tests.unit.data.rows import START, at, data_config, microseconds

NUM_ROWS = 400


def labelled(num_rows=NUM_ROWS, clicks=0.0):
    """One row an hour from 2026-01-01, sorted, with all labels known."""
    config = data_config()
    hours = np.arange(num_rows)
    columns = {
        "impression_id": [f"i{n:05d}" for n in hours],
        "user_id": [f"u{n % 7}" for n in hours],
        "item_id": ["v"] * num_rows,
        "impressed_at": pa.array([at(3600 * int(n)) for n in hours], TIMESTAMP),
        "day": [at(3600 * int(n)).date().isoformat() for n in hours],
        "is_dropped": [False] * num_rows,
        **{label: pa.array(np.full(num_rows, clicks if label == "click" else 0.0), pa.float32()) for label in LABELS},
        **{mask_name(label): pa.array(np.ones(num_rows), pa.float32()) for label in LABELS},
    }
    for field in labelled_schema(config):
        if field.name not in columns and field.name != "impressed_at_ms":
            columns[field.name] = pa.nulls(num_rows, field.type)
    return pa.table(columns)


def test_every_row_has_one_outcome_and_the_order_is_the_rows_alone():
    config = data_config(split={"eval_from": "2026-01-10", "eval_until": "2026-01-12", "gap_days": 1})
    selected, outcomes = select_rows(labelled(), config, "2026-01-17")
    assert outcomes == {"train": 8 * 24, "eval": 3 * 24, "outside": NUM_ROWS - 11 * 24}
    assert {split: table.num_rows for split, table in selected.items()} == {"train": 8 * 24, "eval": 3 * 24}
    assert all(table.schema.names == labelled_schema(config).names for table in selected.values())
    again, _ = select_rows(labelled(), config, "2026-01-17")
    assert again["train"].equals(selected["train"])
    ids = selected["train"]["impression_id"].to_pylist()
    assert ids != sorted(ids)
    assert selected["train"]["impressed_at_ms"].to_pylist() == [
        round(START.timestamp() * 1000) + 3_600_000 * int(name[1:]) for name in ids
    ]


def test_open_rows_are_dropped_where_they_would_be_written():
    rows = labelled()
    is_dropped = np.arange(NUM_ROWS) % 2 == 0
    rows = rows.set_column(rows.column_names.index("is_dropped"), "is_dropped", pa.array(is_dropped))
    config = data_config(split={"eval_from": "2026-01-10", "eval_until": "2026-01-12"})
    _, outcomes = select_rows(rows, config, "2026-01-17")
    assert outcomes == {"train": 108, "eval": 36, "open": 144, "outside": NUM_ROWS - 288}


@pytest.mark.parametrize("clicks", [0.0, 1.0])
def test_negatives_of_training_and_validation_days_are_thinned_and_the_rate_is_on_record(clicks):
    split = {"eval_from": "2026-01-10", "validation_days": 2}
    config = data_config(split=split, negative_sampling=NegativeSamplingConfig(keep=0.25))
    selected, outcomes = select_rows(labelled(clicks=clicks), config, "2026-01-17")
    num_trained, num_eval = 9 * 24, NUM_ROWS - 9 * 24
    assert outcomes["eval"] == num_eval
    assert outcomes["train"] + outcomes["validation"] + outcomes.get("sampled_out", 0) == num_trained
    assert (outcomes["train"] + outcomes["validation"] == num_trained) == (clicks == 1.0)
    for name in ("train", "validation"):
        assert set(selected[name]["sampling_rate"].to_pylist()) == {1.0 if clicks else 0.25}
    assert set(selected["eval"]["sampling_rate"].to_pylist()) == {1.0}


def test_delayed_labels_are_weighted_in_training_only():
    config = data_config(split={"eval_days": 1}, attribution={"delayed": "weight", "window_hours": {"click": 48.0}})
    rows = labelled(clicks=1.0)
    index = np.arange(NUM_ROWS)
    # Clicks come after one hour, or after 40: of those after 40 the youngest rows know nothing yet.
    delays = np.where(index % 2 == 0, 1, 40)
    watermark = microseconds(at(3600 * NUM_ROWS))
    is_seen = index + delays <= NUM_ROWS
    rows = rows.set_column(rows.column_names.index("click"), "click", pa.array(is_seen.astype(np.float32)))
    events = pa.table(
        {
            "row": pa.array(index[is_seen]),
            "kind": ["click"] * int(is_seen.sum()),
            "engaged_at": pa.array([at(3600 * int(n)) for n in (index + delays)[is_seen]], TIMESTAMP),
            "watch_seconds": pa.nulls(int(is_seen.sum()), pa.float64()),
            "score": pa.nulls(int(is_seen.sum()), pa.float64()),
        }
    )
    counts = delay_counts(rows, events, config, watermark)
    selected, _ = select_rows(rows, config, "2026-01-17", counts, watermark)
    assert set(selected["eval"]["click_weight"].to_pylist()) == {1.0}
    weights = dict(zip(*selected["train"].select(["impression_id", "click_weight"]).to_pydict().values(), strict=True))
    assert weights["i00010"] == 1.0
    seen_early = [n for n in range(NUM_ROWS - 36, NUM_ROWS - 18) if n % 2 == 0 and f"i{n:05d}" in weights]
    assert seen_early
    assert [weights[f"i{n:05d}"] for n in seen_early] == pytest.approx([2.0] * len(seen_early), rel=0.05)
