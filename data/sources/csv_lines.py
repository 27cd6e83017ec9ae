"""CSV: Arrow's reader for whole blocks, record by record where it refuses or where a quoted value has several lines."""

import csv
import dataclasses
from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pyarrow.csv

from data.errors import LogFormatError
from data.sources import files
from data.sources.raw import RawBlock, block_of_records, line_text

# A quote that is never closed must not swallow the rest of a file.
_MAX_LINES_PER_RECORD = 1_000
_HEAD_BYTES = 1 << 16


def column_names(path, num_records):
    """Names in the header of a file.

    Args:
        path: the file.
        num_records: unused; the header names all columns.

    Returns:
        List of names.

    Raises:
        LogFormatError: If the file cannot be read, or its header is no CSV or repeats a name.
    """
    del num_records
    for _, block in files.line_blocks(path, _HEAD_BYTES):
        for line in block.split(b"\n"):
            if line.strip():
                return _header(path, line)
    return []


def decode(path, type_by_name) -> Iterator[RawBlock]:
    """Raw blocks of a file; a record is numbered by its first line.

    Args:
        path: the file.
        type_by_name: wanted columns and the Arrow types that they shall get in the end.

    Yields:
        `RawBlock`, all of its columns strings.

    Raises:
        LogFormatError: If the file cannot be read to its end, or its header is no CSV or repeats a name.
    """
    header, open_lines = None, []
    for first_line, block in files.line_blocks(path):
        numbered = [(number, line) for number, line in enumerate(block.split(b"\n"), first_line)]
        if header is None:
            at = next((at for at, (_, line) in enumerate(numbered) if line.strip()), None)
            if at is None:
                continue
            header, numbered = _header(path, numbered[at][1]), numbered[at + 1 :]
        raw, open_lines = _decode_lines(open_lines + numbered, header, type_by_name, is_last=False)
        if raw is not None:
            yield raw
    if open_lines:
        yield _decode_lines(open_lines, header, type_by_name, is_last=True)[0]


def _decode_lines(numbered, header, type_by_name, is_last):
    """A block of lines, and the lines at its end whose record may go on in the next block."""
    wanted = {name: type_by_name[name] for name in header if name in type_by_name}
    lines = [(number, line) for number, line in numbered if line.strip()]
    if not lines:
        return None, []
    table = _table([line for _, line in lines], header, list(wanted))
    if table is not None:
        numbers = np.array([number for number, _ in lines], np.int64)
        return RawBlock(table, numbers, lambda row: line_text(lines[row][1]), []), []
    # Empty lines may belong to a quoted value: only Arrow was spared them.
    records = _Records(header, numbered, is_last)
    raw = block_of_records(records, wanted, line_text)
    return raw, records.open_lines


def _header(path, line):
    try:
        names = next(csv.reader([line.decode("utf-8", errors="replace").strip("\r")]), [])
    except csv.Error as error:
        raise LogFormatError(f"{path}: line 1 must be a CSV header in UTF-8. Received: {error}") from error
    if repeated := sorted({name for name in names if names.count(name) > 1}):
        raise LogFormatError(f"{path}: line 1 repeats the column {repeated[0]!r}; rename one of them")
    return names


def _table(lines, header, names):
    """Arrow's table of lines of which each is one record, or None."""
    data = b"\n".join(lines)
    # Arrow takes the end of a block for the end of a quoted value.
    if data.count(b'"') % 2:
        return None
    try:
        data.decode("utf-8")
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
    except (pa.ArrowException, UnicodeDecodeError):
        return None
    return table if table.num_rows == len(lines) else None


@dataclasses.dataclass
class _Records:
    """Records of lines, as `data.sources.raw.block_of_records` wants them; quoted values may have several lines."""

    header: list
    numbered: list
    is_last: bool
    open_lines: list = dataclasses.field(default_factory=list)

    def __iter__(self):
        at = 0
        while at < len(self.numbered):
            number, line = self.numbered[at]
            if not line.strip():
                at += 1
                continue
            num_lines, values, reason = self._record_at(at)
            if num_lines is None:
                self.open_lines = self.numbered[at:]
                return
            yield number, b"\n".join(line for _, line in self.numbered[at : at + num_lines]), values, reason
            at += num_lines

    def _record_at(self, at):
        """How many lines the record at a line has, its values, and why it has none; None lines if the block ends first."""
        line = self.numbered[at][1]
        values, reason = self._parse(line)
        if values is not None or line.count(b'"') % 2 == 0:
            return 1, values, reason
        text = line
        for num_lines, (_, following) in enumerate(self.numbered[at + 1 : at + _MAX_LINES_PER_RECORD], 2):
            text += b"\n" + following
            if following.count(b'"') % 2:
                values, _ = self._parse(text)
                # Where the quotes do not pair, the first line alone is to blame.
                return (num_lines, values, None) if values is not None else (1, None, reason)
        reaches_end = len(self.numbered) - at < _MAX_LINES_PER_RECORD
        return (None if reaches_end and not self.is_last else 1), None, reason

    def _parse(self, text):
        try:
            rows = list(csv.reader([text.decode("utf-8").strip("\r")], strict=True))
        except (csv.Error, UnicodeDecodeError) as error:
            return None, f"record must be a valid CSV line: {' '.join(str(error).split())}"
        if len(rows[0]) != len(self.header):
            return None, f"record must have {len(self.header)} columns. Received: {len(rows[0])}"
        return {name: value or None for name, value in zip(self.header, rows[0], strict=True)}, None
