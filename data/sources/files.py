"""Log files: which ones a glob names, in which format, and their content in blocks of whole lines."""

import glob
import gzip
import os
import zlib
from collections.abc import Iterator

import pyarrow as pa
import pyarrow.parquet as pq

from data.errors import LogFormatError

JSONL = "jsonl"
CSV = "csv"
PARQUET = "parquet"

_FORMAT_BY_SUFFIX = {
    ".jsonl": JSONL,
    ".jsonl.gz": JSONL,
    ".json": JSONL,
    ".json.gz": JSONL,
    ".csv": CSV,
    ".csv.gz": CSV,
    ".parquet": PARQUET,
}
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
    paths = sorted(path for path in glob.glob(pattern, recursive=True) if os.path.isfile(path))
    if not paths:
        raise LogFormatError(f"{key} must name at least one file; check the path or glob. Received: {pattern}")
    return paths


def file_format(path):
    """Format of a log file, from its name.

    Args:
        path: file name or path.

    Returns:
        `JSONL`, `CSV` or `PARQUET`.

    Raises:
        LogFormatError: If the suffix is unknown.
    """
    for suffix, format_ in _FORMAT_BY_SUFFIX.items():
        if path.lower().endswith(suffix):
            return format_
    raise LogFormatError(f"{path}: a log's name must end in one of {', '.join(_FORMAT_BY_SUFFIX)}")


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


def line_blocks(path, block_bytes=_BLOCK_BYTES) -> Iterator[tuple[int, list[bytes]]]:
    """Blocks of whole lines of a text file, plain or gz.

    Args:
        path: the file; a name that ends in .gz is decompressed.
        block_bytes: least size of a block but the last, decompressed.

    Yields:
        Pairs (number of the first line, counted from 1; list of lines as bytes, without their newline).

    Raises:
        LogFormatError: If the file cannot be read to its end.
    """
    opener = gzip.open if path.lower().endswith(".gz") else open
    first_line, rest = 1, b""
    try:
        with opener(path, "rb") as file:
            while chunk := file.read(block_bytes):
                whole, newline, tail = chunk.rpartition(b"\n")
                if not newline:
                    rest += tail
                    continue
                lines = (rest + whole).split(b"\n")
                yield first_line, lines
                first_line, rest = first_line + len(lines), tail
    except (EOFError, OSError, zlib.error) as error:
        raise LogFormatError(unreadable(path, error)) from error
    if rest:
        yield first_line, [rest]


def parquet_file(path):
    """An open Parquet file.

    Args:
        path: the file.

    Returns:
        `pyarrow.parquet.ParquetFile`.

    Raises:
        LogFormatError: If it is not a whole Parquet file.
    """
    try:
        return pq.ParquetFile(path)
    except (pa.ArrowException, OSError) as error:
        raise LogFormatError(unreadable(path, error)) from error
