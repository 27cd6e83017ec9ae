import dataclasses
import io
import types

import pytest
from rich.console import Console

from models.bootstrap import Difference, Estimate
from pipeline.commands import run
from pipeline.config import ValidationConfig
from pipeline.errors import VersionError
from pipeline.gate import Evaluation, GateResult, TaskResult
from pipeline.measuring import MeasureResult


def said(is_pushed, anomalies=()):
    """What the components of a finished run left behind."""
    return types.SimpleNamespace(
        is_pushed=lambda outputs: is_pushed,
        pushed_version=lambda outputs: "17",
        anomalies=lambda runs: list(anomalies),
    )


RUNS = {"Pusher": types.SimpleNamespace(outputs={})}


def evaluation(blocks=()):
    """A gate's result with one measure of one task."""
    auc = MeasureResult(
        "watch_seconds",
        "auc",
        Estimate(0.72801, 0.72211, 0.73411, 300),
        before=Estimate(0.7262, 0.72, 0.73, 300),
        change=Difference(0.00181, -0.0004, 0.004, 300),
    )
    seconds = MeasureResult(
        "watch_seconds",
        "mean_absolute_error_seconds",
        Estimate(119.044, 118.9, 119.126, 300),
        before=Estimate(19.2, 19.1, 19.3, 300),
        change=Difference(99.84, 99.8, 99.9, 300),
    )
    nothing = MeasureResult("watch_seconds", "ndcg", None, "no list holds a label above 0")
    gate = GateResult("auc", None, 0.0, tuple(blocks), ("click is not compared with version 17: no such output",))
    measures = {each.name: each for each in (auc, seconds, nothing)}
    return Evaluation(
        (TaskResult("watch_seconds", "probability", 9, measures, (), gate),), 35_755, 8_012, 300, "version 17", 10
    )


def test_a_pushed_version_that_is_gone_is_an_error(config):
    """The cache remembers a push; the folder may have been removed since."""
    with pytest.raises(VersionError, match=r"ranker/17 was pushed by an earlier run and is gone; run again with --fresh"):
        run._verdict(Console(quiet=True), config, said(True), RUNS, evaluation())
    (config.models_folder / "17").mkdir(parents=True)
    assert run._verdict(Console(quiet=True), config, said(True), RUNS, evaluation()) == 0


@pytest.mark.parametrize("is_blocking", [True, False])
def test_verdict_names_gates_and_the_anomalies_that_block(config, is_blocking):
    config = config.model_copy(update={"validation": ValidationConfig(blocking=is_blocking)})
    console = Console(file=io.StringIO(), width=200)
    exit_code = run._verdict(console, config, said(False, ["surface drifted"]), RUNS, evaluation(["auc is low"]))
    anomaly = "  surface drifted\n" if is_blocking else ""
    assert (exit_code, console.file.getvalue()) == (1, f"Not pushed:\n  auc is low\n{anomaly}")


def test_anomalies_that_do_not_block_are_told_all_the_same(config):
    (config.models_folder / "17").mkdir(parents=True)
    console = Console(file=io.StringIO(), width=200)
    assert run._verdict(console, config, said(True, ["surface drifted"]), RUNS, evaluation()) == 0
    assert "Anomalies in the data, which do not block:\n  surface drifted\n" in console.file.getvalue()


def test_measures_fit_a_narrow_terminal_with_their_intervals():
    console = Console(file=io.StringIO(), width=80)
    run._print_evaluation(console, evaluation())
    lines = [line.rstrip() for line in console.file.getvalue().splitlines()]
    assert lines == [
        "Evaluation days: 35,755 rows of 8,012 users, against version 17",
        "task           measure   value   95% interval   change     95% interval",
        "watch_seconds  AUC      0.7280  0.7221 0.7341  +0.0018  -0.0004 +0.0040",
        "               MAE, s   119.04  118.90 119.13   +99.84    +99.80 +99.90  worse",
        "               NDCG@10       -",
        "95% intervals: bootstrap by user, 300 replicates",
        "Not measured: watch_seconds NDCG: no list holds a label above 0",
        "Not judged:",
        "  click is not compared with version 17: no such output",
    ]


def test_first_model_has_nothing_to_be_compared_with():
    alone = evaluation()
    [task] = alone.tasks
    measures = {name: dataclasses.replace(each, before=None, change=None) for name, each in task.measures.items()}
    alone = dataclasses.replace(alone, tasks=(dataclasses.replace(task, measures=measures),), in_service="")
    console = Console(file=io.StringIO(), width=80)
    run._print_evaluation(console, alone)
    assert "change" not in console.file.getvalue()
    assert "watch_seconds  AUC      0.7280  0.7221 0.7341" in console.file.getvalue()
