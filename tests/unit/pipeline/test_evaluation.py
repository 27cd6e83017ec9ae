import pytest

from pipeline.evaluation import eval_config


@pytest.fixture
def translated(tree):
    from pipeline.config import Config

    tree["evaluation"] = {"slices": ["country"], "min_auc": {"click": 0.7}, "max_auc_drop": 0.01, "max_mae_rise_seconds": 2.0}
    return eval_config(Config.model_validate(tree))


def test_each_output_meets_its_own_label_and_mask(translated):
    [model] = translated.model_specs
    labels = ("click", "watch_seconds", "satisfaction")
    assert dict(model.label_keys) == {label: label for label in labels}
    assert dict(model.example_weight_keys) == {label: f"{label}_mask" for label in labels}
    assert [list(spec.output_names) for spec in translated.metrics_specs] == [[label] for label in labels]
    assert all(spec.example_weights.weighted for spec in translated.metrics_specs)


def test_gates_hold_on_all_rows_together(translated):
    click, watch, satisfaction = (spec.metrics[0] for spec in translated.metrics_specs)
    assert [metric.class_name for metric in (click, watch, satisfaction)] == ["AUC", "MeanAbsoluteError", "AUC"]
    for metric in (click, watch, satisfaction):
        [gate] = metric.per_slice_thresholds
        assert [list(spec.feature_keys) for spec in gate.slicing_specs] == [[]]
    [gate] = click.per_slice_thresholds
    assert gate.threshold.value_threshold.lower_bound.value == 0.7
    assert gate.threshold.change_threshold.absolute.value == -0.01
    [gate] = watch.per_slice_thresholds
    assert gate.threshold.change_threshold.absolute.value == 2.0
    [gate] = satisfaction.per_slice_thresholds
    assert gate.threshold.value_threshold.lower_bound.value == 0.0


def test_slices(translated):
    assert [list(spec.feature_keys) for spec in translated.slicing_specs] == [[], ["country"]]
