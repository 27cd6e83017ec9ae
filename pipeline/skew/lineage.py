"""What a pushed version was trained and judged on, as ML Metadata recorded it."""

import dataclasses
from pathlib import Path

import pydantic
import tensorflow_data_validation as tfdv
from ml_metadata.proto import metadata_store_pb2
from tensorflow_transform.analyzers import sanitized_vocab_filename

from data.schema import TRAIN_SPLIT
from pipeline.compare import load_version_config
from pipeline.components.artifacts import TaskMetrics
from pipeline.components.version_pusher import MODEL_ID, PUSHED
from pipeline.config import Config
from pipeline.errors import SkewError
from pipeline.metadata import input_ids, live_artifacts, newest_first, open_metadata
from pipeline.skew.predictions import PREDICTIONS_FILE

_STATISTICS_FILE = "FeatureStats.pb"


@dataclasses.dataclass(frozen=True)
class Origin:
    """A version with what it was made of.

    Attributes:
        folder: of the version.
        config: with which it was trained.
        training: `DatasetFeatureStatistics` of its training rows.
        predictions: that of its predictions on its evaluation rows; None where the gate wrote none.
        vocabularies: by column, frozenset of all strings of training as bytes, where the model keeps them all.
    """

    folder: Path
    config: Config
    training: object
    predictions: object
    vocabularies: dict


def origin_of(config, version):
    """What a version was made of.

    Args:
        config: `pipeline.config.Config` of the job.
        version: number of a pushed version.

    Returns:
        `Origin`.

    Raises:
        SkewError: If the job's metadata does not know the version, the statistics are gone, or the configuration is of other
            sources.
        VersionError: If the version's folder is gone.
    """
    if not config.metadata_file.exists():
        raise SkewError(f"version {version} must be recorded by a run of this job. Received: no {config.metadata_file}")
    store = open_metadata(config.metadata_file)
    push, model = _pushed(store, config, version)
    statistics = Path(_statistics_of(store, model, version).uri, f"Split-{TRAIN_SPLIT}", _STATISTICS_FILE)
    if not statistics.exists():
        raise SkewError(f"the training statistics of version {version} must still be there. Received: no file {statistics}")
    folder = config.models_folder / str(version)
    try:
        version_config = load_version_config(folder)
    except pydantic.ValidationError as error:
        raise SkewError(
            f"the configuration beside version {version} must be of these sources. "
            f"Received: {error.error_count()} keys that are not"
        ) from error
    metrics = _metrics_of(store, push)
    file = metrics and Path(metrics.uri, PREDICTIONS_FILE)
    return Origin(
        folder,
        version_config,
        tfdv.load_stats_binary(str(statistics)).datasets[0],
        tfdv.load_stats_binary(str(file)).datasets[0] if file and file.exists() else None,
        _vocabularies(folder, version_config.model.features),
    )


def _pushed(store, config, version):
    """Artifacts of a push and of the model that it pushed."""
    pushes = [
        push
        for push in live_artifacts(store, "PushedModel")
        if push.custom_properties[PUSHED].int_value and push.custom_properties["pushed_version"].string_value == str(version)
    ]
    models = pushes and store.get_artifacts_by_id([pushes[-1].custom_properties[MODEL_ID].int_value])
    if not models:
        raise SkewError(
            f"version {version} must be one that this job pushed. Received: none of that number in {config.metadata_file}"
        )
    return pushes[-1], models[0]


def _statistics_of(store, model, version):
    """Artifact of the statistics of the rows that a model was trained on."""
    graphs = [graph for graph in live_artifacts(store, "TransformGraph") if graph.id in input_ids(store, model)]
    rows = set().union(*(input_ids(store, graph) for graph in graphs))
    made_of_rows = [
        statistics for statistics in live_artifacts(store, "ExampleStatistics") if rows & input_ids(store, statistics)
    ]
    found = newest_first(store, made_of_rows)
    if not found:
        raise SkewError(f"the training statistics of version {version} must be recorded. Received: none in the job's metadata")
    return found[0]


def _metrics_of(store, push):
    """Artifact of what the gate said of a pushed model, by the blessing that it gave out with it; None where there is none."""
    blessings = input_ids(store, push) & {artifact.id for artifact in live_artifacts(store, "ModelBlessing")}
    gates = _producers(store, blessings)
    found = [metrics for metrics in live_artifacts(store, TaskMetrics.TYPE_NAME) if _producers(store, [metrics.id]) & gates]
    return found[-1] if found else None


def _vocabularies(folder, features):
    """Vocabularies of the features that leave out no rare value, by column."""
    vocabularies = {}
    for feature in features:
        file = folder / "assets" / sanitized_vocab_filename(feature.name)
        if getattr(feature, "min_count", None) == 1 and feature.shares is None and file.exists():
            vocabularies[feature.name] = frozenset(file.read_bytes().split(b"\n")[:-1])
    return vocabularies


def _producers(store, artifact_ids):
    events = store.get_events_by_artifact_ids(list(artifact_ids))
    return {event.execution_id for event in events if event.type == metadata_store_pb2.Event.OUTPUT}
