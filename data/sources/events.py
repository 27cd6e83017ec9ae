"""Event logs: one file set of impressions, one of engagements, optionally tables of users and items."""

import dataclasses
from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from data.errors import LogFormatError
from data.schema import (
    ARROW_TYPE_BY_COLUMN_TYPE,
    ENGAGEMENT_SCHEMA,
    IMPRESSION_SCHEMA,
    EngagementKind,
)
from data.sources import decoding, inspection, spans
from data.sources.days import MAX_DAYS_APART, day_faults
from data.sources.mapping import mapped_column, mapping_problems
from data.sources.records import (
    Column,
    Fault,
    ParsedBlock,
    column_of,
    latest_time,
    parse_block,
    type_by_own_name,
)

IMPRESSIONS = "impressions"
ENGAGEMENTS = "engagements"
USERS = "users"
ITEMS = "items"
LOGS = (IMPRESSIONS, ENGAGEMENTS, USERS, ITEMS)

_IMPRESSION_BOUNDS = {"position": {"at_least": 1}, "propensity": {"above": 0, "at_most": 1}}
_ENGAGEMENT_BOUNDS = {
    "kind": {"one_of": tuple(kind.value for kind in EngagementKind)},
    "watch_seconds": {"at_least": 0, "is_amount": True},
    "duration_seconds": {"at_least": 0, "is_amount": True},
    "score": {"is_amount": True},
}


def input_files(config):
    """Files of each log.

    Args:
        config: `DataConfig` with an events source.

    Returns:
        Dict from log name to list of paths; without the tables that are not configured.

    Raises:
        LogFormatError: If a glob matches no file, or no file of a span that shall be read.
    """
    return spans.resolve(config.source).paths_by_log


def spans_read(config):
    """Spans of the impression log that are read.

    Args:
        config: `DataConfig` with an events source.

    Returns:
        List of strings, oldest first; empty without `{SPAN}`.

    Raises:
        LogFormatError: If a glob matches no file, or no file of a span that shall be read.
    """
    return spans.resolve(config.source).spans


def columns(log, config):
    """Columns that a log must or may hold, under the names and in the units that the configuration maps.

    Args:
        log: one of `LOGS`.
        config: `DataConfig` with an events source.

    Returns:
        List of `data.sources.records.Column`.
    """
    if log == IMPRESSIONS:
        contract = [column_of(field, **_IMPRESSION_BOUNDS.get(field.name, {})) for field in IMPRESSION_SCHEMA]
        contract += _declared_columns(config.context_columns)
    elif log == ENGAGEMENTS:
        contract = [column_of(field, **_ENGAGEMENT_BOUNDS.get(field.name, {})) for field in ENGAGEMENT_SCHEMA]
    else:
        contract = table_columns(log, config)
    own_by_name = config.source.columns.get(log, {})
    return [mapped_column(column, own_by_name.get(column.name), config.source.time_unit) for column in contract]


def table_columns(log, config, key_by_name=None):
    """Columns of the table of users or items.

    Args:
        log: "users" or "items".
        config: `DataConfig`.
        key_by_name: `Column` of the key by its name where it is not found under this name; None if it is.

    Returns:
        List of `data.sources.records.Column`, the key first, all others optional.
    """
    name, declared = ("user_id", config.user_columns) if log == USERS else ("item_id", config.item_columns)
    key = (key_by_name or {}).get(name, Column(name, pa.string()))
    return [dataclasses.replace(key, is_required=True), *_declared_columns(declared)]


def _declared_columns(type_by_name):
    return [Column(name, ARROW_TYPE_BY_COLUMN_TYPE[type_]) for name, type_ in type_by_name.items()]


def check(config):
    """Finds out, from the configuration and the beginnings of the files, whether the logs can be read as declared.

    Args:
        config: `DataConfig` with an events source.

    Raises:
        LogFormatError: If a file is missing or unreadable, a column is missing, or a mapping, a unit or a type cannot be.
            One message names every problem.
    """
    declared_by_log = {IMPRESSIONS: config.context_columns, USERS: config.user_columns, ITEMS: config.item_columns}
    problems = [
        f"data.source.{log} must name a table that holds the declared column {next(iter(declared_by_log[log]))!r}"
        for log in (USERS, ITEMS)
        if declared_by_log[log] and getattr(config.source, log) is None
    ]
    problems += mapping_problems(config.source, {log: columns(log, config) for log in LOGS})
    resolved = spans.find(config.source)
    problems += resolved.problems
    for log, paths in resolved.paths_by_log.items():
        declared = {*declared_by_log.get(log, ()), *config.source.columns.get(log, ())}
        wanted = columns(log, config)
        if log == ENGAGEMENTS:
            wanted = _with_key_required(wanted, paths)
        problems += inspection.log_problems(log, paths, wanted, declared, config.max_dead_letter_rate)
    if problems:
        raise LogFormatError("; ".join(problems))


def _with_key_required(wanted, paths):
    """Engagements whose files name no impression at all must name user and item."""
    by_name = {column.name: column for column in wanted}
    if not inspection.has_column(paths, by_name["impression_id"]):
        for name in ("user_id", "item_id"):
            by_name[name] = dataclasses.replace(by_name[name], is_required=True)
    return list(by_name.values())


def read_log(unit, config) -> Iterator[ParsedBlock]:
    """Parsed blocks of a portion of a log.

    Args:
        unit: `data.sources.work.WorkUnit`.
        config: `DataConfig` with an events source.

    Yields:
        `data.sources.records.ParsedBlock`; a time more than a day after the beginning of the reading is a dead letter.

    Raises:
        LogFormatError: If the file cannot be read to its end.
    """
    wanted, latest_at = columns(unit.log, config), latest_time()
    demands = {IMPRESSIONS: _impression_demands, ENGAGEMENTS: _engagement_demands}.get(unit.log)
    for raw in decoding.decode_unit(unit, type_by_own_name(wanted)):
        yield parse_block(raw, unit, wanted, latest_at, demands)


def _impression_demands(table):
    is_no_day, is_far = day_faults(table["day"], table["impressed_at"])
    yield Fault(is_no_day, "bad_day", "day must be YYYY-MM-DD")
    yield Fault(is_far, "bad_day", f"day must be at most {MAX_DAYS_APART} days from impressed_at")


def _engagement_demands(table):
    if table["impression_id"].null_count:
        has_pair = pc.and_(pc.is_valid(table["user_id"]), pc.is_valid(table["item_id"]))
        is_lost = pc.invert(pc.or_(pc.is_valid(table["impression_id"]), has_pair))
        reason = "impression_id is missing, and user_id and item_id are not both present"
        yield Fault(_numpy(is_lost), "missing_impression_id", reason)
    for kind, name in ((EngagementKind.PLAY, "watch_seconds"), (EngagementKind.SURVEY, "score")):
        is_without = pc.and_(pc.fill_null(pc.equal(table["kind"], kind.value), False), pc.is_null(table[name]))
        yield Fault(_numpy(is_without), f"missing_{name}", f"in a {kind.value}", Column(name, pa.float64(), is_amount=True))


def _numpy(condition):
    return np.asarray(condition).astype(bool)
