"""From two log files to a pushed model, through the command line."""

import json
import re
import signal

import pytest
import yaml
from kfp import components

from data.counts import LOGS, OUTCOMES_BY_LOG
from pipeline.commands.compile import compile_job
from pipeline.compare import compare, decide, newest_evaluation_rows
from pipeline.config import Config
from pipeline.evaluation import read_slices
from pipeline.gate import read_evaluation
from pipeline.metadata import live_artifacts, open_metadata
from tests.e2e.conftest import NUM_IMPRESSIONS

RESOLVERS = ("PreviousStatistics", "ModelInService")
COMPONENTS = (
    "LogExampleGen", "StatisticsGen", "ImportSchemaGen", "ExampleValidator", "PreviousStatistics", "DriftValidator",
    "SkewValidator", "Transform", "Trainer", "ModelInService", "Evaluator", "Gate", "Pusher", "FeaturePublisher",
)  # fmt: skip


def states(ended):
    """State by component, as the lines of a run give it."""
    return {line.split()[0]: line.split()[1] for line in ended.output.splitlines() if line.startswith(COMPONENTS)}


def test_run_pushes_a_model_and_says_what_it_did(job):
    ended = job.ended
    assert ended.exit_code == 0, ended.output + ended.errors
    assert ended.errors == ""
    # The schema needs no logs: the killed run had come to its end with it.
    assert states(ended) == {**dict.fromkeys(COMPONENTS, "done"), "ImportSchemaGen": "cached"}
    [version] = job.versions
    assert f"Blessed and pushed: {version}" in ended.output
    for task in ("click", "watch_seconds", "satisfaction"):
        assert any(line.startswith(task) for line in ended.output.splitlines())


def test_counts_reconcile_and_garbage_is_kept(job):
    report = job.artifact("LogExampleGen", "report")
    counts = json.loads((report / "counts.json").read_text())
    for log in LOGS:
        assert counts[f"{log}_read"] == sum(counts[f"{log}_{outcome}"] for outcome in OUTCOMES_BY_LOG[log])
    assert counts["impressions_read"] == NUM_IMPRESSIONS
    # The simulated feed delivers 3 in 1,000 records twice, and all that it holds is in time and has its impression.
    assert counts["impressions_duplicate"] == 36
    assert counts["impressions_train"] + counts["impressions_eval"] == NUM_IMPRESSIONS - 36
    assert counts["engagements_attributed"] + counts["engagements_duplicate"] == counts["engagements_read"] - 1
    assert counts["engagements_dead_lettered"] == 1
    [dead] = [json.loads(line) for path in report.glob("dead_letters*") for line in path.read_text().splitlines()]
    assert (dead["log"], dead["record"]) == ("engagements", "not json")
    assert dead["file"].endswith("engagements.jsonl.gz")


def test_nobody_reads_what_a_killed_run_left(job):
    assert (job.killed.exit_code, job.killed.has_counts) == (-signal.SIGKILL, False)
    whole = job.artifact("LogExampleGen", "examples")
    assert whole != job.killed.examples
    live = live_artifacts(open_metadata(job.config.metadata_file), "Examples")
    assert [artifact.uri for artifact in live if "LogExampleGen" in artifact.uri] == [str(whole)]
    assert newest_evaluation_rows(job.config).parent == whole
    [statistics] = [line for line in job.ended.output.splitlines() if line.startswith("StatisticsGen")]
    assert statistics.endswith(f" {NUM_IMPRESSIONS - 36:,} rows")


def test_resolved_configuration_lies_beside_the_model(job):
    [version] = job.versions
    beside = Config.model_validate_json((version / "assets.extra" / "smalltowers.json").read_text())
    assert beside == job.config


def test_tfma_measures_the_same_output_label_and_mask_as_the_gate(job, evaluation):
    by_label = {each.label: each for each in read_slices(job.artifact("Evaluator", "evaluation")) if not each.slice_name}
    assert list(by_label) == [task.label for task in evaluation.tasks]
    for task in evaluation.tasks:
        found = by_label[task.label]
        assert found.num_rows == task.num_rows
        assert found.values.keys() == task.measures.keys()
        for name, measure in task.measures.items():
            assert found.values[name] == pytest.approx(measure.value, abs=1e-5), (task.label, name)
    assert evaluation.task("click").measures["auc"].value != evaluation.task("satisfaction").measures["auc"].value


def test_gate_measures_with_intervals_and_blesses_what_nothing_stands_against(evaluation):
    assert (evaluation.is_blessed, evaluation.in_service, evaluation.notes) == (True, "", ())
    for task in evaluation.tasks:
        assert all(each.estimate.low < each.estimate.high for each in task.measures.values())
    assert evaluation.task("click").gate.floor == 0.55
    assert len(evaluation.task("click").reliability) == 10


def test_identical_run_is_cached_and_pushes_nothing(job):
    pushed = job.versions
    again = job.run("run")
    assert again.exit_code == 0, again.output + again.errors
    found = states(again)
    assert set(found) == set(COMPONENTS)
    assert {name for name, state in found.items() if state != "cached"} <= set(RESOLVERS), again.output
    assert job.versions == pushed


def test_version_compared_with_itself_shows_no_difference(job):
    version = job.versions[0]
    comparison = compare(version, version, num_replicates=100)
    assert len(comparison.differences) == 14
    assert all((d.change.low, d.change.estimate, d.change.high) == (0, 0, 0) for d in comparison.differences)
    assert decide(comparison.differences).keeps == "A"


def test_version_trained_on_shuffled_labels_is_found_out(job, shuffled_version):
    comparison = compare(job.versions[0], shuffled_version, newest_evaluation_rows(job.config), num_replicates=200)
    assert {d.label for d in comparison.differences if d.is_worse} == {"click", "watch_seconds", "satisfaction"}
    assert decide(comparison.differences).keeps == "A"
    swapped = compare(shuffled_version, job.versions[0], newest_evaluation_rows(job.config), num_replicates=200)
    assert decide(swapped.differences).keeps == "B"


def test_specification_for_kubeflow_names_every_component(job, tmp_path):
    output = tmp_path / "pipeline.yaml"
    compile_job(job.config, output)
    assert components.load_component_from_file(str(output)).pipeline_spec.pipeline_info.name == "demo"
    tasks = yaml.safe_load(output.read_text())["root"]["dag"]["tasks"]
    for component in COMPONENTS:
        # A TFX resolver becomes one task an input.
        assert any(task == component or task.startswith(f"{component}-") for task in tasks), component


def test_demo_on_a_log_with_one_class_only(make_job):
    """Nobody is ever satisfied: the run says that this task cannot be ranked, judges the others, and is served."""
    small = [f"data.simulator.{key}" for key in ("num_users=100", "num_items=50", "num_impressions=5_000")]
    job = make_job("one_class", *small, "data.satisfaction.threshold=100", "evaluation.gates={}")
    ended = job.run("demo")
    assert ended.exit_code == 0, ended.output + ended.errors
    assert ended.output.startswith(f"Simulated logs: {job.folder}/logs\n")
    assert "the best that any model could reach on this feed is 0." in ended.output
    assert re.search(r"^Ranking for user u\d+ by version", ended.output, re.MULTILINE)
    satisfaction = read_evaluation(job.artifact("Gate", "metrics")).task("satisfaction")
    assert satisfaction.measures["auc"].value is None
    assert satisfaction.measures["log_loss"].value > 0
    assert "Not measured: satisfaction AUC: all labels are of one class" in ended.output
