"""From the columns of the contract to those that the user's own logs have."""

import dataclasses
import difflib

import pyarrow as pa


def mapped_column(column, mapping, time_unit):
    """A column of the contract as the log has it.

    Args:
        column: `data.sources.records.Column`.
        mapping: `ColumnMappingConfig`, or None.
        time_unit: "s", "ms" or "us", unit of times where the mapping has none.

    Returns:
        `data.sources.records.Column`.
    """
    if mapping is None:
        return dataclasses.replace(column, time_unit=time_unit)
    return dataclasses.replace(
        column,
        own_name=mapping.name,
        time_unit=mapping.time_unit or time_unit,
        scale=mapping.scale,
        value_by_own=mapping.values,
    )


def mapping_problems(source, columns_by_log):
    """What cannot be in `data.source.columns`, whatever the logs hold.

    Args:
        source: `EventsSourceConfig`.
        columns_by_log: by log, list of `data.sources.records.Column`.

    Returns:
        List of one-line messages, empty if there is no problem.
    """
    problems = []
    for log, mapping_by_name in source.columns.items():
        key = f"data.source.columns.{log}"
        if mapping_by_name and getattr(source, log) is None:
            problems.append(f"{key} must map a log that is read, but data.source.{log} is missing")
        column_by_name = {column.name: column for column in columns_by_log[log]}
        for name, mapping in mapping_by_name.items():
            if name not in column_by_name:
                near = difflib.get_close_matches(name, column_by_name, n=3) or list(column_by_name)
                problems.append(f"{key}.{name} must be a column of the contract; did you mean {', '.join(near)}?")
            else:
                problems += [f"{key}.{name}.{problem}" for problem in _column_problems(column_by_name[name], mapping)]
    return problems


def _column_problems(column, mapping):
    is_time = pa.types.is_timestamp(column.type)
    if mapping.time_unit is not None and not is_time:
        yield f"time_unit is for times, which {column.name} is not. Received: {mapping.time_unit}"
    if mapping.scale != 1.0 and (is_time or pa.types.is_string(column.type)):
        use = "use time_unit" if is_time else "a string has no unit"
        yield f"scale is for numbers: {use}. Received: {mapping.scale:g}"
    unknown = sorted(set(mapping.values.values()) - set(column.one_of or mapping.values.values()))
    if unknown:
        yield f"values must map to one of {', '.join(column.one_of)}. Received: {', '.join(unknown)}"
