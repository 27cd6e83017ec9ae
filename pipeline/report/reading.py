"""From a recorded run and its artifacts to what the page tells."""

import dataclasses
from pathlib import Path

import pydantic
from tfx.types import artifact_utils
from tfx.utils import path_utils

from models.warm_start_report import WarmStartReport
from pipeline import summary
from pipeline.components.version_pusher import best_values
from pipeline.config import Config
from pipeline.errors import ReportError
from pipeline.evaluation import read_slices
from pipeline.ingestion_report import previous_report, read_counts, read_label_counts
from pipeline.local import ComponentRun
from pipeline.report.lineage import recorded_run
from pipeline.report.origin import read_origin
from pipeline.report.run_report import HELD_BACK, PUSHED, STOPPED, Origin, RunReport, Verdict
from pipeline.report.uncalibrated import uncalibrated_reliability
from pipeline.training_history import read_history

REPORTS_FOLDER = "reports"


def read_report(config, name=None):
    """What a run left to tell.

    Args:
        config: `Config` of the job.
        name: of the run's files; None for the last run.

    Returns:
        `RunReport`, with the configuration that the run had where it came far enough to record it, as tuned.

    Raises:
        ReportError: If there is no such run, or it was made by sources whose records these cannot read.
    """
    run = recorded_run(config.metadata_file, name)
    tuned = _if_done(run, "Tuner", lambda outputs: best_values(outputs["best_hyperparameters"]), {})
    config = _config_of(run, config).with_values(tuned)
    evaluation = _if_done(run, "Gate", summary.evaluation)
    anomalies = tuple(summary.anomalies(_component_runs(run)))
    commit, versions = read_origin(origin_file(config, run.name))
    ingested = _if_done(run, "LogExampleGen", summary.report_folder)
    return RunReport(
        config=config,
        started_at=run.started_at,
        seconds=(run.ended_at - run.started_at).total_seconds(),
        verdict=_verdict(config, run, evaluation, anomalies),
        components=run.components,
        origin=Origin(run.run_id, run.properties.get("LogExampleGen", {}).get("fingerprint", ""), commit, versions),
        anomalies=anomalies,
        history=_history(run),
        evaluation=evaluation,
        slices=_if_done(
            run, "Evaluator", lambda outputs: read_slices(artifact_utils.get_single_uri(outputs["evaluation"])), ()
        ),
        uncalibrated=_uncalibrated(config, run) if evaluation else {},
        tuned=tuned,
        **(_of_data(config, ingested) if ingested else {}),
    )


def page_file(config, name):
    """Where the page of a run lies.

    Args:
        config: `Config` of the job.
        name: of the run's files.

    Returns:
        `Path`.
    """
    return config.root / REPORTS_FOLDER / f"{name}.html"


def origin_file(config, name):
    """Where versions and commit of a run are recorded.

    Args:
        config: `Config` of the job.
        name: of the run's files.

    Returns:
        `Path`.
    """
    return config.root / REPORTS_FOLDER / f"{name}.json"


def _config_of(run, config):
    recorded = run.properties.get("Pusher", {}).get("config")
    if not recorded:
        return config
    try:
        return Config.model_validate_json(recorded)
    except pydantic.ValidationError as error:
        raise ReportError(
            f"the run of {run.name} was made by other sources, whose configuration these do not know "
            f"({error.error_count()} keys differ); report it with those"
        ) from None


def _component_runs(run):
    return {
        each.name: ComponentRun(each.name, each.state == "cached", each.seconds, run.outputs[each.name])
        for each in run.components
        if each.state in ("done", "cached")
    }


def _if_done(run, name, read, otherwise=None):
    """What a component left, if it came to its end."""
    is_done = any(each.name == name and each.state in ("done", "cached") for each in run.components)
    return read(run.outputs[name]) if is_done else otherwise


def _history(run):
    """`History` of the training; with why no version that was pushed could be begun from, which the trainer was not told."""
    history = _if_done(run, "Trainer", lambda outputs: read_history(artifact_utils.get_single_uri(outputs["model_run"])))
    obstacle = _if_done(run, "WarmStart", summary.warm_start_obstacle)
    if not history or not obstacle:
        return history
    refused = artifact_utils.get_single_uri(run.outputs["WarmStart"]["pushed_model"])
    return dataclasses.replace(history, warm_start=WarmStartReport(refused, {}, 0, {}, obstacle))


def _of_data(config, folder):
    previous = previous_report(config.metadata_file, folder)
    return {
        "counts": read_counts(folder),
        "labels": read_label_counts(folder),
        "previous_labels": previous and read_label_counts(previous),
    }


def _verdict(config, run, evaluation, anomalies):
    if not _if_done(run, "Pusher", bool):
        stopped = [f"{each.name}: {each.state}" for each in run.components if each.state not in ("done", "cached")]
        return Verdict(STOPPED, reasons=tuple(stopped) or ("No model came to be judged.",))
    if summary.is_pushed(run.outputs["Pusher"]):
        version = summary.pushed_version(run.outputs["Pusher"])
        return Verdict(PUSHED, version, str(config.models_folder / version), notes=evaluation.notes)
    blocking = anomalies if config.validation.blocking else ()
    return Verdict(HELD_BACK, reasons=(*evaluation.blocks, *blocking), notes=evaluation.notes)


def _uncalibrated(config, run):
    transformed, model = run.outputs["Transform"], run.outputs["Trainer"]["model"]
    examples_folder = Path(artifact_utils.get_single_uri(transformed["transformed_examples"]))
    return uncalibrated_reliability(
        config.model.tasks,
        path_utils.serving_model_path(artifact_utils.get_single_uri(model)),
        artifact_utils.get_single_uri(transformed["transform_graph"]),
        examples_folder,
    )
