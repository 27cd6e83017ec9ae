"""Raw blocks as rows in the types of the schema, with a one-line reason for each record that does not fit."""

import dataclasses
import datetime
from collections import Counter

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from data.schema import DEAD_LETTER_SCHEMA, TIMESTAMP
from data.sources import conform

_RECORD_CHARACTERS = 1_000
# Clocks differ and time zones are mistaken; beyond that a time is wrong, and would move the watermark of all logs.
_LATEST_AHEAD = datetime.timedelta(days=1)
_MAX_FLOAT32 = 3.4e38
_PRESENT = "present"


@dataclasses.dataclass(frozen=True)
class Column:
    """What a column must hold, and where the log has it.

    Attributes:
        name: in the table that comes back.
        type: Arrow type that it gets.
        is_required: whether null is an error.
        above: exclusive lower bound of a number, or None.
        at_least: lower bound of a number, or None.
        at_most: upper bound of a number, or None.
        one_of: allowed strings, or None for any.
        is_amount: whether it measures what a user did: its faults are then counted as those of amounts.
        own_name: name in the log; None for the same.
        time_unit: "s", "ms" or "us", unit of times that are numbers.
        scale: positive factor from the log's numbers to the contract's.
        value_by_own: the contract's value by the log's.
    """

    name: str
    type: pa.DataType
    is_required: bool = False
    above: float | None = None
    at_least: float | None = None
    at_most: float | None = None
    one_of: tuple[str, ...] | None = None
    is_amount: bool = False
    own_name: str | None = None
    time_unit: str = "ms"
    scale: float = 1.0
    value_by_own: dict[str, str] = dataclasses.field(default_factory=dict)

    @property
    def name_in_log(self):
        """Name that the log has for the column."""
        return self.own_name or self.name

    @property
    def label(self):
        """Name for messages: the contract's, and the log's where it differs."""
        return self.name if self.name_in_log == self.name else f"{self.name} (column {self.own_name})"


@dataclasses.dataclass(frozen=True)
class Fault:
    """A demand that some rows do not meet.

    Attributes:
        is_bad: (rows,) bool NumPy array.
        slug: short stable name of the class of reasons, for counting.
        demand: what the value must be, or of which rows it is missing ("in a play"), or without a column the whole reason.
        column: the `Column` at fault, or None.
    """

    is_bad: np.ndarray
    slug: str
    demand: str
    column: Column | None = None


@dataclasses.dataclass(frozen=True)
class ParsedBlock:
    """What one block of a log holds.

    Attributes:
        rows: `pyarrow.Table` in the types of the schema.
        dead_letters: `pyarrow.Table` in `DEAD_LETTER_SCHEMA`, the records that are not in `rows`.
        num_read: records in the block.
        reason_counts: number of dead letters by the class of their reason, as "unknown_kind" or "missing_user_id".
    """

    rows: pa.Table
    dead_letters: pa.Table
    num_read: int
    reason_counts: dict[str, int]


def column_of(field, **attributes):
    """The column that a field of the schema asks for.

    Args:
        field: `pyarrow.Field`; required unless nullable.
        **attributes: further attributes of `Column`.

    Returns:
        `Column`.
    """
    return Column(field.name, field.type, is_required=not field.nullable, **attributes)


def type_by_own_name(columns):
    """What a reader must look for in the log.

    Args:
        columns: list of `Column`.

    Returns:
        Dict from the log's name to the Arrow type that the column shall get; a string where two columns share a name.
    """
    ordered = sorted(columns, key=lambda column: pa.types.is_string(column.type))
    return {column.name_in_log: column.type for column in ordered}


def latest_time():
    """The moment after which a time is taken for wrong: a day from now.

    Returns:
        `datetime.datetime` in UTC.
    """
    return datetime.datetime.now(datetime.timezone.utc) + _LATEST_AHEAD


def parse_block(raw, unit, columns, latest_at, check=None):
    """Rows of a raw block in the types of the schema.

    Args:
        raw: `data.sources.decoding.RawBlock`.
        unit: `data.sources.work.WorkUnit` that it is of, for dead letters.
        columns: list of `Column`.
        latest_at: `datetime.datetime`; later times are dead letters.
        check: None, or a function from the table to an iterable of `Fault`.

    Returns:
        `ParsedBlock`.
    """
    arrays, faults = [], []
    for column in columns:
        array, column_faults = conformed(raw.columns, column, latest_at)
        arrays.append(array)
        faults += column_faults
    table = pa.table(arrays, names=[column.name for column in columns])
    faults += (fault for fault in (check(table) if check else ()) if fault.is_bad.any())
    cause_by_row = {}
    for fault in faults:
        for row in np.flatnonzero(fault.is_bad).tolist():
            if row not in cause_by_row:
                cause_by_row[row] = _cause(raw.columns, row, fault)
    letters = list(raw.rejected)
    letters += [(int(raw.lines[row]), *cause, raw.record(row)) for row, cause in cause_by_row.items()]
    if cause_by_row:
        is_good = np.ones(table.num_rows, bool)
        is_good[list(cause_by_row)] = False
        table = table.filter(pa.array(is_good))
    reason_counts = dict(sorted(Counter(slug for _, slug, _, _ in letters).items()))
    return ParsedBlock(table, _dead_letters(unit, letters), raw.columns.num_rows + len(raw.rejected), reason_counts)


def conformed(table, column, latest_at):
    """A raw column in its type, and where it does not fit.

    Args:
        table: `pyarrow.Table` of raw columns under the log's names.
        column: `Column`.
        latest_at: `datetime.datetime`; later times do not fit.

    Returns:
        Pair (Arrow array, null where the value does not fit; list of `Fault`, empty if all fit).
    """
    if column.name_in_log not in table.column_names:
        is_bad = np.full(table.num_rows, column.is_required and table.num_rows > 0)
        return pa.nulls(table.num_rows, column.type), _fault(is_bad, f"missing_{column.name}", _PRESENT, column)
    raw = conform.mapped(conform.plain(table[column.name_in_log]), column.value_by_own)
    if raw.null_count == len(raw):
        array, faults = pa.nulls(len(raw), column.type), []
    else:
        array, faults = _converted(conform.without_nan(raw), column, latest_at)
    if column.is_required and array.null_count:
        faults += _fault(_numpy(array.is_null()), f"missing_{column.name}", _PRESENT, column)
    return (array if array.type == column.type else array.cast(column.type)), faults


def _converted(raw, column, latest_at):
    if pa.types.is_timestamp(column.type):
        array, demand = conform.to_time(raw, column.time_unit), "ISO 8601 or a number within 1970 to 2261 in time_unit"
    elif pa.types.is_string(column.type):
        array, demand = conform.to_string(raw), "a string"
    elif pa.types.is_integer(column.type):
        array, demand = conform.to_int(raw, column.scale), "an integer"
    else:
        array, demand = conform.to_float(raw, column.scale), "a finite number"
    faults = []
    if array.null_count > raw.null_count:
        is_bad = _numpy(pc.and_(raw.is_valid(), array.is_null()))
        if column.is_amount:
            faults += _fault(is_bad & _numpy(conform.is_not_finite(raw)), "non_finite_amount", demand, column)
        faults += _fault(is_bad, f"bad_{column.name}", demand, column)
    if pa.types.is_timestamp(column.type):
        is_late = pc.greater(array, pa.scalar(latest_at, TIMESTAMP))
        faults += _fault(_numpy(is_late), "future", "at most a day later than now", column)
    elif pa.types.is_string(column.type):
        if column.one_of is not None:
            is_unknown = pc.and_(array.is_valid(), pc.invert(pc.is_in(array, value_set=pa.array(column.one_of))))
            faults += _fault(_numpy(is_unknown), f"unknown_{column.name}", f"one of {', '.join(column.one_of)}", column)
    else:
        faults += _out_of_bounds(array, column)
    return array, faults


def _out_of_bounds(array, column):
    is_bad, demands = np.zeros(len(array), bool), []
    for bound, is_outside, words in (
        (column.above, pc.less_equal, "above"),
        (column.at_least, pc.less, "at least"),
        (column.at_most, pc.greater, "at most"),
    ):
        if bound is not None:
            is_bad |= _numpy(is_outside(array, bound))
            demands.append(f"{words} {bound:g}")
    slug = "negative_amount" if column.is_amount else f"bad_{column.name}"
    faults = _fault(is_bad, slug, " and ".join(demands), column)
    if pa.types.is_float32(column.type):
        is_beyond = _numpy(pc.greater(pc.abs(array), _MAX_FLOAT32))
        faults += _fault(is_beyond, f"bad_{column.name}", "within the range of float32", column)
    return faults


def _fault(is_bad, slug, demand, column):
    return [Fault(is_bad, slug, demand, column)] if is_bad.any() else []


def _numpy(condition):
    """An Arrow bool array as NumPy's; null is false."""
    condition = pc.fill_null(condition, False) if condition.null_count else condition
    return condition.to_numpy(zero_copy_only=False).astype(bool, copy=False)


def _cause(table, row, fault):
    """Class and text of the reason why a row does not meet a demand."""
    column = fault.column
    if column is None:
        return fault.slug, fault.demand
    value = None
    if column.name_in_log in table.column_names:
        value = _scalar_text(table[column.name_in_log][row])
    if value is None or value == "":
        is_of_some_rows = fault.slug == f"missing_{column.name}" and fault.demand != _PRESENT
        where = f" {fault.demand}" if is_of_some_rows else ""
        return f"missing_{column.name}", f"{column.label} is missing{where}"
    slug, demand = fault.slug, fault.demand
    if slug == f"missing_{column.name}":
        # Only a NaN is neither missing nor a fault of its own.
        slug = "non_finite_amount" if column.is_amount else f"bad_{column.name}"
        demand = "a finite number"
    return slug, " ".join(f"{column.label} must be {demand}. Received: {value}".split())


def _scalar_text(scalar):
    try:
        value = scalar.as_py()
    except UnicodeDecodeError:
        value = scalar.cast(pa.binary()).as_py()
    return value if value is None or value == "" else repr(str(value)[:80])


def _dead_letters(unit, letters):
    return pa.Table.from_pylist(
        [
            {"log": unit.log, "file": unit.path, "line": line, "reason": reason, "record": record[:_RECORD_CHARACTERS]}
            for line, _, reason, record in sorted(letters)
        ],
        schema=DEAD_LETTER_SCHEMA,
    )
