"""What each component did, in a few words, read from its output artifacts."""

import functools

import tensorflow_data_validation as tfdv
from tfx.types import artifact_utils

from data.counts import LOGS
from pipeline.components.version_pusher import best_values
from pipeline.evaluation import read_slices
from pipeline.gate import read_evaluation
from pipeline.ingestion_report import read_counts
from pipeline.training_history import read_history
from pipeline.validation import DRIFT_PAIRS, SKEW_PAIRS, distribution_anomalies, schema_anomalies


def describe(run, ingestion):
    """Says what a component produced.

    Args:
        run: `pipeline.local.ComponentRun`.
        ingestion: `ComponentRun` of the LogExampleGen before it; None where there was none.

    Returns:
        One line, with row counts where the component saw rows.
    """
    rows = (
        _ROWS_BY_COMPONENT[run.name](read_counts(report_folder(ingestion.outputs))) if run.name in _ROWS_BY_COMPONENT else None
    )
    said = _DESCRIBE_BY_COMPONENT[run.name](run.outputs) if run.name in _DESCRIBE_BY_COMPONENT else ""
    return said if rows is None else "; ".join(filter(None, (f"{rows:,} rows", said)))


def evaluation(outputs):
    """What the Gate found.

    Args:
        outputs: artifacts of the Gate by key.

    Returns:
        `pipeline.gate.Evaluation`.
    """
    return read_evaluation(_uri(outputs, "metrics"))


def is_pushed(outputs):
    """Whether the Pusher pushed.

    Args:
        outputs: artifacts of the Pusher by key.

    Returns:
        bool.
    """
    return outputs["pushed_model"][0].get_int_custom_property("pushed") == 1


def pushed_version(outputs):
    """Version number under which the Pusher pushed.

    Args:
        outputs: artifacts of the Pusher by key.

    Returns:
        Version as a string.
    """
    return outputs["pushed_model"][0].get_string_custom_property("pushed_version")


def warm_start_obstacle(outputs):
    """Why a training did not begin from a version that was pushed.

    Args:
        outputs: artifacts of the WarmStart by key.

    Returns:
        Reason, as "version 17 was trained into the evaluation days of this run"; empty where it did, or nothing was pushed.
    """
    if outputs.get("model") or not outputs.get("pushed_model"):
        return ""
    return f"version {pushed_version(outputs)} was trained into the evaluation days of this run"


def _uri(outputs, key):
    return artifact_utils.get_single_uri(outputs[key])


def report_folder(outputs):
    """Folder of an ingestion's report.

    Args:
        outputs: artifacts of the LogExampleGen by key.

    Returns:
        Path.
    """
    return _uri(outputs, "report")


def anomalies(runs):
    """What the validators found in the data.

    Args:
        runs: `pipeline.local.ComponentRun` by name.

    Returns:
        One line for each column and split that the schema does not allow, that drifted, or that is skewed.
    """
    found = {
        name: read(_uri(runs[name].outputs, "anomalies")) for name, read in _ANOMALIES_BY_VALIDATOR.items() if name in runs
    }
    return [line for lines in found.values() for line in lines or ()]


def _ingested(outputs):
    counts = read_counts(_uri(outputs, "report"))
    validated = f"{counts.impressions_validation:,} to validate, " if counts.impressions_validation else ""
    num_dead = sum(getattr(counts, f"{log}_dead_lettered") for log in LOGS)
    return (
        f"{counts.impressions_read:,} impressions and {counts.engagements_read:,} engagements read: "
        f"{counts.impressions_train:,} rows to train, {validated}{counts.impressions_eval:,} to evaluate, "
        f"{num_dead:,} dead letters" + (f" in {_uri(outputs, 'report')}" if num_dead else "")
    )


def _statistics(outputs):
    rows = 0
    statistics = artifact_utils.get_single_instance(outputs["statistics"])
    for split in artifact_utils.decode_split_names(statistics.split_names):
        uri = artifact_utils.get_split_uri([statistics], split)
        rows += tfdv.load_stats_binary(f"{uri}/FeatureStats.pb").datasets[0].num_examples
    return f"{rows:,} rows"


def _schema(outputs):
    schema = tfdv.load_schema_text(f"{_uri(outputs, 'schema')}/schema.pbtxt")
    return f"{len(schema.feature)} columns"


def _validated(read):
    def describe_outputs(outputs):
        found = read(_uri(outputs, "anomalies"))
        return "no earlier rows" if found is None else f"{len(found)} anomalies" if found else "no anomalies"

    return describe_outputs


def _tuned(outputs):
    return ", ".join(f"{key} {value}" for key, value in best_values(outputs["best_hyperparameters"]).items())


def _trained(outputs):
    history = read_history(_uri(outputs, "model_run"))
    course = history.served
    num_epochs = len(course.epochs)
    said = [f"{num_epochs} epoch{'s' if num_epochs > 1 else ''}"]
    if course.best_epoch != num_epochs:
        said.append(f"epoch {course.best_epoch} kept")
    if history.refit:
        said.append("on validation rows too")
    if history.warm_start:
        obstacle = history.warm_start.obstacle
        said.append(f"anew and not from the model in service, as {obstacle}" if obstacle else "from the model in service")
    losses = ", ".join(f"{label} {loss:.4f}" for label, loss in course.epochs[course.best_epoch - 1].train_losses.items())
    return f"{', '.join(said)}; {course.num_rows / course.train_seconds:,.0f} rows/s; loss: {losses}"


def _resolved(outputs):
    return "the version pushed last" if outputs.get("model") else "none yet"


def _begun_from(outputs):
    if obstacle := warm_start_obstacle(outputs):
        return f"none, as {obstacle}"
    # Without metadata the push is not known.
    return f"version {pushed_version(outputs)}" if outputs.get("model") and outputs.get("pushed_model") else _resolved(outputs)


def _sliced(outputs):
    slices = {(each.slice_name, each.bucket) for each in read_slices(_uri(outputs, "evaluation"))}
    return f"{len(slices) - 1} slices"


def _judged(outputs):
    found = evaluation(outputs)
    against = f", against {found.in_service}" if found.in_service else ""
    return ("blessed" if found.is_blessed else "not blessed") + against


def _pushed(outputs):
    return f"version {pushed_version(outputs)}" if is_pushed(outputs) else "nothing pushed"


_ANOMALIES_BY_VALIDATOR = {
    "ExampleValidator": schema_anomalies,
    "DriftValidator": functools.partial(distribution_anomalies, pairs=DRIFT_PAIRS),
    "SkewValidator": functools.partial(distribution_anomalies, pairs=SKEW_PAIRS),
}

_DESCRIBE_BY_COMPONENT = {
    "LogExampleGen": _ingested,
    "StatisticsGen": _statistics,
    "SchemaGen": _schema,
    "ImportSchemaGen": _schema,
    **{name: _validated(read) for name, read in _ANOMALIES_BY_VALIDATOR.items()},
    "WarmStart": _begun_from,
    "ModelInService": _resolved,
    "Tuner": _tuned,
    "Trainer": _trained,
    "Evaluator": _sliced,
    "Gate": _judged,
    "Pusher": _pushed,
}

_ROWS_BY_COMPONENT = {
    "Transform": lambda counts: counts.impressions_train + counts.impressions_validation + counts.impressions_eval,
    "Trainer": lambda counts: counts.impressions_train,
    "Evaluator": lambda counts: counts.impressions_eval,
    "Gate": lambda counts: counts.impressions_eval,
}
