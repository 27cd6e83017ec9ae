"""Closed segments of the exposure log, read back."""

import glob
import pathlib

import pyarrow as pa
import pyarrow.json
import pyarrow.parquet as pq

from serving.errors import ExposureLogError
from serving.exposure.record import ROW_SCHEMA

SUFFIXES = (".jsonl", ".parquet")


def closed_segments(pattern):
    """Segments that are in place under their own names.

    Args:
        pattern: of paths, with the wildcards of a shell; a journal that is still written is passed over.

    Returns:
        List of paths, oldest first.

    Raises:
        ExposureLogError: If there is none.
    """
    names = [name for name in glob.glob(pattern) if name.endswith(SUFFIXES)]
    paths = sorted((path for path in map(pathlib.Path, names) if not path.name.startswith(".")), key=lambda path: path.name)
    if not paths:
        raise ExposureLogError(
            f"closed segments of the exposure log ({' or '.join(SUFFIXES)}) must lie at {pattern}. Received: none. "
            "A segment is closed by serving.exposure.segment_seconds, or when the service stops"
        )
    return paths


def segment_rows(path, columns):
    """Rows of a closed segment.

    Args:
        path: of the segment.
        columns: names of `ROW_SCHEMA`.

    Returns:
        `pyarrow.Table` of these columns, null where the segment lacks one.

    Raises:
        ExposureLogError: If the file is no segment; names it.
    """
    schema = pa.schema([ROW_SCHEMA.field(name) for name in columns])
    try:
        if pathlib.Path(path).suffix == ".parquet":
            present = pq.read_schema(path).names
            table = pq.read_table(path, columns=[name for name in columns if name in present])
        else:
            table = pa.json.read_json(
                path,
                # A line must lie in one block, and may be longer than the block that is usual.
                read_options=pa.json.ReadOptions(block_size=max(pathlib.Path(path).stat().st_size, 1)),
                parse_options=pa.json.ParseOptions(explicit_schema=schema, unexpected_field_behavior="ignore"),
            )
        arrays = [
            table[name] if name in table.column_names else pa.nulls(len(table), ROW_SCHEMA.field(name).type) for name in columns
        ]
        return pa.table(arrays, names=columns).cast(schema)
    except pa.ArrowException as error:
        raise ExposureLogError(
            f"{path} must be a segment of the exposure log. Received: {' '.join(str(error).split())}"
        ) from error
