"""Blocks of a log file, decoded to raw columns: Arrow's readers for whole blocks, line by line only where they refuse.

Raw columns have whatever type the file gave them (always strings in CSV, and in blocks that were read line by line);
`data.sources.records` brings them to the types of the schema.
"""

import csv
import dataclasses
import json

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.json

from data.errors import LogFormatError
from data.sources import files

_ROWS_PER_BATCH = 1 << 16
_SAMPLE_LINES = 50


@dataclasses.dataclass(frozen=True)
class RawBlock:
    """Rows of one block before their types are checked.

    Attributes:
        columns: `pyarrow.Table` of raw columns; a column that the block lacks is absent.
        lines: (rows,) int64, line of each row in its file, counted from 1 (for Parquet: its row).
        record: function from a row's index to its text.
        rejected: triples (line, reason, record) of lines that are no records at all.
    """

    columns: pa.Table
    lines: np.ndarray
    record: object
    rejected: list


def column_names(path):
    """Names of the columns of a CSV or Parquet file, or of the first records of a JSONL file.

    Args:
        path: the file.

    Returns:
        List of names; empty for an empty file.

    Raises:
        LogFormatError: If the file cannot be read or repeats a column name.
    """
    format_ = files.file_format(path)
    if format_ == files.PARQUET:
        return list(files.parquet_file(path).schema_arrow.names)
    _, lines = next(files.line_blocks(path, 1 << 16), (1, []))
    if format_ == files.CSV:
        return _csv_header(path, lines[0]) if lines else []
    names = {}
    for line in lines[:1000]:
        record, _ = _json_record(line)
        names.update(dict.fromkeys(record or {}))
    return list(names)


def has_column(path, name):
    """Whether a file has a column; a JSONL file is searched to its end for the quoted name.

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
    if files.file_format(path) != files.JSONL:
        return False
    quoted = json.dumps(name).encode()
    return any(quoted in line for _, lines in files.line_blocks(path) for line in lines)


def decode_file(path, type_by_name):
    """Raw blocks of a file.

    Args:
        path: the file; its format follows from its name.
        type_by_name: wanted columns and the Arrow types that they shall get in the end; other columns are skipped.

    Yields:
        `RawBlock`.

    Raises:
        LogFormatError: If the file cannot be read to its end.
    """
    format_ = files.file_format(path)
    if format_ == files.PARQUET:
        yield from _decode_parquet(path, type_by_name)
        return
    header = None
    for first_line, lines in files.line_blocks(path):
        numbered = [(number, line) for number, line in enumerate(lines, first_line) if line.strip()]
        if format_ == files.CSV and header is None and numbered:
            header = _csv_header(path, numbered[0][1])
            numbered = numbered[1:]
        if numbered:
            yield _decode_csv(numbered, header, type_by_name) if header else _decode_jsonl(numbered, type_by_name)


def _decode_parquet(path, type_by_name):
    file = files.parquet_file(path)
    names = [name for name in file.schema_arrow.names if name in type_by_name]
    first_row = 1
    try:
        for batch in file.iter_batches(batch_size=_ROWS_PER_BATCH, columns=names):
            table = pa.Table.from_batches([batch])
            lines = np.arange(first_row, first_row + table.num_rows)
            first_row += table.num_rows
            yield RawBlock(table, lines, _ParquetRecord(table), [])
    except (pa.ArrowException, OSError) as error:
        raise LogFormatError(files.unreadable(path, error)) from error


@dataclasses.dataclass(frozen=True)
class _ParquetRecord:
    table: pa.Table

    def __call__(self, row):
        return json.dumps(self.table.slice(row, 1).to_pylist()[0], default=str)


@dataclasses.dataclass(frozen=True)
class _LineRecord:
    lines: list

    def __call__(self, row):
        return _text(self.lines[row])


def _text(line):
    return line.decode("utf-8", errors="replace").strip()


def _csv_header(path, line):
    try:
        names = next(csv.reader([line.decode("utf-8-sig", errors="replace").strip("\r")]), [])
    except csv.Error as error:
        raise LogFormatError(f"{path}: line 1 must be a CSV header in UTF-8. Received: {error}") from error
    if repeated := sorted({name for name in names if names.count(name) > 1}):
        raise LogFormatError(f"{path}: line 1 repeats the column {repeated[0]!r}; rename one of them")
    return names


def _decode_jsonl(numbered, type_by_name):
    numbers, lines = zip(*numbered, strict=True)
    data = b"\n".join(lines)
    try:
        data.decode("utf-8")
        table = pa.json.read_json(
            pa.BufferReader(data),
            read_options=pa.json.ReadOptions(use_threads=False, block_size=len(data) + 1),
            parse_options=pa.json.ParseOptions(
                explicit_schema=_json_schema(lines, type_by_name), unexpected_field_behavior="ignore"
            ),
        )
    except (pa.ArrowException, UnicodeDecodeError):
        return _decode_by_line(numbered, type_by_name, _json_record)
    # Arrow takes two objects on one line for two rows: then rows no longer tell their line.
    if table.num_rows != len(lines):
        return _decode_by_line(numbered, type_by_name, _json_record)
    return RawBlock(table, np.array(numbers, np.int64), _LineRecord(lines), [])


def _json_schema(lines, type_by_name):
    """Arrow types to expect in a JSONL block, judged by its first records: a string column may hold integers."""
    sample = [_json_record(line)[0] or {} for line in lines[:_SAMPLE_LINES]]
    fields = []
    for name, type_ in type_by_name.items():
        value = next((record[name] for record in sample if record.get(name) is not None), None)
        if isinstance(value, bool):
            raw = pa.bool_()
        elif pa.types.is_floating(type_) or isinstance(value, float):
            raw = pa.float64()
        elif isinstance(value, int) or (value is None and pa.types.is_integer(type_)):
            raw = pa.int64()
        else:
            raw = pa.string()
        fields.append(pa.field(name, raw))
    return pa.schema(fields)


def _json_record(line):
    try:
        record = json.loads(line)
        json.dumps(record, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return None, "record must be valid Unicode. Received: half of a surrogate pair"
    except (ValueError, RecursionError) as error:
        return None, f"record must be valid JSON: {' '.join(str(error).split())}"
    if not isinstance(record, dict):
        return None, f"record must be a JSON object. Received: {type(record).__name__}"
    return record, None


def _decode_csv(numbered, header, type_by_name):
    numbers, lines = zip(*numbered, strict=True)
    data = b"\n".join(lines)
    names = [name for name in header if name in type_by_name]
    try:
        table = pa.csv.read_csv(
            pa.BufferReader(data),
            read_options=pa.csv.ReadOptions(use_threads=False, block_size=len(data) + 1, column_names=header),
            convert_options=pa.csv.ConvertOptions(
                include_columns=names,
                column_types=dict.fromkeys(names, pa.string()),
                null_values=[""],
                strings_can_be_null=True,
            ),
        )
    except pa.ArrowException:
        table = None
    if table is None or table.num_rows != len(lines):
        return _decode_by_line(numbered, {name: type_by_name[name] for name in names}, _CsvRecord(header))
    return RawBlock(table, np.array(numbers, np.int64), _LineRecord(lines), [])


@dataclasses.dataclass(frozen=True)
class _CsvRecord:
    header: list

    def __call__(self, line):
        try:
            values = next(csv.reader([line.decode("utf-8").strip("\r")], strict=True))
        except (csv.Error, UnicodeDecodeError) as error:
            return None, f"record must be a valid CSV line: {' '.join(str(error).split())}"
        if len(values) != len(self.header):
            return None, f"record must have {len(self.header)} columns. Received: {len(values)}"
        return {name: value or None for name, value in zip(self.header, values, strict=True)}, None


def _decode_by_line(numbered, type_by_name, parse):
    """A block that Arrow refused: the good lines as strings, the guilty ones rejected."""
    good, rejected = [], []
    values_by_name = {name: [] for name in type_by_name}
    for number, line in numbered:
        record, reason = parse(line)
        if record is not None:
            reason = next(filter(None, (_scalar_reason(record, name, type_by_name[name]) for name in type_by_name)), None)
        if reason:
            rejected.append((number, reason, _text(line)))
            continue
        good.append((number, line))
        for name, values in values_by_name.items():
            values.append(_as_text(record.get(name)))
    table = pa.table({name: pa.array(values, pa.string()) for name, values in values_by_name.items()})
    lines = np.array([number for number, _ in good], np.int64)
    return RawBlock(table, lines, _LineRecord([line for _, line in good]), rejected)


def _scalar_reason(record, name, type_):
    value = record.get(name)
    is_text = pa.types.is_string(type_) or pa.types.is_timestamp(type_)
    if isinstance(value, (dict, list)) or (isinstance(value, bool) and is_text):
        return f"{name} must be {'a string' if is_text else 'a number'}. Received: {json.dumps(value)[:80]}"
    return None


def _as_text(value):
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, bool):
        return str(int(value))
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**63:
        return str(int(value))
    return str(value)
