"""How far the logs reach: the latest moment and the last day in them, which the whole run has to know."""

import dataclasses

import pyarrow as pa
import pyarrow.compute as pc

from data.split import days_of


@dataclasses.dataclass(frozen=True)
class LogExtent:
    """End of the logs; the default is that of logs without rows.

    Attributes:
        latest_us: latest time of any impression or event, microseconds since 1970.
        last_day: last day of an impression, YYYY-MM-DD.
    """

    latest_us: int = 0
    last_day: str = ""


def extent_of(rows, timezone):
    """End of a block of log rows.

    Args:
        rows: `pyarrow.Table` with timestamp columns in UTC; with `day` (null where it follows from `impressed_at`) where the
            rows are impressions.
        timezone: IANA name, decides on which day an impression falls.

    Returns:
        `LogExtent`.
    """
    latest_us = _latest(rows, [field.name for field in rows.schema if pa.types.is_timestamp(field.type)])
    last_day = ""
    if "day" in rows.column_names and rows.num_rows:
        last_day = pc.max(rows["day"]).as_py() or ""
        undated = rows.filter(pc.is_null(rows["day"])) if rows["day"].null_count else rows.slice(0, 0)
        if undated.num_rows:
            latest = pa.array([_latest(undated, ["impressed_at"])], pa.timestamp("us", tz="UTC"))
            last_day = max(last_day, days_of(latest, timezone)[0].as_py())
    return LogExtent(latest_us, last_day)


def merge_extents(extents):
    """End of several blocks together.

    Args:
        extents: iterable of `LogExtent`.

    Returns:
        `LogExtent`.
    """
    merged = LogExtent()
    for extent in extents:
        merged = LogExtent(max(merged.latest_us, extent.latest_us), max(merged.last_day, extent.last_day))
    return merged


def _latest(rows, names):
    latest = [pc.max(rows[name]).cast(pa.int64()).as_py() for name in names]
    return max((moment for moment in latest if moment is not None), default=0)
