"""What ingestion leaves behind: TFRecord shards and Parquet tables, each written under another name and then renamed."""

import contextlib
import uuid
from collections.abc import Iterator
from typing import BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq
from apache_beam.io.filesystem import CompressionTypes
from apache_beam.io.filesystems import FileSystems
from isal import igzip

from data.encoding import tfrecords_of
from data.errors import OutputError

EXAMPLE_FILE_PREFIX = "data_tfrecord"
_UNFINISHED = ".unfinished-"
_ROWS_PER_CHUNK = 16_384


def write_shard(folder, number, num_shards, table):
    """Writes rows as one gz TFRecord shard of tf.Examples; a second attempt replaces the first.

    Args:
        folder: of the split.
        number: of the shard, from 0.
        num_shards: of the split.
        table: `pyarrow.Table` in `data.columns.labelled_schema`.
    """
    path = FileSystems.join(folder, f"{EXAMPLE_FILE_PREFIX}-{number:05d}-of-{num_shards:05d}.gz")
    with renamed_when_whole(path) as file, igzip.open(file, "wb", compresslevel=1) as shard:
        for start in range(0, table.num_rows, _ROWS_PER_CHUNK):
            shard.write(tfrecords_of(table.slice(start, _ROWS_PER_CHUNK)))


def write_table(path, schema, tables):
    """Writes a Parquet table, one row group for each piece.

    Args:
        path: of the file.
        schema: `pyarrow.Schema`.
        tables: iterable of `pyarrow.Table` with that schema.
    """
    with renamed_when_whole(path) as file, pq.ParquetWriter(pa.PythonFile(file, "w"), schema) as writer:
        for table in tables:
            writer.write_table(table)


@contextlib.contextmanager
def renamed_when_whole(path) -> Iterator[BinaryIO]:
    """A file for writing that appears under its name only when the block has ended without an error.

    Args:
        path: of the file, local or on any Beam file system.

    Yields:
        Binary file object.
    """
    folder, name = FileSystems.split(path)
    _make_folder(folder)
    unfinished = FileSystems.join(folder, f"{_UNFINISHED}{name}.{uuid.uuid4().hex}")
    try:
        with contextlib.closing(FileSystems.create(unfinished, compression_type=CompressionTypes.UNCOMPRESSED)) as file:
            yield file
    except BaseException:
        FileSystems.delete([unfinished])
        raise
    if FileSystems.exists(path):
        FileSystems.delete([path])
    FileSystems.rename([unfinished], [path])


def require_no_shards(folder):
    """Demands that a folder holds no examples yet: shards of another number of partitions would be read as well.

    Args:
        folder: of a split; need not exist.

    Raises:
        OutputError: If it does.
    """
    if found := _files(FileSystems.join(folder, f"{EXAMPLE_FILE_PREFIX}*")):
        raise OutputError(f"{folder} must be new or without examples. Received: {found[0]}")


def remove_unfinished(folder):
    """Removes what attempts left that were cut off; of a name that begins so some readers take notice.

    Args:
        folder: in which no file is being written any more.
    """
    if found := _files(FileSystems.join(folder, f"{_UNFINISHED}*")):
        FileSystems.delete(found)


def _files(pattern):
    return [metadata.path for metadata in FileSystems.match([pattern])[0].metadata_list]


def _make_folder(folder):
    try:
        FileSystems.mkdirs(folder)
    except OSError:
        # It is there already, or another worker has just made it.
        if not FileSystems.exists(folder):
            raise
