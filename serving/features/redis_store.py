"""The store of a fleet: publications in Redis, of which one key says the current one.

<prefix>:current            number of the publication
<prefix>:<number>:parts     hash: bytes by part and piece
<prefix>:<number>:users     hash: record by user id
"""

import contextlib
import pathlib

import redis

from serving.errors import FeatureStoreError
from serving.features.published import PolledStore, PublishedFeatures, encoded_publication

_PIECE_BYTES = 1 << 26  # Redis holds at most 512 MB in a value
_RECORDS_AT_A_TIME = 2_000
# Of what is written or read whole, in the background.
_BULK_TIMEOUT_SECONDS = 30.0


def redis_client(config, timeout_seconds=None):
    """A client that gives up in time.

    Args:
        config: `FeaturesConfig`.
        timeout_seconds: longest wait; None for that of a request.

    Returns:
        `redis.Redis`.

    Raises:
        FeatureStoreError: If the file of the password cannot be read.
    """
    seconds = timeout_seconds or config.redis_timeout_ms / 1_000
    options = {"socket_timeout": seconds, "socket_connect_timeout": seconds}
    if config.redis_password_file is not None:
        options["password"] = _password(config.redis_password_file)
    return redis.Redis.from_url(config.redis_url, **options)


def _password(path):
    try:
        return pathlib.Path(path).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise FeatureStoreError(
            f"serving.features.redis_password_file must name a readable text file. Received: {path}: {error}"
        ) from error


def publish_to_redis(publication, config):
    """Writes a publication and then makes it the current one, which a reader sees whole or not at all.

    Args:
        publication: `serving.features.publication.Publication`.
        config: `FeaturesConfig`.

    Raises:
        FeatureTableError: If a table breaks its contract.
        FeatureStoreError: If Redis does not answer, or has no room, or its password cannot be read.
    """
    parts, records = encoded_publication(publication)
    with _typed_errors(), redis_client(config, _BULK_TIMEOUT_SECONDS) as client:
        prefix = config.redis_prefix
        parts_key, users_key = _keys(prefix, publication.version)
        client.delete(parts_key, users_key)
        # Users before parts: a reader takes a user without record for unknown where the parts are there.
        for user_ids, contents in records:
            pipeline = client.pipeline(transaction=False)
            for start in range(0, len(user_ids), _RECORDS_AT_A_TIME):
                part = slice(start, start + _RECORDS_AT_A_TIME)
                pipeline.hset(users_key, mapping=dict(zip(user_ids[part], contents[part], strict=True)))
            pipeline.execute()
        for name, content in parts.items():
            for number, start in enumerate(range(0, max(len(content), 1), _PIECE_BYTES)):
                client.hset(parts_key, f"{name}:{number}", content[start : start + _PIECE_BYTES])
        before = client.getset(f"{prefix}:current", publication.version)
        if before is not None and int(before) != publication.version:
            with client.pipeline(transaction=True) as pipeline:
                # Together: a reader takes a user without record for unknown only where the parts are still there.
                for key in _keys(prefix, int(before)):
                    pipeline.expire(key, config.keep_seconds)
                pipeline.execute()


class RedisStore(PolledStore):
    """Features that `publish_to_redis` wrote; a look-up is one round trip, of an unknown user two."""

    def __init__(self, config):
        """A store over one Redis server.

        Args:
            config: `FeaturesConfig`.

        Raises:
            FeatureStoreError: If Redis does not answer, or holds no publication, or its password cannot be read.
        """
        self._prefix = config.redis_prefix
        self._client, self._bulk_client = redis_client(config), redis_client(config, _BULK_TIMEOUT_SECONDS)
        super().__init__(config.poll_seconds)

    def _read_mark(self):
        with _typed_errors():
            version = self._client.get(f"{self._prefix}:current")
        if version is None:
            raise FeatureStoreError(
                f"Redis must hold {self._prefix}:current. Received: nothing. Publish the features there first"
            )
        return int(version)

    def _read(self):
        version = self._read_mark()
        parts_key, users_key = _keys(self._prefix, version)
        with _typed_errors():
            pieces = self._bulk_client.hgetall(parts_key)
        contents = {}
        for key in sorted(pieces, key=lambda key: int(key.rpartition(b":")[2])):
            contents.setdefault(key.rpartition(b":")[0].decode(), []).append(pieces[key])
        parts = {name: b"".join(each) for name, each in contents.items()}
        return PublishedFeatures(parts, lambda user_id: self._record(parts_key, users_key, user_id))

    def _record(self, parts_key, users_key, user_id):
        with _typed_errors():
            if (record := self._client.hget(users_key, user_id)) is not None:
                return record
            # Asked together: a user without record is unknown only while the publication is still there.
            pipeline = self._client.pipeline(transaction=True)
            pipeline.hget(users_key, user_id)
            pipeline.exists(parts_key)
            record, is_held = pipeline.execute()
        if record is None and not is_held:
            raise FeatureStoreError(
                f"Redis must hold the publication that a request began with. Received: {parts_key} is gone. "
                "Ask again, or raise serving.features.keep_seconds"
            )
        return record

    def close(self):
        """Stops looking and closes the connections."""
        super().close()
        self._client.close()
        self._bulk_client.close()


def _keys(prefix, version):
    return f"{prefix}:{version}:parts", f"{prefix}:{version}:users"


@contextlib.contextmanager
def _typed_errors():
    try:
        yield
    except redis.RedisError as error:
        raise FeatureStoreError(f"Redis must answer. Received: {type(error).__name__}: {error}") from error
