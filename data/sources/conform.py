"""Raw columns, brought to the types of the schema; what already conforms costs a look at its nulls and its range.

Whether a value is accepted depends on this value alone, never on its neighbours: blocks must not show.
"""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from data.schema import TIMESTAMP

MICROSECONDS = {"s": 1_000_000, "ms": 1_000, "us": 1}
# Times outside of [1970, 2262) are taken for a wrong unit; pandas cannot represent later ones.
_END_OF_TIME_US = 9_214_646_400 * 1_000_000
_INT_REGEX = r"^-?\d{1,19}(\.0*)?$"
_MAX_INT, _MIN_INT = "9223372036854775807", "9223372036854775808"
_FLOAT_REGEX = r"^-?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?$"
_NON_FINITE_REGEX = r"^(?i)[+-]?(nan|inf|infinity)$"
_PLAIN_ISO_REGEX = r"^\d{4}-\d{2}-\d{2}[T ]\d{2}:\d{2}:\d{2}(\.\d{1,6})?Z$"
_ISO_REGEX = r"^\d{4}-\d{2}-\d{2}([T ]\d{2}(:?\d{2}(:?\d{2}(\.\d+)?)?)?(Z|[+-]\d{2}(:?\d{2})?)?)?$"
_ZONE_REGEX = r"[T ].*(Z|[+-]\d{2}(:?\d{2})?)$"


def plain(column):
    """A raw column without dictionaries, large strings and dates.

    Args:
        column: Arrow array or chunked array of any type.

    Returns:
        One contiguous Arrow array; an empty string is null.
    """
    array = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    if isinstance(array, pa.ChunkedArray):
        array = pa.concat_arrays(array.chunks) if array.num_chunks else pa.array([], array.type)
    if pa.types.is_dictionary(array.type):
        array = array.dictionary_decode()
    if pa.types.is_large_string(array.type) or pa.types.is_date(array.type):
        array = array.cast(pa.string())
    if pa.types.is_string(array.type) and pc.min(pc.binary_length(array)).as_py() == 0:
        return _where(pc.not_equal(array, ""), array)
    return array


def mapped(array, value_by_own):
    """Values under the contract's names; those that are not named stay.

    Args:
        array: Arrow array from `plain`.
        value_by_own: dict from the log's strings to the contract's; empty for none.

    Returns:
        The array itself, or strings.
    """
    if not value_by_own or pa.types.is_null(array.type):
        return array
    own = to_string(array)
    index = pc.index_in(own, value_set=pa.array(value_by_own.keys(), pa.string()))
    return pc.coalesce(pa.array(value_by_own.values(), pa.string()).take(index), own)


def to_string(array):
    """Strings of strings and numbers; 7.0 is "7", and decimals keep all their digits.

    Args:
        array: Arrow array from `plain`.

    Returns:
        Arrow string array, null where there is no string.
    """
    if pa.types.is_string(array.type):
        return array
    if pa.types.is_integer(array.type):
        return array.cast(pa.string())
    if pa.types.is_decimal(array.type):
        return _decimal_texts(array)
    if pa.types.is_floating(array.type):
        # Readers that go record by record know no float32.
        array = array.cast(pa.float64())
        array = _where(pc.invert(pc.is_nan(array)), array)
        integral = _where(pc.equal(pc.floor(array), array), array)
        whole = _where(pc.less(pc.abs(integral), 2.0**62), integral).cast(pa.int64()).cast(pa.string())
        return pc.coalesce(whole, array.cast(pa.string()))
    return pa.nulls(len(array), pa.string())


def to_int(array, scale=1.0):
    """Integers of integers, booleans, whole floats and their texts.

    Args:
        array: Arrow array from `plain`.
        scale: positive factor.

    Returns:
        Arrow int64 array, null where there is no integer.
    """
    if scale != 1.0:
        # A factor such as 0.001 is no binary fraction: without rounding 3000 * 0.001 would be no integer.
        return to_int(pc.round(pc.multiply(to_float(array), scale), 9))
    if pa.types.is_boolean(array.type) or pa.types.is_signed_integer(array.type):
        return array.cast(pa.int64())
    if pa.types.is_unsigned_integer(array.type):
        return _where(pc.less(array, 2**63), array).cast(pa.int64())
    if pa.types.is_floating(array.type):
        integral = pc.and_(pc.equal(pc.floor(array), array), pc.less(pc.abs(array), 2.0**62))
        return _where(integral, array).cast(pa.int64())
    if pa.types.is_decimal(array.type):
        return to_int(_decimal_texts(array))
    if pa.types.is_string(array.type):
        return _parsed_integers(_where(pc.match_substring_regex(array, _INT_REGEX), array))
    return pa.nulls(len(array), pa.int64())


def to_float(array, scale=1.0):
    """Finite numbers of numbers, booleans and texts.

    Args:
        array: Arrow array from `plain`.
        scale: positive factor.

    Returns:
        Arrow float64 array, null where there is no finite number.
    """
    if pa.types.is_string(array.type):
        numbers = _where(pc.match_substring_regex(array, _FLOAT_REGEX), array).cast(pa.float64())
    elif pa.types.is_boolean(array.type):
        numbers = array.cast(pa.int8()).cast(pa.float64())
    elif pa.types.is_integer(array.type) or pa.types.is_floating(array.type) or pa.types.is_decimal(array.type):
        numbers = array.cast(pa.float64(), safe=False)
    else:
        return pa.nulls(len(array), pa.float64())
    if scale != 1.0:
        numbers = pc.multiply(numbers, scale)
    is_finite = pc.is_finite(numbers)
    return numbers if _all(is_finite) else _where(is_finite, numbers)


def is_not_finite(array):
    """Where a raw column says infinite, or, in a text, "nan".

    A NaN that is a number is no fault of its own: tables have no other null in columns of floats.

    Args:
        array: Arrow array from `plain`.

    Returns:
        Arrow bool array without nulls.
    """
    if pa.types.is_floating(array.type):
        return pc.fill_null(pc.is_inf(array), False)
    if pa.types.is_string(array.type):
        return pc.fill_null(pc.match_substring_regex(array, _NON_FINITE_REGEX), False)
    return pa.array(np.zeros(len(array), bool))


def without_nan(array):
    """A raw column in which NaN is null.

    Args:
        array: Arrow array from `plain`.

    Returns:
        Arrow array of the same type.
    """
    if not pa.types.is_floating(array.type):
        return array
    is_nan = pc.is_nan(array)
    return _where(pc.invert(is_nan), array) if pc.any(is_nan).as_py() else array


def to_time(array, time_unit):
    """Times of timestamps, numbers and ISO 8601 texts, without a zone in UTC.

    Args:
        array: Arrow array from `plain`.
        time_unit: "s", "ms" or "us", unit of numbers.

    Returns:
        Arrow array of `TIMESTAMP`, null where there is no time from 1970 to 2261.
    """
    if pa.types.is_timestamp(array.type):
        # Arrow keeps UTC below every zone; a timestamp without one is read as UTC.
        ticks = array.cast(pa.int64())
        microseconds = ticks if array.type.unit == "us" else _from_ticks(ticks, array.type.unit)
    elif pa.types.is_integer(array.type):
        microseconds = _from_numbers(array, time_unit)
    elif pa.types.is_floating(array.type):
        scaled = pc.round(pc.multiply(array, float(MICROSECONDS[time_unit])))
        microseconds = _where(pc.less(pc.abs(scaled), float(_END_OF_TIME_US)), scaled).cast(pa.int64())
    elif pa.types.is_string(array.type) or pa.types.is_decimal(array.type):
        microseconds = _string_times(to_string(array), time_unit)
    else:
        return pa.nulls(len(array), TIMESTAMP)
    if not _is_within(microseconds, 0, _END_OF_TIME_US):
        in_range = pc.and_(pc.greater_equal(microseconds, 0), pc.less(microseconds, _END_OF_TIME_US))
        microseconds = _where(in_range, microseconds)
    return microseconds.cast(TIMESTAMP)


def _decimal_texts(array):
    try:
        return array.cast(pa.int64()).cast(pa.string())
    except pa.ArrowInvalid:
        # Beyond int64, or with a fraction: Arrow has no cast of decimals to strings.
        return pa.array([_decimal_text(value) for value in array.to_pylist()], pa.string())


def _decimal_text(value):
    text = None if value is None else format(value, "f")
    return text.rstrip("0").rstrip(".") if text and "." in text else text


def _parsed_integers(texts):
    """Integers of texts of at most 19 digits, null where int64 ends before."""
    digits = pc.replace_substring_regex(texts, r"\..*$", "")
    if (pc.max(pc.binary_length(digits)).as_py() or 0) >= len(_MAX_INT):
        limit = pc.if_else(pc.starts_with(digits, "-"), _MIN_INT, _MAX_INT)
        digits = _where(pc.less_equal(pc.utf8_lpad(pc.utf8_ltrim(digits, "-"), len(_MAX_INT), "0"), limit), digits)
    return digits.cast(pa.int64())


def _from_ticks(ticks, unit):
    return pc.divide(ticks, 1000) if unit == "ns" else _from_numbers(ticks, unit)


def _from_numbers(array, unit):
    limit = _END_OF_TIME_US // MICROSECONDS[unit]
    if not _is_within(array, -limit, limit):
        array = _where(pc.and_(pc.greater(array, -limit), pc.less(array, limit)), array)
    return pc.multiply(array.cast(pa.int64()), MICROSECONDS[unit])


def _string_times(array, time_unit):
    """Microseconds since 1970 of times that are ISO 8601 or numbers, null where neither."""
    if _all(pc.match_substring_regex(array, _PLAIN_ISO_REGEX)):
        return _iso_times_as_they_are(array)
    is_number = pc.match_substring_regex(array, _FLOAT_REGEX)
    is_whole = pc.match_substring_regex(array, r"^\d{1,18}$")
    whole = to_time(_where(is_whole, array).cast(pa.int64()), time_unit).cast(pa.int64())
    fractional = _where(pc.and_(is_number, pc.invert(is_whole)), array).cast(pa.float64())
    iso = _where(pc.match_substring_regex(array, _ISO_REGEX), array)
    return pc.coalesce(whole, to_time(fractional, time_unit).cast(pa.int64()), _iso_times(iso))


def _iso_times(array):
    if array.null_count == len(array):
        return pa.nulls(len(array), pa.int64())
    # Arrow reads at most six decimals here, wants a clock time before a zone, and a zone everywhere or nowhere.
    array = pc.replace_substring_regex(array, r"(\.\d{6})\d+", r"\1")
    array = pc.if_else(pc.equal(pc.utf8_length(array), 10), pc.binary_join_element_wise(array, "00:00", " "), array)
    has_zone = pc.match_substring_regex(array, _ZONE_REGEX)
    return _iso_times_as_they_are(pc.if_else(has_zone, array, pc.binary_join_element_wise(array, "Z", "")))


def _iso_times_as_they_are(array):
    try:
        return array.cast(TIMESTAMP).cast(pa.int64())
    except pa.ArrowInvalid:
        return pa.array([_iso_time(value) for value in array.to_pylist()], pa.int64())


def _iso_time(value):
    try:
        return None if value is None else pa.scalar(value).cast(TIMESTAMP).cast(pa.int64()).as_py()
    except pa.ArrowInvalid:
        return None


def _is_within(array, at_least, below):
    """Whether all valid values lie in a range."""
    bounds = pc.min_max(array).as_py()
    return bounds["min"] is None or (bounds["min"] >= at_least and bounds["max"] < below)


def _all(condition):
    return pc.all(condition).as_py() is not False


def _where(condition, array):
    return pc.if_else(condition, array, pa.scalar(None, array.type))
