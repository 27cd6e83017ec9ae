"""Files by path or glob, on the local disk or on any file system that Beam knows (gs://, s3://, hdfs://, ...).

Beam loads only where a path has a scheme: local logs are matched and opened without it.
"""

import dataclasses
import glob
import gzip
import io
import os
from collections.abc import Iterator
from contextlib import contextmanager

import zstandard

from data.errors import LogFormatError


@dataclasses.dataclass(frozen=True)
class StoredFile:
    """A file as its file system lists it.

    Attributes:
        path: local path, or path with scheme.
        num_bytes: stored size.
        changed_at_ns: time of the last change in nanoseconds since 1970; 0 where the file system does not tell.
    """

    path: str
    num_bytes: int
    changed_at_ns: int


def is_remote(path):
    """Whether a path or glob names its file system, as gs://bucket/log.jsonl does.

    Args:
        path: path or glob.

    Returns:
        bool.
    """
    return "://" in path


def match(pattern):
    """Files that a glob names.

    Args:
        pattern: path or glob; `**` crosses folders.

    Returns:
        List of `StoredFile` sorted by path, empty if there is none.

    Raises:
        LogFormatError: If the file system is unknown or does not answer.
    """
    if is_remote(pattern):
        return _match_remote(pattern)
    paths = sorted(path for path in glob.glob(pattern, recursive=True) if os.path.isfile(path))
    return [_local_file(path) for path in paths]


def stored_file(path):
    """Size and time of change of one file.

    Args:
        path: the file; no glob.

    Returns:
        `StoredFile`.

    Raises:
        LogFormatError: If there is no such file.
    """
    if not is_remote(path):
        try:
            return _local_file(path)
        except OSError as error:
            raise LogFormatError(f"{path}: {error.strerror}") from error
    found = [file for file in _match_remote(path) if file.path == path]
    if not found:
        raise LogFormatError(f"{path}: No such file or directory")
    return found[0]


def open_stored(path):
    """The stored bytes of a file.

    Args:
        path: the file.

    Returns:
        Seekable binary file object.

    Raises:
        LogFormatError: If it cannot be opened.
    """
    if is_remote(path):
        return _open_remote(path)
    try:
        return open(path, "rb")
    except OSError as error:
        raise LogFormatError(f"{path}: {error.strerror}") from error


@contextmanager
def open_content(path) -> Iterator[io.BufferedIOBase]:
    """The content of a file, decompressed where its name ends in .gz or .zst.

    Args:
        path: the file.

    Yields:
        Binary file object; it raises `EOFError`, `OSError`, `zlib.error` or `zstandard.ZstdError` where the file is damaged.

    Raises:
        LogFormatError: If it cannot be opened.
    """
    with open_stored(path) as stored:
        if path.lower().endswith(".gz"):
            with gzip.GzipFile(fileobj=stored) as content:
                yield content
        elif path.lower().endswith(".zst"):
            yield io.BufferedReader(_ZstdContent(stored), _ZstdContent.CHUNK_BYTES)
        else:
            yield stored


class _ZstdContent(io.RawIOBase):
    """All frames of a .zst file; unlike zstandard's own reader it tells a file that ends within a frame."""

    CHUNK_BYTES = 1 << 20

    def __init__(self, stored):
        super().__init__()
        self._stored = stored
        self._frame = None
        self._rest = memoryview(b"")

    def readable(self):
        return True

    def readinto(self, buffer):
        part = self._rest or self._next_part()
        taken = part[: len(buffer)]
        buffer[: len(taken)] = taken
        self._rest = part[len(taken) :]
        return len(taken)

    def _next_part(self):
        while True:
            at_boundary = self._frame is None or self._frame.eof
            compressed = (self._frame.unused_data if self._frame else b"") or self._stored.read(self.CHUNK_BYTES)
            if not compressed:
                if at_boundary:
                    return memoryview(b"")
                raise EOFError("the file ends within a zstd frame")
            if at_boundary:
                self._frame = zstandard.ZstdDecompressor().decompressobj()
            if part := self._frame.decompress(compressed):
                return memoryview(part)


def _local_file(path):
    status = os.stat(path)
    return StoredFile(path, status.st_size, status.st_mtime_ns)


def _match_remote(pattern):
    from apache_beam.io.filesystem import BeamIOError
    from apache_beam.io.filesystems import FileSystems

    try:
        (result,) = FileSystems.match([pattern])
    except (BeamIOError, ValueError, OSError) as error:
        raise LogFormatError(f"{pattern}: the file system does not answer: {_line(error)}") from error
    # Object stores list empty keys that stand for folders.
    found = [file for file in result.metadata_list if not file.path.endswith("/")]
    return sorted(
        (StoredFile(file.path, file.size_in_bytes, int(file.last_updated_in_seconds * 1e9)) for file in found),
        key=lambda file: file.path,
    )


def _open_remote(path):
    from apache_beam.io.filesystem import BeamIOError, CompressionTypes
    from apache_beam.io.filesystems import FileSystems

    try:
        return FileSystems.open(path, compression_type=CompressionTypes.UNCOMPRESSED)
    except (BeamIOError, ValueError, OSError) as error:
        raise LogFormatError(f"{path}: cannot be opened: {_line(error)}") from error


def _line(error):
    return " ".join(str(error).split())[:300]
