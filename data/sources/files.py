"""Log files: which ones a glob names, in which format, and their content in blocks of whole lines."""

import zlib
from collections.abc import Iterator

import pyarrow as pa
import pyarrow.parquet as pq
import zstandard

from data import storage
from data.errors import LogFormatError

JSONL = "jsonl"
CSV = "csv"
PARQUET = "parquet"
TFRECORD = "tfrecord"

_FORMAT_BY_SUFFIX = {
    ".jsonl": JSONL,
    ".json": JSONL,
    ".csv": CSV,
    ".parquet": PARQUET,
    ".tfrecord": TFRECORD,
    ".tfrecords": TFRECORD,
}
COMPRESSIONS = (".gz", ".zst")
DAMAGES = (EOFError, OSError, zlib.error, zstandard.ZstdError, pa.ArrowException)
_BLOCK_BYTES = 8 << 20


def match_files(key, pattern):
    """Paths of the files that a glob names, sorted.

    Args:
        key: dotted configuration key, for the error message.
        pattern: path or glob.

    Returns:
        Non-empty list of paths.

    Raises:
        LogFormatError: If no file matches.
    """
    paths = [file.path for file in storage.match(pattern)]
    if not paths:
        raise LogFormatError(f"{key} must name at least one file; check the path or glob. Received: {pattern}")
    return paths


def file_format(path):
    """Format of a log file, from its name.

    Args:
        path: file name or path.

    Returns:
        `JSONL`, `CSV`, `PARQUET` or `TFRECORD`.

    Raises:
        LogFormatError: If the suffix is unknown.
    """
    name = path.lower()
    plain = name.removesuffix(compression_of(name))
    for suffix, format_ in _FORMAT_BY_SUFFIX.items():
        if plain.endswith(suffix) and (format_ != PARQUET or plain == name):
            return format_
    raise LogFormatError(
        f"{path}: a log's name must end in one of {', '.join(_FORMAT_BY_SUFFIX)}, all but .parquet also with .gz or .zst behind"
    )


def compression_of(path):
    """The suffix that says how a file is compressed.

    Args:
        path: file name or path.

    Returns:
        ".gz", ".zst" or "".
    """
    return next((suffix for suffix in COMPRESSIONS if path.lower().endswith(suffix)), "")


def unreadable(path, error):
    """The message for a container that cannot be read to its end.

    Args:
        path: the file.
        error: what the reading library raised.

    Returns:
        One line that names the file and what to do.
    """
    cause = " ".join(str(error).split())[:200]
    return f"{path}: cannot be read, it is damaged or cut short; write or copy it again ({cause})"


def line_blocks(path, block_bytes=_BLOCK_BYTES) -> Iterator[tuple[int, bytes]]:
    """Blocks of whole lines of a text file, plain or compressed, without a byte order mark.

    Args:
        path: the file; a name that ends in .gz or .zst is decompressed.
        block_bytes: about the size of a block, decompressed; a longer line is a block of its own.

    Yields:
        Pairs (number of the first line, counted from 1; the lines' bytes without the last newline).

    Raises:
        LogFormatError: If the file cannot be read to its end.
    """
    first_line, rest = 1, []
    try:
        with storage.open_content(path) as content:
            chunk = content.read(block_bytes).removeprefix(b"\xef\xbb\xbf")
            while chunk:
                whole, newline, tail = chunk.rpartition(b"\n")
                if newline:
                    block = b"".join([*rest, whole])
                    yield first_line, block
                    first_line, rest = first_line + block.count(b"\n") + 1, []
                rest.append(tail)
                chunk = content.read(block_bytes)
    except DAMAGES as error:
        raise LogFormatError(unreadable(path, error)) from error
    if block := b"".join(rest):
        yield first_line, block


def parquet_file(path):
    """An open Parquet file; close it, or use it as a context.

    Args:
        path: the file.

    Returns:
        `pyarrow.parquet.ParquetFile`.

    Raises:
        LogFormatError: If it is not a whole Parquet file.
    """
    try:
        # Arrow reads local files itself, without Python's lock.
        return pq.ParquetFile(storage.open_stored(path) if storage.is_remote(path) else path)
    except (pa.ArrowException, OSError) as error:
        raise LogFormatError(unreadable(path, error)) from error
