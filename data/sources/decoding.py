"""Portions of a log, decoded to raw columns, block by block, whatever their format.

Raw columns have whatever type the file gave them (always strings in CSV, and in blocks that were read record by record);
`data.sources.records` brings them to the types of the schema.
"""

import dataclasses
import json
from collections.abc import Iterator

import numpy as np
import pyarrow as pa

from data.errors import LogFormatError
from data.sources import csv_lines, files, json_lines, tfrecords
from data.sources.raw import RawBlock

# Large enough that the cost of a call does not show, small enough that a block of a few hundred bytes a row fits the cache
# of several processes.
_ROWS_PER_BATCH = 1 << 17
_HEAD_RECORDS = 1_000
_READER_BY_FORMAT = {files.JSONL: json_lines, files.CSV: csv_lines, files.TFRECORD: tfrecords}


def column_names(path):
    """Names of the columns of a CSV or Parquet file, or of the first records of a JSONL or TFRecord file.

    Args:
        path: the file.

    Returns:
        List of names; empty for an empty file.

    Raises:
        LogFormatError: If the file cannot be read or repeats a column name.
    """
    format_ = files.file_format(path)
    if format_ == files.PARQUET:
        with files.parquet_file(path) as file:
            return list(file.schema_arrow.names)
    return _READER_BY_FORMAT[format_].column_names(path, _HEAD_RECORDS)


def has_column(path, name):
    """Whether a file has a column; a file whose records name their own columns is searched to its end.

    Args:
        path: the file.
        name: the column.

    Returns:
        bool.

    Raises:
        LogFormatError: If the file cannot be read.
    """
    if name in column_names(path):
        return True
    format_ = files.file_format(path)
    return format_ in (files.JSONL, files.TFRECORD) and _READER_BY_FORMAT[format_].has_column(path, name)


def decode_unit(unit, type_by_name) -> Iterator[RawBlock]:
    """Raw blocks of a portion of a log.

    Args:
        unit: `data.sources.work.WorkUnit`; the format follows from the file's name.
        type_by_name: wanted columns and the Arrow types that they shall get in the end; other columns are skipped.

    Yields:
        `RawBlock`.

    Raises:
        LogFormatError: If the file cannot be read to its end.
    """
    format_ = files.file_format(unit.path)
    if format_ == files.PARQUET:
        yield from _decode_parquet(unit, type_by_name)
    else:
        yield from _READER_BY_FORMAT[format_].decode(unit.path, type_by_name)


def _decode_parquet(unit, type_by_name):
    row_groups = None if unit.row_groups is None else list(range(*unit.row_groups))
    first_row = unit.first_row
    with files.parquet_file(unit.path) as file:
        names = [name for name in file.schema_arrow.names if name in type_by_name]
        try:
            for batch in file.iter_batches(batch_size=_ROWS_PER_BATCH, row_groups=row_groups, columns=names):
                block = _parquet_block(pa.Table.from_batches([batch]), first_row)
                first_row += batch.num_rows
                yield block
        except files.DAMAGES as error:
            raise LogFormatError(files.unreadable(unit.path, error)) from error


def _parquet_block(table, first_row):
    """A batch as a block; rows whose strings are no UTF-8, which Parquet does not check, are rejected.

    Bytes count as strings: older Spark and Hive wrote strings so.
    """
    lines = np.arange(first_row, first_row + table.num_rows)
    is_bad, bad_name = np.zeros(table.num_rows, bool), {}
    for name, column in zip(table.column_names, table.columns, strict=True):
        for row in _rows_without_text(column):
            bad_name.setdefault(row, name)
    if not bad_name:
        table = _with_strings(table)
        return RawBlock(table, lines, _ParquetRecord(table), [])
    record = _ParquetRecord(table)
    rejected = [
        (int(lines[row]), f"bad_{name}", f"{name} must be UTF-8", record(row)) for row, name in sorted(bad_name.items())
    ]
    is_bad[list(bad_name)] = True
    table = _with_strings(table.filter(pa.array(~is_bad)))
    return RawBlock(table, lines[~is_bad], _ParquetRecord(table), rejected)


def _rows_without_text(column):
    if not _is_string(column.type) and not _is_bytes(column.type):
        return []
    try:
        _strings(column).validate(full=True)
    except pa.ArrowInvalid:
        return [row for row, value in enumerate(column.cast(pa.binary()).to_pylist()) if not _is_text(value)]
    return []


def _with_strings(table):
    for index, column in enumerate(table.columns):
        if _is_bytes(column.type):
            table = table.set_column(index, table.column_names[index], _strings(column))
    return table


def _strings(column):
    if not _is_bytes(column.type):
        return column
    return column.cast(pa.large_string() if pa.types.is_large_binary(column.type) else pa.string())


def _is_string(type_):
    return pa.types.is_string(type_) or pa.types.is_large_string(type_)


def _is_bytes(type_):
    return pa.types.is_binary(type_) or pa.types.is_large_binary(type_)


def _is_text(value):
    try:
        return value is None or value.decode() is not None
    except UnicodeDecodeError:
        return False


@dataclasses.dataclass(frozen=True)
class _ParquetRecord:
    table: pa.Table

    def __call__(self, row):
        values = {}
        for name, column in zip(self.table.column_names, self.table.columns, strict=True):
            value = (column.slice(row, 1).cast(pa.binary()) if _is_string(column.type) else column.slice(row, 1)).to_pylist()[0]
            values[name] = value.decode("utf-8", errors="replace") if isinstance(value, bytes) else value
        return json.dumps(values, default=str, ensure_ascii=False)
