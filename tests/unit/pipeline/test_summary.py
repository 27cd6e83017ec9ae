import io
import types

import pytest
from rich.console import Console
from tensorflow_model_analysis.proto import validation_result_pb2

from models.metrics import Metric
from pipeline import summary
from pipeline.commands import run
from pipeline.config import ValidationConfig
from pipeline.errors import VersionError


def failure(name, value, floor=None):
    message = validation_result_pb2.ValidationFailure()
    message.metric_key.name = name
    message.metric_key.output_name = "click"
    message.metric_key.is_diff = floor is None
    message.metric_value.double_value.value = value
    if floor is not None:
        message.metric_threshold.value_threshold.lower_bound.value = floor
    return message


@pytest.mark.parametrize(
    ("message", "metric", "line"),
    [
        (failure("auc", 0.61, 0.7), Metric(0.61, 9), "click auc is 0.6100, the floor is 0.7000"),
        (
            failure("auc", -0.02),
            Metric(0.61, 9),
            "click auc changed by -0.0200 against the model in service, beyond what is allowed",
        ),
        (
            failure("auc", 0.0, 0.7),
            Metric(None, 9, "all labels are of one class"),
            "click auc is not defined: all labels are of one class",
        ),
    ],
)
def test_missed_gates_are_told_in_words(message, metric, line):
    assert summary._describe_failure(message, {"click": {"auc": metric}}) == line


def said(is_pushed, anomalies=(), failures=()):
    """What the components of a finished run left behind."""
    return types.SimpleNamespace(
        is_pushed=lambda outputs: is_pushed,
        pushed_version=lambda outputs: "17",
        anomalies=lambda runs: list(anomalies),
        gate_failures=lambda outputs, metrics: list(failures),
    )


RUNS = {name: types.SimpleNamespace(outputs={}) for name in ("Pusher", "Evaluator")}


def test_a_pushed_version_that_is_gone_is_an_error(config):
    """The cache remembers a push; the folder may have been removed since."""
    with pytest.raises(VersionError, match=r"ranker/17 was pushed by an earlier run and is gone; run again with --fresh"):
        run._verdict(Console(quiet=True), config, said(True), RUNS, {})
    (config.models_folder / "17").mkdir(parents=True)
    assert run._verdict(Console(quiet=True), config, said(True), RUNS, {}) == 0


@pytest.mark.parametrize("is_blocking", [True, False])
def test_verdict_names_gates_and_the_anomalies_that_block(config, is_blocking):
    config = config.model_copy(update={"validation": ValidationConfig(blocking=is_blocking)})
    console = Console(file=io.StringIO(), width=200)
    exit_code = run._verdict(console, config, said(False, ["surface drifted"], ["auc is low"]), RUNS, {})
    anomaly = "  surface drifted\n" if is_blocking else ""
    assert (exit_code, console.file.getvalue()) == (1, f"Not pushed:\n  auc is low\n{anomaly}")


def test_anomalies_that_do_not_block_are_told_all_the_same(config):
    (config.models_folder / "17").mkdir(parents=True)
    console = Console(file=io.StringIO(), width=200)
    assert run._verdict(console, config, said(True, ["surface drifted"]), RUNS, {}) == 0
    assert "Anomalies in the data, which do not block:\n  surface drifted\n" in console.file.getvalue()
