"""Event logs: one file set of impressions, one of engagements, optionally tables of users and items."""

import difflib
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
from data.sources import decoding, files
from data.sources.records import Column, ParsedBlock, column_of, parse_block

IMPRESSIONS = "impressions"
ENGAGEMENTS = "engagements"
USERS = "users"
ITEMS = "items"
LOGS = (IMPRESSIONS, ENGAGEMENTS, USERS, ITEMS)

_DAY_REGEX = r"^\d{4}-(0[1-9]|1[0-2])-(0[1-9]|[12]\d|3[01])$"


def input_files(config):
    """Files of each log.

    Args:
        config: `DataConfig` with an events source.

    Returns:
        Dict from log name to list of paths; without the tables that are not configured.

    Raises:
        LogFormatError: If a glob matches no file.
    """
    pattern_by_log = {log: getattr(config.source, log) for log in LOGS}
    return {log: files.match_files(f"data.source.{log}", pattern) for log, pattern in pattern_by_log.items() if pattern}


def columns(log, config):
    """Columns that a log must or may hold.

    Args:
        log: one of `LOGS`.
        config: `DataConfig`.

    Returns:
        List of `data.sources.records.Column`.
    """
    if log == IMPRESSIONS:
        bounds = {"position": {"at_least": 1}, "propensity": {"above": 0, "at_most": 1}}
        base = [column_of(field, **bounds.get(field.name, {})) for field in IMPRESSION_SCHEMA]
        return base + declared_columns(config.context_columns)
    if log == ENGAGEMENTS:
        bounds = {
            "kind": {"one_of": tuple(kind.value for kind in EngagementKind)},
            "watch_seconds": {"at_least": 0},
            "duration_seconds": {"at_least": 0},
        }
        return [column_of(field, **bounds.get(field.name, {})) for field in ENGAGEMENT_SCHEMA]
    key, declared = ("user_id", config.user_columns) if log == USERS else ("item_id", config.item_columns)
    return [Column(key, pa.string(), is_required=True), *declared_columns(declared)]


def declared_columns(type_by_name):
    """Columns that the configuration declares.

    Args:
        type_by_name: `ColumnType` by name.

    Returns:
        List of `data.sources.records.Column`, all optional.
    """
    return [Column(name, ARROW_TYPE_BY_COLUMN_TYPE[type_]) for name, type_ in type_by_name.items()]


def check(config):
    """Finds out, without reading the logs, whether they can be read as declared.

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
        needed = [column.name for column in columns(log, config) if column.is_required]
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


def read_log(log, path, config) -> Iterator[ParsedBlock]:
    """Parsed blocks of one file.

    Args:
        log: one of `LOGS`.
        path: the file.
        config: `DataConfig` with an events source.

    Yields:
        `data.sources.records.ParsedBlock`.

    Raises:
        LogFormatError: If the file cannot be read to its end.
    """
    wanted = columns(log, config)
    checks = {IMPRESSIONS: _impression_demands, ENGAGEMENTS: _engagement_demands}
    for raw in decoding.decode_file(path, {column.name: column.type for column in wanted}):
        yield parse_block(raw, log, path, wanted, config.source.time_unit, checks.get(log))


def _impression_demands(table):
    bad = pc.invert(pc.match_substring_regex(table["day"], _DAY_REGEX))
    yield np.asarray(pc.fill_null(bad, False)).astype(bool), "day must be YYYY-MM-DD"


def _engagement_demands(table):
    has_pair = pc.and_(pc.is_valid(table["user_id"]), pc.is_valid(table["item_id"]))
    is_lost = pc.invert(pc.or_(pc.is_valid(table["impression_id"]), has_pair))
    yield np.asarray(is_lost).astype(bool), "impression_id is missing, and user_id and item_id are not both present"
    for kind, name in ((EngagementKind.PLAY, "watch_seconds"), (EngagementKind.SURVEY, "score")):
        bad = pc.and_(pc.fill_null(pc.equal(table["kind"], kind.value), False), pc.is_null(table[name]))
        yield np.asarray(bad).astype(bool), f"{name} is missing in a {kind.value}"
