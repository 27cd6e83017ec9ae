import itertools

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data.report import LABEL_COUNTS_SCHEMA, from_json, label_counts, merge_label_counts, rates, to_json
from data.schema import LABELS, mask_name

ROWS_SCHEMA = pa.schema(
    [("day", pa.string()), ("surface", pa.string())]
    + [(name, pa.float32()) for label in LABELS for name in (label, mask_name(label))]
)

# Eighths add up exactly, so that sums can be compared without a tolerance.
labelled_row = st.fixed_dictionaries(
    {
        "day": st.sampled_from(["2026-01-01", "2026-01-02"]),
        "surface": st.sampled_from(["feed", "search", None]),
        **{label: st.integers(0, 80).map(lambda eighths: eighths / 8) for label in LABELS},
        **{mask_name(label): st.sampled_from([0.0, 1.0]) for label in LABELS},
    }
)


def as_table(rows):
    return pa.Table.from_pylist(rows, schema=ROWS_SCHEMA)


def oracle(rows):
    """Label counts by their definition, a row at a time."""
    groups = {}
    for row in rows:
        group = groups.setdefault((row["day"], row["surface"]), {"impressions": 0})
        group["impressions"] += 1
        for label in LABELS:
            is_known = row[mask_name(label)] == 1.0
            group[f"{label}_known"] = group.get(f"{label}_known", 0) + (1 if is_known else 0)
            group[f"{label}_sum"] = group.get(f"{label}_sum", 0.0) + (row[label] if is_known else 0.0)
    # Arrow sorts nulls last.
    ordered = sorted(groups, key=lambda key: (key[0], key[1] is None, key[1] or ""))
    return [{"day": day, "surface": surface, **groups[day, surface]} for day, surface in ordered]


@given(st.lists(labelled_row, max_size=30))
@settings(deadline=None)
def test_counts_are_those_of_the_definition(rows):
    counts = label_counts(as_table(rows))
    assert counts.schema == LABEL_COUNTS_SCHEMA
    assert counts.to_pylist() == oracle(rows)


@given(st.lists(labelled_row, max_size=30), st.lists(st.integers(0, 30), max_size=4), st.randoms(use_true_random=False))
@settings(deadline=None)
def test_any_cut_in_any_order_merges_to_the_same(rows, cuts, random):
    whole = label_counts(as_table(rows))
    random.shuffle(rows)
    bounds = [0, *sorted(cuts), len(rows)]
    parts = [label_counts(as_table(rows[start:end])) for start, end in itertools.pairwise(bounds)]
    assert merge_label_counts(parts) == whole
    assert merge_label_counts([merge_label_counts(parts[:2]), *parts[2:]]) == whole


def test_merging_nothing():
    assert merge_label_counts([]) == LABEL_COUNTS_SCHEMA.empty_table()


@given(st.lists(labelled_row, max_size=30))
@settings(deadline=None)
def test_json_keeps_everything(rows):
    counts = label_counts(as_table(rows))
    assert from_json(to_json(counts)) == counts


def row(day, surface, click, watch_seconds, satisfaction=None):
    values = {"click": click, "watch_seconds": watch_seconds, "satisfaction": satisfaction}
    labels = {label: 9.0 if value is None else value for label, value in values.items()}
    masks = {mask_name(label): float(value is not None) for label, value in values.items()}
    return {"day": day, "surface": surface, **labels, **masks}


COUNTS = label_counts(
    as_table(
        [
            row("2026-01-01", "feed", 1.0, 10.0, 1.0),
            row("2026-01-01", "search", 0.0, None),
            row("2026-01-02", "feed", 0.0, 20.0, 0.0),
            row("2026-01-02", "feed", None, 30.0, 0.0),
        ]
    )
)


@pytest.mark.parametrize(
    ("by", "expected"),
    [
        (None, [(4, 1 / 3, 20.0, 1 / 3)]),
        ("day", [("2026-01-01", 2, 0.5, 10.0, 1.0), ("2026-01-02", 2, 0.0, 25.0, 0.0)]),
        ("surface", [("feed", 3, 0.5, 20.0, 1 / 3), ("search", 1, 0.0, None, None)]),
    ],
)
def test_rates_are_of_known_labels(by, expected):
    table = rates(COUNTS, by)
    assert table.column_names[-4:] == ["impressions", "click_rate", "mean_watch_seconds", "satisfaction_rate"]
    assert [tuple(line.values()) for line in table.to_pylist()] == expected


def test_rates_of_nothing_are_unknown():
    nothing = merge_label_counts([])
    [line] = rates(nothing).to_pylist()
    assert line == {"impressions": 0, "click_rate": None, "mean_watch_seconds": None, "satisfaction_rate": None}
    assert rates(nothing, "day").num_rows == 0
