"""The embedded store: one SQLite file a publication, put in place by a rename, read by many threads."""

import os
import pathlib
import queue
import sqlite3
import urllib.parse

from serving.errors import FeatureStoreError
from serving.features.published import PolledStore, PublishedFeatures, encoded_publication

SQLITE_FILE = "features.sqlite"
_PIECE_BYTES = 1 << 26  # SQLite holds at most 1 GB in a value
_CONNECTIONS = 4
_SCHEMA = """
CREATE TABLE part (name TEXT, piece INTEGER, content BLOB, PRIMARY KEY (name, piece));
CREATE TABLE user (user_id TEXT PRIMARY KEY, record BLOB) WITHOUT ROWID;
"""


def publish_to_sqlite(publication, path):
    """Writes a publication to a file, which a reader sees whole or not at all.

    Args:
        publication: `serving.features.publication.Publication`.
        path: of the file; one that is there is replaced, and who reads it reads on.

    Raises:
        FeatureTableError: If a table breaks its contract.
        OSError: If the folder cannot be written to.
        sqlite3.Error: If SQLite cannot write, as on a full disk.
    """
    parts, records = encoded_publication(publication)
    path = pathlib.Path(path)
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    unfinished.unlink(missing_ok=True)
    try:
        connection = sqlite3.connect(unfinished)
        try:
            # Nobody reads the file before it is whole, and it is synced as a whole.
            connection.executescript(f"PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; {_SCHEMA}")
            for name, content in parts.items():
                pieces = [content[start : start + _PIECE_BYTES] for start in range(0, max(len(content), 1), _PIECE_BYTES)]
                rows = [(name, number, piece) for number, piece in enumerate(pieces)]
                connection.executemany("INSERT INTO part VALUES (?, ?, ?)", rows)
            for user_ids, contents in records:
                connection.executemany("INSERT INTO user VALUES (?, ?)", zip(user_ids, contents, strict=True))
            connection.commit()
        finally:
            connection.close()
        with open(unfinished, "rb+") as file:
            os.fsync(file.fileno())
        os.replace(unfinished, path)
    finally:
        unfinished.unlink(missing_ok=True)


class SqliteStore(PolledStore):
    """Features from a file that `publish_to_sqlite` wrote; the next one takes over when it is renamed into place."""

    def __init__(self, path, poll_seconds=1.0):
        """A store over one file.

        Args:
            path: of the file.
            poll_seconds: how often to look whether it was replaced.

        Raises:
            FeatureStoreError: If there is no such file, or it is not a publication.
        """
        self._path = pathlib.Path(path)
        super().__init__(poll_seconds)

    def _read_mark(self):
        try:
            stat = self._path.stat()
        except OSError as error:
            raise FeatureStoreError(
                f"{self._path} must be a file of features. Received: {error.strerror}. "
                "Run the pipeline first: it publishes them"
            ) from error
        return stat.st_ino, stat.st_mtime_ns, stat.st_size

    def _read(self):
        connections = _Connections(self._path)
        try:
            return PublishedFeatures(connections.parts(), connections.record, connections.close)
        except (sqlite3.Error, FeatureStoreError) as error:
            connections.close()
            raise FeatureStoreError(f"{self._path} must be a file of features. Received: {error}") from error


class _Connections:
    """Connections to one file, opened together: by and by, a later one could meet the file that replaced it."""

    def __init__(self, path):
        uri = f"file:{urllib.parse.quote(str(path.absolute()))}?mode=ro&immutable=1"
        self._path = path
        self._free = queue.SimpleQueue()
        try:
            with open(path, "rb") as file:
                for _ in range(_CONNECTIONS):
                    connection = sqlite3.connect(uri, uri=True, check_same_thread=False)
                    connection.execute("SELECT 1 FROM part LIMIT 1")
                    self._free.put(connection)
                same = os.path.samestat(os.fstat(file.fileno()), path.stat())
        except (OSError, sqlite3.Error) as error:
            self.close()
            raise FeatureStoreError(f"{path} must be a file of features. Received: {error}") from error
        if not same:
            self.close()
            raise FeatureStoreError(f"{path} must stay while it is opened. Received: another one; it is opened again")

    def parts(self):
        contents = {}
        for name, content in self._select("SELECT name, content FROM part ORDER BY name, piece"):
            contents.setdefault(name, []).append(content)
        return {name: b"".join(pieces) for name, pieces in contents.items()}

    def record(self, user_id):
        rows = self._select("SELECT record FROM user WHERE user_id = ?", user_id)
        return rows[0][0] if rows else None

    def close(self):
        connection = None
        while not self._free.empty():
            connection = self._free.get()
            connection.close()
        if connection is not None:
            # It says to who asks later that it is closed, instead of letting them wait for ever.
            self._free.put(connection)

    def _select(self, statement, *values):
        connection = self._free.get()
        try:
            return connection.execute(statement, values).fetchall()
        except sqlite3.Error as error:
            raise FeatureStoreError(f"{self._path} must answer. Received: {error}") from error
        finally:
            self._free.put(connection)
