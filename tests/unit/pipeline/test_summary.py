import types

import pytest
from rich.console import Console
from tensorflow_model_analysis.proto import validation_result_pb2

from models.metrics import Metric
from pipeline import summary
from pipeline.commands import run
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


def test_a_pushed_version_that_is_gone_is_an_error(config):
    """The cache remembers a push; the folder may have been removed since."""
    said = types.SimpleNamespace(is_pushed=lambda outputs: True, pushed_version=lambda outputs: "17")
    runs = {"Pusher": types.SimpleNamespace(outputs={})}
    with pytest.raises(VersionError, match=r"ranker/17 was pushed by an earlier run and is gone; run again with --fresh"):
        run._verdict(Console(quiet=True), config, said, runs, {})
    (config.models_folder / "17").mkdir(parents=True)
    assert run._verdict(Console(quiet=True), config, said, runs, {}) == 0
