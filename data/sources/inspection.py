"""What the beginnings of log files say about how they were declared: every problem at once, before anything runs."""

import datetime
import difflib

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from data.errors import LogFormatError
from data.sources import conform, decoding
from data.sources.records import conformed, latest_time, type_by_own_name
from data.sources.work import WorkUnit

_MAX_FILES_NAMED = 64
_MAX_FILES_SAMPLED = 8
_SAMPLE_ROWS = 1_000
# A sample condemns a column if nothing in it fits, or so many values that this is no matter of some bad records.
_LEAST_BAD_ROWS = 20
_LEAST_BAD_SHARE = 0.1
_NUM_EXAMPLES = 3
# The first public logs of ratings begin in the 1990s.
_EARLIEST_PLAUSIBLE = datetime.datetime(1990, 1, 1, tzinfo=datetime.timezone.utc)


def log_problems(log, paths, columns, declared, max_dead_letter_rate):
    """Everything that keeps a log from being read as declared.

    Args:
        log: its name.
        paths: its files.
        columns: list of `data.sources.records.Column`, all that the log may hold; required ones must be in every file.
        declared: names of those that the user asked for; they must be in some file.
        max_dead_letter_rate: share of unreadable records that the user allows.

    Returns:
        List of one-line messages, empty if there is no problem. Files without any record are not judged.
    """
    problems, names_by_path = [], {}
    for path in _spread(paths, _MAX_FILES_NAMED):
        try:
            names_by_path[path] = decoding.column_names(path)
        except LogFormatError as error:
            problems.append(str(error))
    absent = _absent_columns(names_by_path, columns, declared)
    problems += [_absence(column, lacking, names_by_path) for column, lacking in absent]
    settled = {column.name for column, _ in absent}
    for path in _spread(list(names_by_path), _MAX_FILES_SAMPLED):
        # Files of one log are alike: what is wrong in one is not told for each.
        undecided = [column for column in columns if column.name not in settled]
        message_by_name = _sample_problems(log, path, undecided, max_dead_letter_rate)
        problems += message_by_name.values()
        settled |= set(message_by_name)
    return problems


def has_column(paths, column):
    """Whether the beginning of some file of a log has a column.

    Args:
        paths: files, of which some are looked into; those that cannot be read are passed over.
        column: `data.sources.records.Column`.

    Returns:
        bool.
    """
    return any(_begins_with(path, column) for path in _spread(paths, _MAX_FILES_NAMED))


def _begins_with(path, column):
    try:
        return column.name_in_log in decoding.column_names(path)
    except LogFormatError:
        return False


def _has_column(path, column):
    try:
        return decoding.has_column(path, column.name_in_log)
    except LogFormatError:
        return False


def _absent_columns(names_by_path, columns, declared):
    """Pairs (column, paths that lack it)."""
    absent = []
    for column in columns:
        lacking = [path for path, names in names_by_path.items() if names and column.name_in_log not in names]
        if not lacking or (not column.is_required and column.name not in declared):
            continue
        if not column.is_required:
            # Values of an optional column may be rare: only before it is refused are files searched to their ends.
            is_somewhere = len(lacking) < sum(map(bool, names_by_path.values()))
            if is_somewhere or any(_has_column(path, column) for path in lacking):
                continue
        absent.append((column, lacking))
    return absent


def _absence(column, paths, names_by_path):
    present = sorted({name for path in paths for name in names_by_path[path]})
    near = difflib.get_close_matches(column.name_in_log, present, n=3) or present[:20]
    more = f" and {len(paths) - 1} more" if len(paths) > 1 else ""
    purpose = "" if column.name_in_log == column.name else f" for {column.name}"
    return f"{paths[0]}{more}: there is no column {column.name_in_log!r}{purpose}; did you mean {', '.join(near)}?"


def _sample_problems(log, path, columns, max_dead_letter_rate):
    """Messages by the name of the column, or by the path where the file itself is the problem."""
    latest_at = latest_time()
    try:
        raw = next(decoding.decode_unit(WorkUnit(log, path), type_by_own_name(columns)), None)
    except LogFormatError as error:
        return {path: str(error)}
    if raw is None:
        return {}
    sample = raw.columns.slice(0, _SAMPLE_ROWS)
    if not sample.num_rows and raw.rejected:
        line, _, reason, _ = raw.rejected[0]
        return {path: f"{path}: none of the first {len(raw.rejected)} records can be read; line {line}: {reason}"}
    message_by_name = {}
    for column in columns:
        if column.name_in_log in sample.column_names:
            problem = _unit_problem(log, sample, column, latest_at) or _type_problem(
                sample, column, latest_at, max(_LEAST_BAD_SHARE, max_dead_letter_rate)
            )
            if problem:
                message_by_name[column.name] = f"{path}: {column.label} must be {problem}"
    return message_by_name


def _unit_problem(log, sample, column, latest_at):
    if not pa.types.is_timestamp(column.type):
        return None
    values = _values(sample, column)
    units = _plausible_units(values, latest_at)
    if units is None or column.time_unit in units:
        return None
    received = f"Received: {_examples(values, np.ones(len(values), bool))}"
    if not units:
        return (
            f"a time from {_EARLIEST_PLAUSIBLE.year} to now, in {', '.join(conform.MICROSECONDS)} or ISO 8601, but its values "
            f"are plausible in no unit. {received}"
        )
    return (
        f"in {column.time_unit} as declared, but its values are times in {units[0]}: set data.source.time_unit or "
        f"data.source.columns.{log}.{column.name}.time_unit. {received}"
    )


def _type_problem(sample, column, latest_at, allowed_share):
    values = _values(sample, column)
    for fault in conformed(sample, column, latest_at)[1]:
        is_missing = fault.slug == f"missing_{column.name}"
        num_judged = len(values) if is_missing else len(values) - values.null_count
        num_bad = int(np.count_nonzero(fault.is_bad))
        if num_bad == num_judged or (num_bad >= _LEAST_BAD_ROWS and num_bad / num_judged > allowed_share):
            received = _examples(values, fault.is_bad)
            return f"{fault.demand}, and {num_bad} of the first {num_judged} values are not. Received: {received}"
    return None


def _values(sample, column):
    return conform.mapped(conform.plain(sample[column.name_in_log]), column.value_by_own)


def _examples(values, is_chosen):
    chosen = pc.unique(values.filter(pa.array(is_chosen))).to_pylist()
    return ", ".join(repr(value)[:60] for value in chosen[:_NUM_EXAMPLES])


def _plausible_units(values, latest_at):
    """Units in which numbers are plausible times; None if most values are no numbers."""
    if pa.types.is_timestamp(values.type):
        return None
    numbers = conform.to_float(values).drop_null()
    if 2 * len(numbers) <= len(values) - values.null_count:
        return None
    typical = float(np.median(numbers.to_numpy()))
    bounds = _EARLIEST_PLAUSIBLE.timestamp(), latest_at.timestamp()
    return [unit for unit, ticks in conform.MICROSECONDS.items() if bounds[0] <= typical * ticks / 1_000_000 <= bounds[1]]


def _spread(items, number):
    """At most so many of the items, the first and the last among them."""
    if len(items) <= number:
        return list(items)
    return [items[index] for index in np.linspace(0, len(items) - 1, number).astype(int)]
