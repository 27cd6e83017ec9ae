"""From two log files to a pushed model, through the command line."""

import json

import pytest
import tensorflow_model_analysis as tfma
import yaml
from kfp import components

from pipeline.commands.compile import compile_job
from pipeline.compare import compare, decide, newest_evaluation_rows
from pipeline.config import Config

COMPONENTS = (
    "LogExampleGen", "ImportSchemaGen", "StatisticsGen", "ExampleValidator", "Transform", "Trainer", "ModelInService",
    "Evaluator", "TaskEvaluator", "Pusher", "FeaturePublisher",
)  # fmt: skip


def test_run_pushes_a_model_and_says_what_it_did(job):
    assert job.run_exit_code == 0, job.output + job.errors
    assert job.errors == ""
    lines = job.output.splitlines()
    for component in COMPONENTS:
        assert any(line.startswith(component) and " done " in line for line in lines), component
    [version] = job.versions
    assert f"Blessed and pushed: {version}" in job.output
    for task in ("click", "watch_seconds", "satisfaction"):
        assert any(line.startswith(task) for line in lines)


def test_counts_reconcile_and_garbage_is_kept(job, logs):
    report = job.artifact("LogExampleGen", "report")
    counts = json.loads((report / "counts.json").read_text())
    assert counts["engagements_dead_lettered"] == 1
    assert counts["impressions_read"] == sum(
        counts[f"impressions_{fate}"] for fate in ("train", "eval", "outside", "duplicate", "dead_lettered")
    )
    [dead] = [json.loads(line) for path in report.glob("dead_letters*") for line in path.read_text().splitlines()]
    assert (dead["log"], dead["record"]) == ("engagements", "not json")
    assert dead["file"].endswith("engagements.jsonl.gz")


def test_resolved_configuration_lies_beside_the_model(job):
    [version] = job.versions
    beside = Config.model_validate_json((version / "assets.extra" / "smalltowers.json").read_text())
    assert beside == job.config


def test_tfma_measures_the_same_output_label_and_mask_as_we_do(job, metrics):
    result = tfma.load_eval_result(str(job.artifact("Evaluator", "evaluation")))
    overall = dict(result.slicing_metrics)[()]
    for label, name, ours, tolerance in (
        ("click", "auc", "auc", 2e-4),
        ("satisfaction", "auc", "auc", 2e-4),
        ("watch_seconds", "mean_absolute_error", "mean_absolute_error_seconds", 1e-3),
    ):
        assert overall[label][""][name]["doubleValue"] == pytest.approx(metrics[label][ours]["value"], abs=tolerance)
    assert metrics["click"]["auc"]["value"] != metrics["satisfaction"]["auc"]["value"]


def test_second_run_uses_the_cache(job, run_in_own_process):
    assert run_in_own_process(job) == 0, job.errors
    states = {line.split()[0]: line.split()[1] for line in job.output.splitlines() if line.startswith(COMPONENTS)}
    for component in ("LogExampleGen", "StatisticsGen", "Transform", "Trainer", "TaskEvaluator"):
        assert states[component] == "cached", job.output


def test_version_compared_with_itself_shows_no_difference(job):
    version = job.versions[0]
    comparison = compare(version, version, num_replicates=100)
    assert len(comparison.differences) == 8
    assert all((d.difference.low, d.difference.estimate, d.difference.high) == (0, 0, 0) for d in comparison.differences)
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


def test_demo_on_a_log_with_one_class_only(make_job, run_in_own_process):
    """Nobody is ever satisfied: the run says that this task cannot be ranked, judges the others, and is served."""
    small = [f"data.simulator.{key}" for key in ("num_users=100", "num_items=50", "num_impressions=5_000")]
    job = make_job("one_class", *small, "data.satisfaction.positive=[]", "evaluation.min_auc={}")
    assert run_in_own_process(job, "demo") == 0, job.errors
    assert job.output.startswith(f"Simulated logs: {job.folder}/logs\n")
    assert "the best that any model could reach on this feed is 0." in job.output
    assert "Ranking for user u0 by version" in job.output
    path = job.artifact("TaskEvaluator", "metrics") / "metrics.json"
    satisfaction = json.loads(path.read_text())["satisfaction"]
    assert satisfaction["auc"]["value"] is None
    assert "one class" in satisfaction["auc"]["reason"]
    assert "Not measured: satisfaction AUC: all labels are of one class" in job.output
