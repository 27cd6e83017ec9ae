"""The feature store that the configuration names."""

import pathlib

from data.schema import USERS_TABLE
from serving.features.sqlite_store import SQLITE_FILE, SqliteStore
from serving.features.tables import FeatureTables


def open_store(config, folder):
    """The store that a service looks features up in.

    Args:
        config: `FeaturesConfig`.
        folder: path that the pipeline publishes tables and the SQLite file to.

    Returns:
        `serving.features.store.FeatureStore`.

    Raises:
        FeatureTableError: If tables are asked for and cannot be read.
        FeatureStoreError: If the store does not answer, or holds no publication.
    """
    folder = pathlib.Path(folder)
    if config.store == "tables":
        users = folder / USERS_TABLE
        version = users.stat().st_mtime_ns // 1_000_000 if users.exists() else 0
        return FeatureTables.load(folder, config, version)
    if config.store == "sqlite":
        return SqliteStore(folder / SQLITE_FILE, config.poll_seconds)
    from serving.features.redis_store import RedisStore

    return RedisStore(config)
