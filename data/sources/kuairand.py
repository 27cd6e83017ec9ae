"""KuaiRand's official CSV files: one row an impression with all its signals.

Reference:
    Gao et al., "KuaiRand: An Unbiased Sequential Recommendation Dataset with Randomly Exposed Videos", CIKM 2022.
"""

import difflib
import os
from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from data.errors import LogFormatError
from data.schema import ARROW_TYPE_BY_COLUMN_TYPE, ENGAGEMENT_SCHEMA, IMPRESSION_SCHEMA, TIMESTAMP, EngagementKind
from data.sources import decoding, files, inspection
from data.sources.days import MAX_DAYS_APART, day_faults
from data.sources.events import IMPRESSIONS, ITEMS, USERS, table_columns
from data.sources.raw import RawBlock
from data.sources.records import Column, Fault, ParsedBlock, latest_time, parse_block, type_by_own_name

_PATTERN_BY_LOG = {
    IMPRESSIONS: "log_standard_*.csv",
    USERS: "user_features_*.csv",
    ITEMS: "video_features_basic_*.csv",
}
_SIGNAL_BY_KIND = {
    EngagementKind.CLICK: "is_click",
    EngagementKind.LIKE: "is_like",
    EngagementKind.FOLLOW: "is_follow",
    EngagementKind.COMMENT: "is_comment",
    EngagementKind.SHARE: "is_forward",
    EngagementKind.PROFILE_VISIT: "is_profile_enter",
    EngagementKind.HIDE: "is_hate",
}
_SIGNALS = (*_SIGNAL_BY_KIND.values(), "long_view", "play_time_ms", "profile_stay_time", "comment_stay_time")
# What a ranker may know when a request comes in, and how it follows from the log.
_CONTEXT = {
    "hour": lambda rows: pc.divide(rows["hourmin"], 100),
    "hourmin": lambda rows: rows["hourmin"],
    "tab": lambda rows: rows["tab"],
    "is_rand": lambda rows: rows["is_rand"],
    "duration_ms": lambda rows: rows["duration_ms"],
    "duration_seconds": lambda rows: pc.divide(rows["duration_ms"], 1000.0),
}
_LOG_COLUMNS = [
    Column("user_id", pa.string(), is_required=True),
    Column("video_id", pa.string(), is_required=True),
    Column("time_ms", TIMESTAMP, is_required=True),
    Column("date", pa.int64(), is_required=True),
    Column("hourmin", pa.int64(), at_least=0, at_most=2359),
    Column("tab", pa.string()),
    Column("is_rand", pa.int64()),
    Column("play_time_ms", pa.float64(), is_required=True, at_least=0, is_amount=True),
    Column("duration_ms", pa.float64(), at_least=0, is_amount=True),
    *(Column(name, pa.int64(), at_least=0, at_most=1) for name in _SIGNAL_BY_KIND.values()),
]
_KEY = ["user_id", "video_id", "time_ms"]
SEQUENCE = "sequence"


def input_files(config):
    """Files of each log.

    Args:
        config: `DataConfig` with a KuaiRand source.

    Returns:
        Dict from log name to list of paths; without the tables of which no column is declared.

    Raises:
        LogFormatError: If a glob matches no file.
    """
    is_needed = {IMPRESSIONS: True, USERS: bool(config.user_columns), ITEMS: bool(config.item_columns)}
    return {
        log: files.match_files("data.source.path", os.path.join(config.source.path, pattern))
        for log, pattern in _PATTERN_BY_LOG.items()
        if is_needed[log]
    }


def spans_read(config):
    """Spans that are read: KuaiRand has none.

    Args:
        config: `DataConfig` with a KuaiRand source.

    Returns:
        Empty list.
    """
    del config
    return []


def check(config):
    """Finds out, from the configuration and the beginnings of the files, whether the logs can be read as declared.

    Args:
        config: `DataConfig` with a KuaiRand source.

    Raises:
        LogFormatError: If a file is missing, a declared column is in no file, or a declared context column is a signal
            or unknown. One message names every problem.
    """
    problems = []
    for name in config.context_columns:
        key = f"data.context_columns.{name}"
        if name in _SIGNALS:
            problems.append(f"{key} must not be a signal: it is known only after the fact")
        elif name not in _CONTEXT:
            near = difflib.get_close_matches(name, _CONTEXT, n=3) or list(_CONTEXT)
            problems.append(f"{key} is not offered; did you mean {', '.join(near)}?")
    for log, paths in input_files(config).items():
        wanted = _columns(log, config)
        names = [column.name for column in wanted]
        problems += inspection.log_problems(log, paths, wanted, names, config.max_dead_letter_rate)
    if problems:
        raise LogFormatError("; ".join(problems))


def _columns(log, config):
    if log == IMPRESSIONS:
        return _LOG_COLUMNS
    return table_columns(log, config, {"item_id": Column("item_id", pa.string(), own_name="video_id")})


def read_log(unit, config) -> Iterator[ParsedBlock]:
    """Parsed blocks of a portion of a log: rows of the log as they are, rows of the tables in the contract.

    Args:
        unit: `data.sources.work.WorkUnit` of "impressions", "users" or "items".
        config: `DataConfig` with a KuaiRand source.

    Yields:
        `ParsedBlock`; rows of the log carry `SEQUENCE`, their order over all files.

    Raises:
        LogFormatError: If the file cannot be read to its end.
    """
    log, latest_at, wanted = unit.log, latest_time(), _columns(unit.log, config)
    for raw in decoding.decode_unit(unit, type_by_own_name(wanted)):
        if log == IMPRESSIONS:
            # The line number travels with its row through the parser, which may drop rows.
            lines = pa.array(raw.lines + (unit.file_number << 40))
            raw = RawBlock(raw.columns.append_column(SEQUENCE, lines), raw.lines, raw.record, raw.rejected)
            yield parse_block(raw, unit, [*wanted, Column(SEQUENCE, pa.int64())], latest_at, _log_demands)
        else:
            yield parse_block(raw, unit, wanted, latest_at)


def first_rows(rows):
    """Rows without those that repeat (user_id, video_id, time_ms); the first in the log stays.

    Args:
        rows: `pyarrow.Table` of rows of the log, with `SEQUENCE`.

    Returns:
        Pair (table in log order, number of rows dropped).
    """
    rows = rows.sort_by(SEQUENCE)
    repeats = rows.select(_KEY).to_pandas().duplicated().to_numpy()
    return rows.filter(pa.array(~repeats)), int(np.count_nonzero(repeats))


def impressions(rows, config):
    """The impression log that rows of KuaiRand's log stand for.

    Args:
        rows: `pyarrow.Table` from `first_rows`.
        config: `DataConfig`; its context columns are computed.

    Returns:
        `pyarrow.Table` in `IMPRESSION_SCHEMA` plus context columns.
    """
    column_by_name = {
        "impression_id": _impression_id(rows),
        "user_id": rows["user_id"],
        "item_id": rows["video_id"],
        "surface": rows["tab"],
        "impressed_at": rows["time_ms"],
        "day": _day(rows),
    }
    arrays = [column_by_name.get(field.name, pa.nulls(rows.num_rows, field.type)) for field in IMPRESSION_SCHEMA]
    arrays += [_CONTEXT[name](rows).cast(ARROW_TYPE_BY_COLUMN_TYPE[type_]) for name, type_ in config.context_columns.items()]
    return pa.table(arrays, names=[*IMPRESSION_SCHEMA.names, *config.context_columns])


def engagements(rows):
    """The engagement log that rows of KuaiRand's log stand for: a play for every row, and its other signals.

    The log gives one time a row, to which a click is dated, though on some surfaces it stands for some seconds of watching:
    features of clicks need a `history.delay_seconds` of ten or more. All else is known for certain only when watching ended.

    Args:
        rows: `pyarrow.Table` from `first_rows`.

    Returns:
        `pyarrow.Table` in `ENGAGEMENT_SCHEMA`.
    """
    watch = {
        "watch_seconds": pc.divide(rows["play_time_ms"], 1000.0),
        "duration_seconds": pc.divide(rows["duration_ms"], 1000.0),
    }
    microseconds = pc.add(rows["time_ms"].cast(pa.int64()), pc.cast(pc.multiply(rows["play_time_ms"], 1000.0), pa.int64()))
    ended = rows.append_column("ended_at", microseconds.cast(TIMESTAMP))
    tables = [_events(ended, EngagementKind.PLAY, {**watch, "engaged_at": ended["ended_at"]})]
    for kind, signal in _SIGNAL_BY_KIND.items():
        signalled = ended.filter(pc.fill_null(pc.equal(rows[signal], 1), False))
        at = signalled["time_ms" if kind is EngagementKind.CLICK else "ended_at"]
        tables.append(_events(signalled, kind, {"engaged_at": at}))
    return pa.concat_tables(tables)


def log_schema():
    """Schema of the rows that `read_log` gives of the log itself.

    Returns:
        `pyarrow.Schema`.
    """
    return pa.schema([*(pa.field(column.name, column.type) for column in _LOG_COLUMNS), pa.field(SEQUENCE, pa.int64())])


def _log_demands(rows):
    is_no_day, is_far = day_faults(_day(rows), rows["time_ms"])
    yield Fault(is_no_day, "bad_date", "date must be a day as YYYYMMDD")
    yield Fault(is_far, "bad_date", f"date must be at most {MAX_DAYS_APART} days from time_ms")


def _day(rows):
    return pc.replace_substring_regex(rows["date"].cast(pa.string()), r"^(\d{4})(\d{2})(\d{2})$", r"\1-\2-\3")


def _impression_id(rows):
    time_ms = pc.divide(rows["time_ms"].cast(pa.int64()), 1000).cast(pa.string())
    return pc.binary_join_element_wise(rows["user_id"], rows["video_id"], time_ms, "-")


def _events(rows, kind, columns):
    impression_id = _impression_id(rows)
    column_by_name = {
        "event_id": pc.binary_join_element_wise(impression_id, kind.value, "-"),
        "impression_id": impression_id,
        "user_id": rows["user_id"],
        "item_id": rows["video_id"],
        "kind": pa.array([kind.value] * rows.num_rows, pa.string()),
        "engaged_at": rows["time_ms"],
        **columns,
    }
    arrays = [column_by_name.get(field.name, pa.nulls(rows.num_rows, field.type)) for field in ENGAGEMENT_SCHEMA]
    return pa.table(arrays, schema=ENGAGEMENT_SCHEMA)
