"""Raw columns, brought to the types of the schema, with a one-line reason for each row that does not fit."""

import dataclasses

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from data.schema import DEAD_LETTER_SCHEMA, TIMESTAMP

_MICROSECONDS = {"s": 1_000_000, "ms": 1_000, "us": 1}
# Times outside of [1970, 2262) are taken for a wrong unit; pandas cannot represent later ones.
_END_OF_TIME_US = 9_214_646_400 * 1_000_000
_RECORD_CHARACTERS = 1_000
_INT_REGEX = r"^-?\d{1,18}(\.0*)?$"
_FLOAT_REGEX = r"^-?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?$"
_NUMERIC_TIME_REGEX = r"^\d+(\.\d+)?$"
_ISO_REGEX = r"^\d{4}-\d{2}-\d{2}([T ]\d{2}(:?\d{2}(:?\d{2}(\.\d+)?)?)?(Z|[+-]\d{2}(:?\d{2})?)?)?$"
_ZONE_REGEX = r"[T ].*(Z|[+-]\d{2}(:?\d{2})?)$"


@dataclasses.dataclass(frozen=True)
class Column:
    """What a column must hold.

    Attributes:
        name: in the log and in the table that comes back.
        type: Arrow type that it gets.
        is_required: whether null is an error.
        above: exclusive lower bound of a number, or None.
        at_least: lower bound of a number, or None.
        at_most: upper bound of a number, or None.
        one_of: allowed strings, or None for any.
    """

    name: str
    type: pa.DataType
    is_required: bool = False
    above: float | None = None
    at_least: float | None = None
    at_most: float | None = None
    one_of: tuple[str, ...] | None = None


@dataclasses.dataclass(frozen=True)
class ParsedBlock:
    """What one block of a log holds.

    Attributes:
        rows: `pyarrow.Table` in the types of the schema.
        dead_letters: `pyarrow.Table` in `DEAD_LETTER_SCHEMA`, the records that are not in `rows`.
        num_read: records in the block.
    """

    rows: pa.Table
    dead_letters: pa.Table
    num_read: int


def column_of(field, **bounds):
    """The column that a field of the schema asks for.

    Args:
        field: `pyarrow.Field`; required unless nullable.
        **bounds: further attributes of `Column`.

    Returns:
        `Column`.
    """
    return Column(field.name, field.type, is_required=not field.nullable, **bounds)


def parse_block(raw, log, path, columns, time_unit, check=None):
    """Rows of a raw block in the types of the schema.

    Args:
        raw: `data.sources.decoding.RawBlock`.
        log: name of the log, for dead letters.
        path: the file, for dead letters.
        columns: list of `Column`.
        time_unit: "s", "ms" or "us", unit of times that are numbers.
        check: None, or a function from the table to pairs (bad rows as bool array, reason) of further demands.

    Returns:
        `ParsedBlock`.
    """
    reasons = np.full(raw.columns.num_rows, None, object)
    arrays = []
    for column in columns:
        array, bad, demand = _conform(raw.columns, column, time_unit)
        arrays.append(array)
        for row in np.flatnonzero(bad & _is_none(reasons)):
            value = raw.columns[column.name][int(row)].as_py() if column.name in raw.columns.column_names else None
            reasons[row] = _reason(column, demand, value)
    table = pa.table(arrays, names=[column.name for column in columns])
    for bad, reason in check(table) if check else ():
        reasons[bad & _is_none(reasons)] = reason
    bad_rows = np.flatnonzero(~_is_none(reasons))
    letters = [(line, reason, record) for line, reason, record in raw.rejected]
    letters += [(int(raw.lines[row]), reasons[row], raw.record(row)) for row in bad_rows]
    rows = table.filter(pa.array(_is_none(reasons))) if len(bad_rows) else table
    return ParsedBlock(rows, _dead_letters(log, path, letters), raw.columns.num_rows + len(raw.rejected))


def _is_none(reasons):
    return np.equal(reasons, None).astype(bool)


def _reason(column, demand, value):
    if value is None or value == "":
        return f"{column.name} is missing"
    return " ".join(f"{column.name} must be {demand}. Received: {str(value)[:80]!r}".split())


def _dead_letters(log, path, letters):
    return pa.Table.from_pylist(
        [
            {"log": log, "file": path, "line": line, "reason": reason, "record": record[:_RECORD_CHARACTERS]}
            for line, reason, record in sorted(letters)
        ],
        schema=DEAD_LETTER_SCHEMA,
    )


def _conform(table, column, time_unit):
    """The column in its type (null where it does not fit), where it does not fit, and what it must be."""
    if column.name not in table.column_names:
        array = pa.nulls(table.num_rows, column.type)
        return array, np.full(table.num_rows, column.is_required), "present"
    raw = _plain(table[column.name])
    if pa.types.is_timestamp(column.type):
        array, demand = _to_time(raw, time_unit), "ISO 8601 or a number within 1970 to 2261 in time_unit"
    elif pa.types.is_string(column.type):
        array, demand = _to_string(raw), "a string"
    elif pa.types.is_integer(column.type):
        array, demand = _to_int(raw), "an integer"
    else:
        array, demand = _to_float(raw), "a finite number"
    bad = np.asarray(pc.and_(pc.is_valid(raw), pc.is_null(array))).astype(bool)
    array, out_of_bounds, bound = _bounded(array, column)
    if not bad.any() and bound:
        demand = bound
    bad |= out_of_bounds
    if column.is_required:
        bad |= np.asarray(array.is_null())
    return array.cast(column.type), bad, demand


def _bounded(array, column):
    bad, demands = np.zeros(len(array), bool), []
    for bound, is_outside, words in (
        (column.above, pc.less_equal, "above"),
        (column.at_least, pc.less, "at least"),
        (column.at_most, pc.greater, "at most"),
    ):
        if bound is not None:
            bad |= np.asarray(pc.fill_null(is_outside(array, bound), False))
            demands.append(f"{words} {bound:g}")
    if column.one_of is not None:
        known = pc.is_in(array, value_set=pa.array(column.one_of, pa.string()))
        bad |= np.asarray(pc.and_(array.is_valid(), pc.invert(known)))
        demands.append(f"one of {', '.join(column.one_of)}")
    if pa.types.is_float32(column.type):
        bad |= np.asarray(pc.fill_null(pc.greater(pc.abs(array), 3.4e38), False))
    return array, bad, " and ".join(demands)


def _plain(column):
    """One contiguous array without dictionaries, large strings, decimals and dates; "" and NaN are null."""
    array = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    if isinstance(array, pa.ChunkedArray):
        array = pa.concat_arrays(array.chunks) if array.num_chunks else pa.array([], array.type)
    if pa.types.is_dictionary(array.type):
        array = array.dictionary_decode()
    if pa.types.is_large_string(array.type) or pa.types.is_date(array.type):
        array = array.cast(pa.string())
    if pa.types.is_decimal(array.type):
        array = array.cast(pa.float64())
    if pa.types.is_string(array.type):
        return _where(pc.not_equal(array, ""), array)
    if pa.types.is_floating(array.type):
        return _where(pc.invert(pc.is_nan(array)), array)
    return array


def _where(condition, array):
    return pc.if_else(condition, array, pa.scalar(None, array.type))


def _to_string(array):
    if pa.types.is_string(array.type):
        return array
    if pa.types.is_integer(array.type):
        return array.cast(pa.string())
    if pa.types.is_floating(array.type):
        integral = _where(pc.equal(pc.floor(array), array), array)
        whole = _where(pc.less(pc.abs(integral), 2.0**62), integral).cast(pa.int64()).cast(pa.string())
        return pc.coalesce(whole, array.cast(pa.string()))
    return pa.nulls(len(array), pa.string())


def _to_int(array):
    if pa.types.is_boolean(array.type) or pa.types.is_integer(array.type):
        return array.cast(pa.int64())
    if pa.types.is_floating(array.type):
        integral = pc.and_(pc.equal(pc.floor(array), array), pc.less(pc.abs(array), 2.0**62))
        return _where(integral, array).cast(pa.int64())
    if pa.types.is_string(array.type):
        matches = _where(pc.match_substring_regex(array, _INT_REGEX), array)
        return pc.replace_substring_regex(matches, r"\..*$", "").cast(pa.int64())
    return pa.nulls(len(array), pa.int64())


def _to_float(array):
    if pa.types.is_string(array.type):
        numbers = _where(pc.match_substring_regex(array, _FLOAT_REGEX), array).cast(pa.float64())
    elif pa.types.is_boolean(array.type):
        numbers = array.cast(pa.int8()).cast(pa.float64())
    elif pa.types.is_integer(array.type) or pa.types.is_floating(array.type):
        numbers = array.cast(pa.float64(), safe=False)
    else:
        return pa.nulls(len(array), pa.float64())
    return _where(pc.is_finite(numbers), numbers)


def _to_time(array, time_unit):
    if pa.types.is_timestamp(array.type):
        zoned = array if array.type.tz else array.cast(pa.timestamp(array.type.unit, tz="UTC"))
        microseconds = zoned.cast(TIMESTAMP, safe=False).cast(pa.int64())
    elif pa.types.is_integer(array.type):
        limit = _END_OF_TIME_US // _MICROSECONDS[time_unit]
        microseconds = pc.multiply(_where(pc.less(pc.abs(array), limit), array).cast(pa.int64()), _MICROSECONDS[time_unit])
    elif pa.types.is_floating(array.type):
        scaled = pc.round(pc.multiply(array, float(_MICROSECONDS[time_unit])))
        microseconds = _where(pc.less(pc.abs(scaled), float(_END_OF_TIME_US)), scaled).cast(pa.int64())
    elif pa.types.is_string(array.type):
        microseconds = _string_times(array, time_unit)
    else:
        return pa.nulls(len(array), TIMESTAMP)
    in_range = pc.and_(pc.greater_equal(microseconds, 0), pc.less(microseconds, _END_OF_TIME_US))
    return _where(in_range, microseconds).cast(TIMESTAMP)


def _string_times(array, time_unit):
    """Microseconds since 1970 of times that are ISO 8601 or numbers, null where neither."""
    is_number = pc.match_substring_regex(array, _NUMERIC_TIME_REGEX)
    is_whole = pc.match_substring_regex(array, r"^\d{1,18}$")
    whole = _to_time(_where(is_whole, array).cast(pa.int64()), time_unit).cast(pa.int64())
    fractional = _where(pc.and_(is_number, pc.invert(is_whole)), array).cast(pa.float64())
    iso = _where(pc.match_substring_regex(array, _ISO_REGEX), array)
    return pc.coalesce(whole, _to_time(fractional, time_unit).cast(pa.int64()), _iso_times(iso))


def _iso_times(array):
    if array.null_count == len(array):
        return pa.nulls(len(array), pa.int64())
    # Arrow reads at most six decimals here, wants a clock time before a zone, and a zone everywhere or nowhere.
    array = pc.replace_substring_regex(array, r"(\.\d{6})\d+", r"\1")
    array = pc.if_else(pc.equal(pc.utf8_length(array), 10), pc.binary_join_element_wise(array, "00:00", " "), array)
    has_zone = pc.match_substring_regex(array, _ZONE_REGEX)
    array = pc.if_else(has_zone, array, pc.binary_join_element_wise(array, "Z", ""))
    try:
        return array.cast(TIMESTAMP).cast(pa.int64())
    except pa.ArrowInvalid:
        return pa.array([_iso_time(value) for value in array.to_pylist()], pa.int64())


def _iso_time(value):
    try:
        return None if value is None else pa.scalar(value).cast(TIMESTAMP).cast(pa.int64()).as_py()
    except pa.ArrowInvalid:
        return None
