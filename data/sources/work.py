"""Portions of the logs that are read independently of each other: a file, or some row groups of a large Parquet file."""

import dataclasses

from data import storage
from data.sources import files

# Stored bytes. Large enough that opening a file again does not show, small enough that one file occupies all cores.
_UNIT_BYTES = 16 << 20
# Measured on the simulator's logs, rounded up: Parquet packs repeated ids, JSONL repeats its names in every record.
_DECODED_BY_STORED = {files.JSONL: 0.5, files.CSV: 1.0, files.PARQUET: 3.5, files.TFRECORD: 0.5}
_PLAIN_BY_STORED = {"": 1.0, ".gz": 6.0, ".zst": 6.0}


@dataclasses.dataclass(frozen=True)
class WorkUnit:
    """A portion of one file of a log.

    Attributes:
        log: "impressions", "engagements", "users" or "items".
        path: the file.
        file_number: place of the file among those of its log, from 0.
        row_groups: None for the whole file, else first row group of a Parquet file and the one behind the last.
        first_row: number of the first row in its file, from 1.
    """

    log: str
    path: str
    file_number: int = 0
    row_groups: tuple[int, int] | None = None
    first_row: int = 1


def units_of(log, paths, unit_bytes=_UNIT_BYTES):
    """The files of a log in portions.

    Args:
        log: its name.
        paths: its files.
        unit_bytes: stored bytes up to which row groups of a Parquet file stay together; smaller files stay whole.

    Returns:
        List of `WorkUnit` in the order of the log.

    Raises:
        LogFormatError: If a large Parquet file cannot be opened.
    """
    units = []
    for number, path in enumerate(paths):
        is_parquet = files.file_format(path) == files.PARQUET
        if is_parquet and storage.stored_file(path).num_bytes > unit_bytes:
            units += _row_group_units(log, path, number, unit_bytes)
        else:
            units.append(WorkUnit(log, path, number))
    return units


def _row_group_units(log, path, number, unit_bytes):
    with files.parquet_file(path) as file:
        groups = [file.metadata.row_group(index) for index in range(file.metadata.num_row_groups)]
    units, first, first_row, num_rows, num_bytes = [], 0, 1, 0, 0
    for index, group in enumerate(groups):
        num_rows += group.num_rows
        num_bytes += sum(group.column(column).total_compressed_size for column in range(group.num_columns))
        if num_bytes >= unit_bytes or index == len(groups) - 1:
            units.append(WorkUnit(log, path, number, (first, index + 1), first_row))
            first, first_row, num_rows, num_bytes = index + 1, first_row + num_rows, 0, 0
    return units or [WorkUnit(log, path, number)]


def decoded_bytes(path):
    """Estimate of what a log file takes as Arrow columns.

    Args:
        path: the file.

    Returns:
        Bytes.

    Raises:
        LogFormatError: If there is no such file or its format is unknown.
    """
    factor = _DECODED_BY_STORED[files.file_format(path)] * _PLAIN_BY_STORED[files.compression_of(path)]
    return int(storage.stored_file(path).num_bytes * factor)
