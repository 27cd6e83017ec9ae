import copy

import apache_beam as beam
import numpy as np
import pytest
import tensorflow_model_analysis as tfma
from tfx_bsl.tfxio import tf_example_record

from models.metrics import evaluate
from pipeline.config import Config
from pipeline.evaluation import eval_config, read_slices
from pipeline.evaluator_module import custom_extractors
from tests.unit.pipeline.conftest import TREE
from tests.unit.pipeline.saved_models import LABELS, made_up_rows, save_model, write_rows

SLICES = ["surface", {"column": "item_age_hours", "edges": [24, 168]}]


@pytest.fixture(scope="module")
def job():
    tree = copy.deepcopy(TREE)
    tree["data"]["history"] = {"published_column": "age_days"}
    tree["evaluation"] = {"slices": SLICES, "ndcg_at": 3}
    return Config.model_validate(tree)


def run_tfma(job, folder, models):
    """What the Evaluator does, without its artifacts; models are folders by the names that TFMA gives them."""
    config = tfma.utils.update_eval_config_with_defaults(eval_config(job), has_baseline=len(models) > 1, rubber_stamp=True)
    tfma.utils.verify_eval_config(config)
    loaded = [
        tfma.default_eval_shared_model(str(models[spec.name]), model_name=spec.name, eval_config=config)
        for spec in config.model_specs
    ]
    loaded = loaded if len(loaded) > 1 else loaded[0]
    result = folder / "-".join(["result", *(path.name for path in models.values())])
    rows = tf_example_record.TFExampleRecord(
        str(folder / "rows" / "*"), raw_record_column_name=tfma.constants.ARROW_INPUT_COLUMN
    )
    with beam.Pipeline() as pipeline:
        _ = (
            pipeline
            | rows.BeamSource(batch_size=100)
            | tfma.ExtractEvaluateAndWriteResults(
                eval_shared_model=loaded,
                eval_config=config,
                extractors=custom_extractors(loaded, config, None),
                output_path=str(result),
            )
        )
    return {(each.slice_name, each.bucket, each.label): each for each in read_slices(result)}


def expected(job, columns, prefix, is_in):
    """The same measures of the same rows, by `models.metrics` alone, keyed by rows' own user, day and request."""
    rows = np.flatnonzero(is_in)
    user_days = [f"{columns['user_id'][row]} {columns['day'][row]}" for row in rows]
    requests = [f"{columns['user_id'][row]} {columns['request_id'][row]}" if columns["request_id"][row] else "" for row in rows]
    by_label = [{label: np.asarray(columns[name(label)])[rows] for label in LABELS} for name in (str, "{}_mask".format)]
    predictions = {label: np.asarray(columns[f"{prefix}_{label}"])[rows] for label in LABELS}
    return evaluate(*by_label, predictions, user_days, job.model.tasks, requests, k=3)


def assert_equal(found, metrics, label):
    for name, metric in metrics[label].items():
        # The served numbers are of 32 bits.
        assert found.values[name] == pytest.approx(metric.value, rel=1e-6), (label, name)
        assert found.num_rows == metric.num_rows


@pytest.fixture(scope="module")
def columns():
    return made_up_rows()


@pytest.fixture(scope="module")
def folder(tmp_path_factory, columns):
    folder = tmp_path_factory.mktemp("evaluation")
    write_rows(folder / "rows", columns)
    save_model(folder / "first", "first")
    save_model(folder / "second", "second")
    save_model(folder / "old", "first", ("click", "watch_seconds"))
    return folder


@pytest.fixture(scope="module")
def alone(job, folder):
    return run_tfma(job, folder, {"": folder / "first"})


def test_all_measures_by_slice_are_those_of_our_own_metrics(job, alone, columns):
    found = alone
    surface, ages = np.array(columns["surface"]), np.asarray(columns["item_age_hours"])
    rows_by_slice = {
        ("", ""): np.ones(len(ages), bool),
        ("surface", "feed"): surface == "feed",
        ("surface", "search"): surface == "search",
        ("surface", "unknown"): surface == np.array(None),
        ("item_age_hours", "below 24"): ages < 24,
        ("item_age_hours", "24 to 168"): (ages >= 24) & (ages < 168),
        ("item_age_hours", "168 and above"): ages >= 168,
    }
    assert {key[:2] for key in found} == set(rows_by_slice)
    for slice_, is_in in rows_by_slice.items():
        metrics = expected(job, columns, "first", is_in)
        for label in LABELS:
            assert_equal(found[(*slice_, label)], metrics, label)
            assert found[(*slice_, label)].changes == {}


def test_no_two_tasks_share_a_measure(alone):
    """An output read for another's label, or a label for another's output, would show here as two equal rows of a table."""
    click, satisfaction = (alone["", "", label].values for label in ("click", "satisfaction"))
    assert click.keys() == satisfaction.keys()
    assert all(abs(click[name] - satisfaction[name]) > 1e-3 for name in click)


def test_change_against_the_model_in_service(job, folder, columns):
    found = run_tfma(job, folder, {"candidate": folder / "second", "baseline": folder / "first"})
    everywhere = np.ones(len(columns["click"]), bool)
    second, first = (expected(job, columns, prefix, everywhere) for prefix in ("second", "first"))
    for label in LABELS:
        assert_equal(found["", "", label], second, label)
        for name, change in found["", "", label].changes.items():
            difference = second[label][name].value - first[label][name].value
            assert change == pytest.approx(difference, rel=1e-5, abs=1e-9), (label, name)
    assert found["", "", "watch_seconds"].changes["mean_absolute_error_seconds"] > 10
    assert found["surface", "feed", "click"].changes["auc"] == 0


def test_model_in_service_without_an_output_is_not_compared(job, folder):
    found = run_tfma(job, folder, {"candidate": folder / "second", "baseline": folder / "old"})
    assert found["", "", "satisfaction"].values["auc"] > 0.6
    assert found["", "", "satisfaction"].changes == {}
    assert "auc" in found["", "", "click"].changes


def test_measure_that_a_slice_does_not_define_is_none(job, tmp_path, columns):
    one_class = {**columns, "satisfaction": np.zeros(len(columns["click"]), np.float32)}
    write_rows(tmp_path / "rows", one_class)
    save_model(tmp_path / "first", "first")
    found = run_tfma(job, tmp_path, {"": tmp_path / "first"})
    assert found["surface", "feed", "satisfaction"].values["auc"] is None
    assert found["surface", "feed", "satisfaction"].values["log_loss"] > 0


def test_each_output_meets_its_own_label_and_mask(job):
    translated = eval_config(job)
    [model] = translated.model_specs
    assert dict(model.label_keys) == {label: label for label in LABELS}
    assert dict(model.example_weight_keys) == {label: f"{label}_mask" for label in LABELS}
    assert [list(spec.output_names) for spec in translated.metrics_specs] == [[label] for label in LABELS]
    assert all(spec.example_weights.weighted for spec in translated.metrics_specs)
    # With a threshold TFMA would bless; that is the gate's.
    assert not tfma.metrics.metric_thresholds_from_metrics_specs(translated.metrics_specs, eval_config=translated)
