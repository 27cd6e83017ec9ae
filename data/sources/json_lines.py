"""JSONL: Arrow's reader for whole blocks, line by line only where it refuses."""

import json
from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.json

from data.sources import files
from data.sources.raw import RawBlock, block_of_records, line_text

_SAMPLE_LINES = 50
_HEAD_BYTES = 1 << 20
_FIRST_ROUNDED = 2**53


def column_names(path, num_records):
    """Names in the first records of a file.

    Args:
        path: the file.
        num_records: at most so many records count.

    Returns:
        List of names, in order of appearance.

    Raises:
        LogFormatError: If the file cannot be read.
    """
    _, block = next(files.line_blocks(path, _HEAD_BYTES), (1, b""))
    names = {}
    for line in block.split(b"\n", num_records)[:num_records]:
        record, _ = _record(line)
        names.update(dict.fromkeys(record or {}))
    return list(names)


def has_column(path, name):
    """Whether some record of a file has a column; the file is searched to its end.

    Args:
        path: the file.
        name: the column.

    Returns:
        bool.

    Raises:
        LogFormatError: If the file cannot be read to its end.
    """
    # A cheap search first: the quoted name may also be a value, or the name of an inner object's.
    spellings = [json.dumps(name, ensure_ascii=is_ascii).encode() for is_ascii in (True, False)]
    for _, block in files.line_blocks(path):
        if any(spelling in block for spelling in spellings) and any(
            name in (_record(line)[0] or {}) for line in block.split(b"\n") if any(spelling in line for spelling in spellings)
        ):
            return True
    return False


def decode(path, type_by_name) -> Iterator[RawBlock]:
    """Raw blocks of a file.

    Args:
        path: the file.
        type_by_name: wanted columns and the Arrow types that they shall get in the end.

    Yields:
        `RawBlock`.

    Raises:
        LogFormatError: If the file cannot be read to its end.
    """
    for first_line, block in files.line_blocks(path):
        table = _table(block, type_by_name)
        if table is not None:
            lines = np.arange(first_line, first_line + table.num_rows)
            yield RawBlock(table, lines, _LineOfBlock(block), [])
            continue
        numbered = [(number, line) for number, line in enumerate(block.split(b"\n"), first_line) if line.strip()]
        if numbered:
            yield block_of_records(((number, line, *_record(line)) for number, line in numbered), type_by_name, line_text)


class _LineOfBlock:
    """Text of a line by its place; lines are told apart only if one is asked for."""

    def __init__(self, block):
        self._block = block
        self._lines = None

    def __call__(self, row):
        self._lines = self._lines or self._block.split(b"\n")
        return line_text(self._lines[row])


def _table(block, type_by_name):
    """Arrow's table of a block, or None where a line is empty, no record, or of types that differ from its neighbours'."""
    # Arrow reads NaN as a number; in a text it is a fault, as in CSV.
    if b"NaN" in block:
        return None
    try:
        block.decode("utf-8")
        table = pa.json.read_json(
            pa.BufferReader(block),
            read_options=pa.json.ReadOptions(use_threads=False, block_size=len(block) + 1),
            parse_options=pa.json.ParseOptions(
                explicit_schema=_schema(block, type_by_name), unexpected_field_behavior="ignore"
            ),
        )
    except (pa.ArrowException, UnicodeDecodeError):
        return None
    # Arrow skips empty lines and takes two objects on one line for two rows: then rows no longer tell their line.
    bytes_ = np.frombuffer(block, np.uint8)
    ends = np.flatnonzero(bytes_ == ord("\n"))
    starts = np.concatenate([[0], np.minimum(ends + 1, len(block) - 1)])
    may_have_empty = (bytes_[starts] <= ord(" ")).any()
    if table.num_rows != len(starts) or may_have_empty or _has_rounded_integers(table, type_by_name):
        return None
    return table


def _has_rounded_integers(table, type_by_name):
    """Whether integers may have lost digits for being read as floats, as a float among the first records demands."""
    return any(
        pa.types.is_floating(column.type)
        and not pa.types.is_floating(type_by_name[name])
        and (pc.max(pc.abs(column)).as_py() or 0) >= _FIRST_ROUNDED
        for name, column in zip(table.column_names, table.columns, strict=True)
    )


def _schema(block, type_by_name):
    """Arrow types to expect in a block, judged by its first records: a string column may hold integers."""
    sample = [_record(line)[0] or {} for line in block.split(b"\n", _SAMPLE_LINES)[:_SAMPLE_LINES]]
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


def _record(line):
    """Values of a line, or None and why there are none."""
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
