"""The shuffle's data plane: tables cut into parts by key, written to files, and read back part by part.

Beam groups only `Part`s, a few bytes each, so that no runner holds rows in memory or sends them between processes. A
file holds one record batch a part and is complete before its parts are emitted; a bundle that is tried again writes another
file, and the orphan is never read.
"""

import contextlib
import dataclasses
import uuid

import pyarrow as pa
from apache_beam.io.filesystems import FileSystems

from data import batches


@dataclasses.dataclass(frozen=True)
class Part:
    """Where one part of a table lies.

    Attributes:
        path: Arrow IPC file.
        index: of its record batch.
    """

    path: str
    index: int


class SpillWriter:
    """Collects tables of one schema and writes them in parts by the hash of a key.

    Args:
        folder: local, or on any Beam file system; exists.
        key: string column without nulls by which rows are parted; None for a single part, number 0.
        num_parts: at least 1.
        max_bytes: size from which on collected tables are written.
    """

    def __init__(self, folder, key, num_parts, max_bytes=64 << 20):
        self._folder = folder
        self._key = key
        self._num_parts = num_parts
        self._max_bytes = max_bytes
        self._tables = []
        self._num_bytes = 0

    def add(self, table):
        """Collects a table.

        Args:
            table: `pyarrow.Table`.

        Returns:
            List of (number of the part, `Part`) if collected tables were written, else empty.
        """
        if table.num_rows:
            self._tables.append(table)
            self._num_bytes += table.nbytes
        return self.flush() if self._num_bytes >= self._max_bytes else []

    def flush(self):
        """Writes what is collected.

        Returns:
            List of (number of the part, `Part`).
        """
        if not self._tables:
            return []
        table = pa.concat_tables(self._tables).combine_chunks()
        self._tables, self._num_bytes = [], 0
        if self._key is None:
            numbers, tables = [0], [table]
        else:
            numbers, tables = zip(*batches.partition(table, self._key, self._num_parts), strict=True)
        path = write_batches(self._folder, tables)
        return [(number, Part(path, index)) for index, number in enumerate(numbers)]


def write_batches(folder, tables):
    """Path of a new file with one record batch for each table.

    Args:
        folder: existing, local or on any Beam file system.
        tables: non-empty list of non-empty `pyarrow.Table`s of one schema, each column in one chunk.

    Returns:
        Path.
    """
    path = FileSystems.join(folder, f"{uuid.uuid4().hex}.arrow")
    with _opened(path, "wb") as file, pa.ipc.new_file(file, tables[0].schema) as writer:
        for table in tables:
            (batch,) = table.combine_chunks().to_batches()
            writer.write_batch(batch)
    return path


def read_parts(parts, schema=None):
    """The table that parts hold together.

    Args:
        parts: iterable of `Part`.
        schema: of the table if there is no part; None if there always is one.

    Returns:
        `pyarrow.Table`, each column in one chunk.

    Raises:
        ValueError: If there is neither a part nor a schema.
    """
    indices_by_path = {}
    for part in parts:
        indices_by_path.setdefault(part.path, []).append(part.index)
    read = []
    for path in sorted(indices_by_path):
        with _opened(path, "rb") as file:
            reader = pa.ipc.open_file(file)
            read += [reader.get_batch(index) for index in sorted(indices_by_path[path])]
    if not read:
        if schema is None:
            raise ValueError("parts must hold at least one, or schema be given")
        return pa.table([pa.array([], field.type) for field in schema], schema=schema)
    return pa.Table.from_batches(read).combine_chunks()


@contextlib.contextmanager
def _opened(path, mode):
    if "://" in path:
        stream = FileSystems.create(path) if mode == "wb" else FileSystems.open(path)
        with contextlib.closing(stream), contextlib.closing(pa.PythonFile(stream, mode)) as file:
            yield file
        return
    with contextlib.closing(pa.OSFile(path, mode)) as file:
        yield file
