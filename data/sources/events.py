"""Event logs: one file set of impressions, one of engagements, optionally tables of users and items."""

import dataclasses
import difflib
from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from data.config import ColumnMappingConfig
from data.errors import LogFormatError
from data.schema import (
    ARROW_TYPE_BY_COLUMN_TYPE,
    ENGAGEMENT_SCHEMA,
    IMPRESSION_SCHEMA,
    EngagementKind,
)
from data.sources import decoding, spans
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

_DAY_REGEX = r"^\d{4}-(0[1-9]|1[0-2])-(0[1-9]|[12]\d|3[01])$"
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
    return [_mapped(column, own_by_name.get(column.name), config.source.time_unit) for column in contract]


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


def _mapped(column, mapping, time_unit):
    mapping = mapping or ColumnMappingConfig(name=column.name)
    return dataclasses.replace(
        column,
        own_name=mapping.name,
        time_unit=mapping.time_unit or time_unit,
        scale=mapping.scale,
        value_by_own=mapping.values,
    )


def check(config):
    """Finds out, from names and a sample of the logs, whether they can be read as declared.

    Args:
        config: `DataConfig` with an events source.

    Raises:
        LogFormatError: If a file is missing or unreadable, or a declared column is in no file.
    """
    for log, declared in ((USERS, config.user_columns), (ITEMS, config.item_columns)):
        if declared and getattr(config.source, log) is None:
            name = next(iter(declared))
            raise LogFormatError(f"data.source.{log} must name a table that holds the declared column {name!r}")
    declared_by_log = {IMPRESSIONS: config.context_columns, USERS: config.user_columns, ITEMS: config.item_columns}
    for log, paths in input_files(config).items():
        needed = [column.name_in_log for column in columns(log, config) if column.is_required]
        needed += list(declared_by_log.get(log, ()))
        if log == ENGAGEMENTS:
            has_id = any(decoding.has_column(path, "impression_id") for path in paths)
            needed += ["impression_id"] if has_id else ["user_id", "item_id"]
        require_columns(paths, needed)


def require_columns(paths, names):
    """Demands that each column is in at least one of the files.

    Args:
        paths: files of one log.
        names: column names.

    Raises:
        LogFormatError: If a column is in none of them. Files without any record are not judged.
    """
    present = {name for path in paths for name in decoding.column_names(path)}
    for name in names if present else ():
        if name not in present and not any(decoding.has_column(path, name) for path in paths):
            near = difflib.get_close_matches(name, present, n=3) or sorted(present)
            more = f" and {len(paths) - 1} more" if len(paths) > 1 else ""
            raise LogFormatError(f"{paths[0]}{more}: there is no column {name!r}; did you mean {', '.join(near)}?")


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
    days = pc.unique(table["day"])
    wrong = days.filter(pc.fill_null(pc.invert(pc.match_substring_regex(days, _DAY_REGEX)), False))
    if len(wrong):
        yield Fault(_numpy(pc.is_in(table["day"], value_set=wrong)), "bad_day", "day must be YYYY-MM-DD")


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
