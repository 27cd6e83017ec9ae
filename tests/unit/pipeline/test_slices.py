import json

import numpy as np
import pyarrow as pa
import pytest

from pipeline.config import Config
from pipeline.evaluation import eval_config
from pipeline.slices import Slice, bucket_order, slices_from_specs, slices_of

RATES = {"key": ["user_id"], "windows": ["1d", "7d"], "measures": ["impressions", "click_rate"]}


def column(rows, type_):
    return pa.array(rows, pa.list_(type_))


def test_ranges_hold_their_lower_edge():
    ages = column([[23.9], [24.0], [167.9], [168.0], [-1.0], [1e9]], pa.float32())
    found = Slice("age", "age", 0, (24.0, 168.0)).buckets(ages)
    assert found.tolist() == ["below 24", "24 to 168", "24 to 168", "168 and above", "below 24", "168 and above"]


def test_an_edge_is_rounded_as_the_values_are():
    shares = column([[0.7], [0.6999]], pa.float32())
    assert Slice("share", "share", 0, (0.7,)).buckets(shares).tolist() == ["0.7 and above", "below 0.7"]


def test_values_name_their_own_buckets():
    assert Slice("s", "s").buckets(column([[b"feed"], [b"s\xc3\xbcd"]], pa.binary())).tolist() == ["feed", "süd"]
    assert Slice("s", "s").buckets(column([[3], [-4]], pa.int64())).tolist() == ["3", "-4"]


@pytest.mark.parametrize(
    ("rows", "type_", "edges"),
    [
        ([None, []], pa.binary(), ()),
        ([[b""], []], pa.binary(), ()),
        ([[float("nan")], None], pa.float32(), (1.0,)),
    ],
)
def test_rows_without_a_value_are_unknown(rows, type_, edges):
    assert Slice("s", "s", 0, edges).buckets(column(rows, type_)).tolist() == ["unknown", "unknown"]


def test_entry_of_a_vector_is_the_one_that_was_named():
    history = column([[1.0, 20.0], [5.0, 2.0], [7.0], None], pa.float32())
    assert Slice("h", "h", 1, (10.0,)).buckets(history).tolist() == ["10 and above", "below 10", "unknown", "unknown"]


def test_a_slice_of_a_batch_is_its_own_rows():
    """Record batches that were cut share their values with the rows before them."""
    cut = column([[1.0], None, [30.0], [2.0]], pa.float32())[2:]
    assert Slice("h", "h", 0, (10.0,)).buckets(cut).tolist() == ["10 and above", "below 10"]


def test_buckets_sort_by_number():
    buckets = ["168 and above", "unknown", "24 to 168", "below 24", "b", "9", "a", "10"]
    assert sorted(buckets, key=bucket_order) == ["below 24", "9", "10", "24 to 168", "168 and above", "a", "b", "unknown"]


def test_configured_slices_reach_tfma_with_their_place_in_the_vector(tree):
    tree["data"]["history"] = {"aggregates": [RATES]}
    tree["evaluation"] = {
        "slices": [
            "country",
            {"column": "item_age_hours", "edges": [24, 168]},
            {"column": "user_history", "entry": "impressions_7d", "edges": [10]},
        ]
    }
    tree["data"]["history"]["published_column"] = "age_days"
    config = Config.model_validate(tree)
    expected = (
        Slice("country", "country"),
        Slice("item_age_hours", "item_age_hours", 0, (24.0, 168.0)),
        Slice("user_history.impressions_7d", "user_history", 2, (10.0,)),
    )
    assert slices_of(config) == expected
    specs = eval_config(config).slicing_specs
    assert list(specs[0].feature_keys) == []
    assert [json.loads(key)["name"] for spec in specs[1:] for key in spec.feature_keys] == [each.name for each in expected]
    assert slices_from_specs(specs) == expected


def test_numbers_of_any_width_are_read():
    assert Slice("n", "n", 0, (2.0,)).buckets(column([[1], [2]], pa.int64())).tolist() == ["below 2", "2 and above"]
    assert np.array_equal(Slice("n", "n").buckets(column([], pa.binary())), [])
