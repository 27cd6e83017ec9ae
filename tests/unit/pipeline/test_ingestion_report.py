import io

import pyarrow as pa
import pytest
from rich.console import Console

from data.counts import Counts
from data.report import LABEL_COUNTS_SCHEMA
from pipeline.ingestion_report import fates, label_table


def line(day, surface, impressions=10, clicks=5.0, satisfaction_known=10):
    return {
        "day": day,
        "surface": surface,
        "impressions": impressions,
        "click_known": 10,
        "click_sum": clicks,
        "watch_seconds_known": 10,
        "watch_seconds_sum": 25.0,
        "satisfaction_known": satisfaction_known,
        "satisfaction_sum": 0.0,
    }


def printed(*tables):
    """Lines of the table as a person sees them, without the spaces between columns."""
    counts = [pa.Table.from_pylist(lines, schema=LABEL_COUNTS_SCHEMA) for lines in tables]
    console = Console(file=io.StringIO(), width=200)
    console.print(label_table(*counts))
    return [" ".join(text.split()) for text in console.file.getvalue().splitlines()]


def test_every_record_has_its_fate_and_every_dead_letter_its_reason():
    counts = Counts(
        impressions_read=1_010,
        impressions_train=1_000,
        impressions_sampled_out=10,
        engagements_read=3,
        engagements_dead_lettered=3,
        reasons={"engagements.not_json": 1, "engagements.unknown_kind": 2, "items.not_json": 9},
    )
    assert fates(counts) == [
        "1,010 impressions: 1,000 train, 10 sampled out",
        "3 engagements: 3 dead lettered (1 not json, 2 unknown kind)",
    ]


def test_rates_of_all_rows_by_surface_and_by_day():
    assert printed([line("2026-01-01", "feed"), line("2026-01-02", None, clicks=0.0, satisfaction_known=0)]) == [
        "Labels",
        "impressions clicked, % watch, s satisfied, %",
        "all rows 20 25.00 2.50 0.00",
        "surface feed 10 50.00 2.50 0.00",
        "surface unknown 10 0.00 2.50 -",
        "day 2026-01-01 10 50.00 2.50 0.00",
        "day 2026-01-02 10 0.00 2.50 -",
    ]


def test_change_against_the_previous_run_where_it_has_the_row():
    before = [line("2026-01-01", "feed", clicks=4.0, satisfaction_known=0)]
    now = [line("2026-01-01", "feed"), line("2026-01-02", "feed")]
    assert printed(now, before)[2:] == [
        "all rows 20 50.00 (+10.00) 2.50 (+0.00) 0.00",
        "surface feed 20 50.00 (+10.00) 2.50 (+0.00) 0.00",
        "day 2026-01-01 10 50.00 (+10.00) 2.50 (+0.00) 0.00",
        "day 2026-01-02 10 50.00 2.50 0.00",
    ]


def test_table_stays_in_view():
    lines = [line(f"2026-01-{day:02}", f"surface {day}", impressions=day) for day in range(1, 31)]
    shown = printed(lines)
    assert len(shown) == 12
    assert [text.split()[2] for text in shown[3:7]] == ["30", "29", "28", "27"]
    assert shown[-1].startswith("day 2026-01-30")


def test_no_rows_at_all():
    assert printed([])[2:] == ["all rows 0 - - -"]


@pytest.mark.parametrize("log", ["impressions", "engagements", "users", "items"])
def test_a_log_that_was_not_read_is_not_mentioned(log):
    assert fates(Counts()) == []
    assert len(fates(Counts(**{f"{log}_read": 1}))) == 1
