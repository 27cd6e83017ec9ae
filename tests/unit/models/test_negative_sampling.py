"""Training on thinned rows gives the predictions of all rows, for every kind of task."""

import numpy as np
import pyarrow as pa
import pytest
import scipy.optimize
import tensorflow as tf

from data.config import NegativeSamplingConfig
from data.sampling import is_kept, sampling_rates
from data.schema import LABELS, SAMPLING_RATE, mask_name, weight_name
from models.config import ModelConfig
from models.features import preprocess
from models.heads.registry import make_head

KEEP = 0.1
MODEL = ModelConfig(
    features=[{"kind": "numeric", "name": "age"}],
    tasks=[
        {"label": "click", "head": "binary"},
        {"label": "watch_seconds", "head": "tweedie"},
        {"label": "satisfaction", "head": "binary"},
    ],
)


@pytest.fixture(scope="module")
def labels():
    """200,000 rows: satisfaction without a click among them, and watch time without either."""
    generator = np.random.default_rng(0)
    click = (generator.uniform(size=200_000) < 0.1).astype(np.float32)
    satisfaction = (generator.uniform(size=200_000) < np.where(click == 1, 0.4, 0.02)).astype(np.float32)
    watch = (generator.exponential(10, 200_000) * np.where(click == 1, 1.0, 0.2)).astype(np.float32)
    return {"click": click, "watch_seconds": watch, "satisfaction": satisfaction}


@pytest.fixture(scope="module")
def kept(labels):
    """What ingestion leaves of them, with rates and masks."""
    rows = pa.table({**labels, "impression_id": [f"r{index}" for index in range(200_000)]})
    rates = sampling_rates(rows, NegativeSamplingConfig(keep=KEEP))
    stays = is_kept(rows, rates)
    columns = {label: values[stays] for label, values in labels.items()}
    ones = np.ones(stays.sum(), np.float32)
    return columns | {SAMPLING_RATE: rates[stays].astype(np.float32)} | {mask_name(label): ones for label in LABELS}


def transformed(columns):
    """Labels and masks as the transform makes them; the feature needs an analysis and is left out."""
    without_features = MODEL.model_copy(update={"features": ()})
    return preprocess({name: tf.constant(values) for name, values in columns.items()}, without_features)


def test_a_mask_is_divided_by_the_rate_and_multiplied_by_the_weight(kept):
    weights = np.linspace(0.5, 2, len(kept["click"]), dtype=np.float32)
    outputs = transformed(kept | {weight_name("click"): weights})
    np.testing.assert_allclose(outputs["click_mask"], weights / kept[SAMPLING_RATE], rtol=1e-6)
    np.testing.assert_allclose(outputs["satisfaction_mask"], 1 / kept[SAMPLING_RATE], rtol=1e-6)
    unknown = transformed(kept | {"click_mask": np.zeros_like(weights)})
    assert not np.any(unknown["click_mask"])


@pytest.mark.parametrize("task", MODEL.tasks, ids=lambda task: task.label)
def test_the_best_constant_prediction_is_the_mean_of_all_rows(task, kept, labels):
    head, columns = make_head(task), transformed(kept)
    label, mask = columns[task.label], columns[mask_name(task.label)]
    head.adapt({name: column.numpy() for name, column in columns.items()})

    def served(weights):
        def loss(output):
            return float(head.loss(tf.fill(label.shape, tf.cast(output, tf.float32)), label, weights, columns))

        best = scipy.optimize.minimize_scalar(loss, bounds=(-8, 8), method="bounded", options={"xatol": 1e-5}).x
        return float(head.served(tf.constant([best], tf.float32), columns)[0])

    truth = labels[task.label].mean()
    assert served(mask) == pytest.approx(truth, rel=0.03)
    assert served(tf.ones_like(mask)) > 1.5 * truth


def test_for_clicks_this_is_he_and_others_correction_where_all_without_click_are_thinned(kept):
    """He et al. 2014, section 6.3: q = p / (p + (1 - p) / w), with p the rate among the kept rows and w the share kept."""
    thinned = (kept["click"] == 1) | (kept["satisfaction"] == 0)
    click, weight = kept["click"][thinned], 1 / kept[SAMPLING_RATE][thinned]
    p = click.mean()
    assert np.average(click, weights=weight) == pytest.approx(p / (p + (1 - p) / KEEP), rel=1e-5)
    # Of satisfaction the formula goes wrong: clicked rows without it all stay.
    p = kept["satisfaction"].mean()
    weighted = np.average(kept["satisfaction"], weights=1 / kept[SAMPLING_RATE])
    assert abs(p / (p + (1 - p) / KEEP) - weighted) > 0.3 * weighted
