"""What the labels of an ingestion look like: sufficient statistics by day and surface that add up, and their rates."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from data.schema import LABELS, mask_name

LABEL_COUNTS_FILE = "label_counts.json"

# Of rows whose label is known; watch time is a mean in seconds.
RATE_BY_LABEL = {"click": "click_rate", "watch_seconds": "mean_watch_seconds", "satisfaction": "satisfaction_rate"}

_KEYS = ("day", "surface")
_SUMS = ("impressions", *(f"{label}_{what}" for label in LABELS for what in ("known", "sum")))

# One row a day and surface: `<label>_known` counts the rows whose mask is 1, `<label>_sum` adds up their labels.
LABEL_COUNTS_SCHEMA = pa.schema(
    [
        *(pa.field(name, pa.string()) for name in _KEYS),
        *(pa.field(name, pa.float64() if name.endswith("_sum") else pa.int64()) for name in _SUMS),
    ]
)


def label_counts(rows):
    """Sufficient statistics of the labels of some labelled rows.

    Args:
        rows: Arrow table with `day`, `surface`, and every label and its mask; other columns are ignored.

    Returns:
        Arrow table of `LABEL_COUNTS_SCHEMA`, sorted by day and surface.
    """
    columns = {name: rows[name] for name in _KEYS}
    columns["impressions"] = pa.array(np.ones(rows.num_rows, np.int64))
    for label in LABELS:
        is_known = pc.greater(rows[mask_name(label)], 0)
        columns[f"{label}_known"] = is_known.cast(pa.int64())
        columns[f"{label}_sum"] = pc.if_else(is_known, rows[label].cast(pa.float64()), 0.0)
    return _added(pa.table(columns), _KEYS)


def merge_label_counts(tables):
    """Label counts of several parts together; the order of the parts and how they were cut do not matter.

    Args:
        tables: iterable of what `label_counts` or this function returned; may be empty.

    Returns:
        Arrow table of `LABEL_COUNTS_SCHEMA`, sorted by day and surface.
    """
    return _added(pa.concat_tables([LABEL_COUNTS_SCHEMA.empty_table(), *tables]), _KEYS)


def _added(table, keys):
    sums = table.group_by(list(keys)).aggregate([(name, "sum") for name in _SUMS])
    columns = {name: sums[name] for name in keys} | {name: sums[f"{name}_sum"] for name in _SUMS}
    schema = pa.schema([LABEL_COUNTS_SCHEMA.field(name) for name in columns])
    return pa.table(columns).cast(schema).sort_by([(name, "ascending") for name in keys])


def rates(counts, by=None):
    """Label rates of an ingestion.

    Args:
        counts: Arrow table of `LABEL_COUNTS_SCHEMA`.
        by: "day", "surface", or None for all rows together.

    Returns:
        Arrow table with a row for each value of `by`, sorted by it: its column, `impressions`, `click_rate`,
        `mean_watch_seconds` and `satisfaction_rate`, null where no label is known. Without `by` it has one row.
    """
    if by is None:
        # A group of its own, so that even no rows at all add up to a row.
        table = pa.table({name: [pc.coalesce(pc.sum(counts[name]), 0).as_py()] for name in _SUMS})
    else:
        table = _added(counts, (by,))
    columns = {name: table[name] for name in (by, "impressions") if name}
    for label, name in RATE_BY_LABEL.items():
        known = table[f"{label}_known"].cast(pa.float64())
        # Division by null is null, by zero it is infinite.
        columns[name] = pc.divide(table[f"{label}_sum"].cast(pa.float64()), pc.if_else(pc.equal(known, 0), None, known))
    return pa.table(columns)


def to_json(counts):
    """Label counts as text, one object a row.

    Args:
        counts: Arrow table of `LABEL_COUNTS_SCHEMA`.

    Returns:
        JSON.
    """
    return json.dumps(counts.to_pylist(), indent=2)


def from_json(text):
    """Label counts that `to_json` wrote.

    Args:
        text: JSON.

    Returns:
        Arrow table of `LABEL_COUNTS_SCHEMA`.
    """
    return pa.Table.from_pylist(json.loads(text), schema=LABEL_COUNTS_SCHEMA)
