"""What every reader of a log format hands on: raw columns with the numbers of their lines, and what was no record."""

import dataclasses
import json
from collections.abc import Callable

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from data.sources import conform

NOT_A_RECORD = "not_a_record"


@dataclasses.dataclass(frozen=True)
class RawBlock:
    """Rows of one block before their types are checked.

    Attributes:
        columns: `pyarrow.Table` of raw columns; a column that the block lacks is absent.
        lines: (rows,) int64, line of each row in its file, counted from 1 (for Parquet and TFRecords: its row).
        record: function from a row's index to its text.
        rejected: tuples (line, class of the reason, reason, record) of lines that are no records at all.
    """

    columns: pa.Table
    lines: np.ndarray
    record: Callable[[int], str]
    rejected: list[tuple[int, str, str, str]]


def block_of_records(records, type_by_name, text_of):
    """A block that was read record by record: its columns are strings.

    Args:
        records: iterable of tuples (line, record as stored, dict of its values or None, reason or None) of which the dict
            is None where the record cannot be read for the reason.
        type_by_name: wanted columns and their Arrow types.
        text_of: function from a record as stored to its text.

    Returns:
        `RawBlock`.
    """
    good, lines, rejected = [], [], []
    values_by_name = {name: [] for name in type_by_name}
    for line, stored, values, reason in records:
        slug = NOT_A_RECORD
        if values is not None:
            for name, type_ in type_by_name.items():
                if reason := _scalar_reason(values.get(name), name, type_):
                    slug = f"bad_{name}"
                    break
        if reason:
            rejected.append((line, slug, reason, text_of(stored)))
            continue
        good.append(stored)
        lines.append(line)
        for name, column in values_by_name.items():
            column.append(values.get(name))
    table = pa.table({name: _texts(column) for name, column in values_by_name.items()})
    return RawBlock(table, np.array(lines, np.int64), lambda row: text_of(good[row]), rejected)


def line_text(line):
    """A line for a person to read.

    Args:
        line: bytes.

    Returns:
        str; bytes that are no UTF-8 are replaced.
    """
    return line.decode("utf-8", errors="replace").strip()


def _scalar_reason(value, name, type_):
    is_text = pa.types.is_string(type_) or pa.types.is_timestamp(type_)
    if isinstance(value, dict | list) or (isinstance(value, bool) and is_text):
        return f"{name} must be {'a string' if is_text else 'a number'}. Received: {json.dumps(value)[:80]}"
    return None


def _texts(values):
    """Strings of JSON's scalars, as a block that Arrow reads gives them."""
    floats = pa.array([value for value in values if isinstance(value, float)], pa.float64())
    # "nan" stays a text: there it is a fault.
    float_texts = iter(pc.fill_null(conform.to_string(floats), "nan").to_pylist())
    return pa.array([next(float_texts) if isinstance(value, float) else _text(value) for value in values], pa.string())


def _text(value):
    if value is None or isinstance(value, str):
        return value
    return str(int(value) if isinstance(value, bool) else value)
