"""Publishes the feature tables of a pushed model to the place where the service reads them, and to its feature store."""

import fnmatch
import json
import tempfile
import time
from pathlib import Path

from tfx.dsl.components.base import base_component, base_executor, executor_spec
from tfx.dsl.io import fileio
from tfx.types import Channel, artifact_utils, standard_artifacts
from tfx.types.component_spec import ChannelParameter, ComponentSpec, ExecutionParameter

from data.schema import BUCKETS_FILE, EMPTY_HISTORY_FILE, ITEMS_TABLE, USERS_TABLE, pair_table_name
from pipeline.components.artifacts import FeatureTables, PublishedFeatures
from serving.features.config import FeaturesConfig
from serving.features.publication import Publication
from serving.features.sqlite_store import SQLITE_FILE, publish_to_sqlite
from serving.features.tables import FeatureTables as ServedTables

# Which of the files there are follows from the configuration.
_OPTIONAL = (pair_table_name("*"), EMPTY_HISTORY_FILE, BUCKETS_FILE, SQLITE_FILE)
_UNFINISHED = ".new"


class _Spec(ComponentSpec):
    PARAMETERS = {"destination": ExecutionParameter(type=str), "features": ExecutionParameter(type=str)}
    INPUTS = {
        "feature_tables": ChannelParameter(type=FeatureTables),
        "pushed_model": ChannelParameter(type=standard_artifacts.PushedModel),
    }
    OUTPUTS = {"published": ChannelParameter(type=PublishedFeatures)}


class Executor(base_executor.BaseExecutor):
    """Puts the tables into the place of those before, if the model was pushed.

    They are checked as the service checks them, and with the SQLite file, where that is the store, copied beside those before
    under temporary names. Then Redis is filled, if that is the store. Only then are all files renamed, and those that this
    configuration no longer has removed: a reader meets whole files at any time, and both publications mixed for no longer than
    a few renames take. What fails before leaves those before as they were.
    """

    def Do(self, input_dict, output_dict, exec_properties):  # noqa: N802, the name is TFX's
        """Publishes the tables.

        Args:
            input_dict: artifacts `feature_tables` and `pushed_model`.
            output_dict: artifact `published`.
            exec_properties: `destination`, a folder; `features`, `FeaturesConfig` as JSON.

        Raises:
            FeatureTableError: If the service could not read the tables.
        """
        self._log_startup(input_dict, output_dict, exec_properties)
        pushed = artifact_utils.get_single_instance(input_dict["pushed_model"])
        is_pushed = bool(pushed.get_int_custom_property("pushed"))
        destination = exec_properties["destination"]
        version = None
        if is_pushed:
            source = artifact_utils.get_single_uri(input_dict["feature_tables"])
            version = time.time_ns() // 1_000_000
            _publish(source, destination, FeaturesConfig.model_validate_json(exec_properties["features"]), version)
        record = {"published": is_pushed, "destination": destination, "version": version}
        target = Path(artifact_utils.get_single_uri(output_dict["published"]), "published.json")
        target.write_text(json.dumps(record), encoding="utf-8")


def _publish(source, destination, config, version):
    """Publishes the tables and what the store holds of them, by way of a local folder, as both places may be remote."""
    with tempfile.TemporaryDirectory() as folder:
        for name in fileio.listdir(source):
            fileio.copy(f"{source}/{name}", f"{folder}/{name}")
        publication = Publication.load(folder, config, version)
        if config.store == "tables":
            ServedTables.load(folder, config)
        elif config.store == "sqlite":
            publish_to_sqlite(publication, f"{folder}/{SQLITE_FILE}")
        names = sorted(fileio.listdir(folder))
        fileio.makedirs(destination)
        try:
            for name in names:
                fileio.copy(f"{folder}/{name}", f"{destination}/{name}{_UNFINISHED}", overwrite=True)
            if config.store == "redis":
                from serving.features.redis_store import publish_to_redis

                publish_to_redis(publication, config)
            for name in names:
                fileio.rename(f"{destination}/{name}{_UNFINISHED}", f"{destination}/{name}", overwrite=True)
        finally:
            _remove(destination, lambda name: name.endswith(_UNFINISHED) and _is_own(name.removesuffix(_UNFINISHED)))
        _remove(destination, lambda name: name not in names and _is_optional(name))


def _remove(folder, is_unwanted):
    for name in filter(is_unwanted, fileio.listdir(folder)):
        fileio.remove(f"{folder}/{name}")


def _is_own(name):
    return name in (USERS_TABLE, ITEMS_TABLE) or _is_optional(name)


def _is_optional(name):
    return any(fnmatch.fnmatchcase(name, pattern) for pattern in _OPTIONAL)


class FeaturePublisher(base_component.BaseComponent):
    """Publishes feature tables together with a pushed model. Output: `published`."""

    SPEC_CLASS = _Spec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(Executor)

    def __init__(self, feature_tables, pushed_model, destination, features):
        """Configures the component.

        Args:
            feature_tables: channel of the tables.
            pushed_model: channel of the pusher.
            destination: folder.
            features: `FeaturesConfig`, of the store beside the tables.
        """
        super().__init__(
            _Spec(
                feature_tables=feature_tables,
                pushed_model=pushed_model,
                destination=destination,
                features=features.model_dump_json(),
                published=Channel(type=PublishedFeatures),
            )
        )
