"""A job's ML Metadata, read between or after runs."""

from ml_metadata import metadata_store
from ml_metadata.proto import metadata_store_pb2


def open_metadata(metadata_file):
    """A job's metadata, for reading.

    Args:
        metadata_file: SQLite file.

    Returns:
        `ml_metadata.MetadataStore`.
    """
    return metadata_store.MetadataStore(read_only(metadata_file))


def read_only(metadata_file):
    """How to reach a job's metadata without writing.

    Args:
        metadata_file: SQLite file.

    Returns:
        `metadata_store_pb2.ConnectionConfig`.
    """
    connection = metadata_store_pb2.ConnectionConfig()
    connection.sqlite.filename_uri = str(metadata_file)
    connection.sqlite.connection_mode = metadata_store_pb2.SqliteMetadataSourceConfig.READONLY
    return connection


def newest_first(store, artifacts):
    """Artifacts in the order of the executions that last gave them out, newest first; the cache counts as giving out.

    Args:
        store: `ml_metadata.MetadataStore`.
        artifacts: of TFX or of ML Metadata; those that no execution gave out are left out.

    Returns:
        List.
    """
    last_execution_by_id = {}
    for event in store.get_events_by_artifact_ids([artifact.id for artifact in artifacts]):
        if event.type == metadata_store_pb2.Event.OUTPUT:
            last = last_execution_by_id.get(event.artifact_id, 0)
            last_execution_by_id[event.artifact_id] = max(last, event.execution_id)
    used = [artifact for artifact in artifacts if artifact.id in last_execution_by_id]
    return sorted(used, key=lambda artifact: last_execution_by_id[artifact.id], reverse=True)


def input_ids(store, artifact):
    """What an artifact was made of.

    Args:
        store: `ml_metadata.MetadataStore`.
        artifact: of TFX or of ML Metadata.

    Returns:
        Set of the ids of the artifacts that the executions read which gave it out.
    """
    given_out = store.get_events_by_artifact_ids([artifact.id])
    executions = [event.execution_id for event in given_out if event.type == metadata_store_pb2.Event.OUTPUT]
    events = store.get_events_by_execution_ids(executions) if executions else []
    return {event.artifact_id for event in events if event.type == metadata_store_pb2.Event.INPUT}


def live_artifacts(store, type_name):
    """Whole artifacts of a type; a killed run leaves others behind.

    Args:
        store: `ml_metadata.MetadataStore`.
        type_name: name of the artifact type.

    Returns:
        List of `metadata_store_pb2.Artifact`.
    """
    live = metadata_store_pb2.Artifact.LIVE
    return [artifact for artifact in store.get_artifacts_by_type(type_name) if artifact.state == live]
