"""The configured log source: its files, and whether they can be read as declared."""

import pandas as pd

from data.errors import LogFormatError
from data.sources import events, kuairand, work

_SOURCE_BY_KIND = {"events": events, "kuairand": kuairand}


def source_of(config):
    """Module of `data.sources` that reads the configured logs.

    Args:
        config: `DataConfig`.

    Returns:
        Module with `input_files`, `check` and `read_log`.
    """
    return _SOURCE_BY_KIND[config.source.kind]


def files_by_log(config):
    """Files of each log.

    Args:
        config: `DataConfig`.

    Returns:
        Dict from "impressions", "engagements", "users" or "items" to a non-empty list of paths.

    Raises:
        LogFormatError: If a glob matches no file.
    """
    return source_of(config).input_files(config)


def input_files(config):
    """All files that the source reads, for fingerprints.

    Args:
        config: `DataConfig`.

    Returns:
        Sorted list of paths.

    Raises:
        LogFormatError: If a glob matches no file.
    """
    return sorted({path for paths in files_by_log(config).values() for path in paths})


def spans(config):
    """The deliveries that are read, as `{SPAN}` stands for them in the paths of the impressions.

    Args:
        config: `DataConfig`.

    Returns:
        List of strings, oldest first; empty if the source has no spans.

    Raises:
        LogFormatError: If a glob matches no file, or no file of a span that shall be read.
    """
    return source_of(config).spans_read(config)


def work_units(config):
    """The logs in portions that can be read independently of each other.

    `source_of(config).read_log(unit, config)` reads one.

    Args:
        config: `DataConfig`.

    Returns:
        Non-empty list of `data.sources.work.WorkUnit`.

    Raises:
        LogFormatError: If a glob matches no file, or a large Parquet file cannot be opened.
    """
    return [unit for log, paths in files_by_log(config).items() for unit in work.units_of(log, paths)]


def input_bytes(config):
    """Estimate of what the logs take in memory once they are decoded.

    Args:
        config: `DataConfig`.

    Returns:
        Bytes.

    Raises:
        LogFormatError: If a glob matches no file, or a file's format is unknown.
    """
    return sum(work.decoded_bytes(path) for path in input_files(config))


def check_source(config):
    """Finds out, before anything is read at length, whether the logs can be read as declared.

    Args:
        config: `DataConfig`.

    Raises:
        LogFormatError: If a file is missing or unreadable, a declared column is in no file or is a signal, or the time
            zone is unknown.
    """
    try:
        pd.Timestamp(0, tz=config.timezone)
    except (KeyError, ValueError) as error:
        raise LogFormatError(f"data.timezone must be an IANA name. Received: {config.timezone!r}") from error
    source_of(config).check(config)
