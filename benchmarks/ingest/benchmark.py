"""The race of ingestion as a benchmark: against others, and against itself at several sizes."""

import os

from benchmarks.command import Found, command_line
from benchmarks.ingest.contender import HISTORY, OURS
from benchmarks.ingest.race import Race, fastest_mode, race_figures, scale_figures
from benchmarks.ingest.report import PAGE as PAGE
from benchmarks.ingest.report import draw_scale, page_text

PACKAGES = ("apache-beam", "duckdb", "numpy", "pandas", "pyarrow", "tfx-bsl")
SIZES = (100_000, 1_000_000, 10_000_000)
RACE_IMPRESSIONS, SMALLER_IMPRESSIONS, TRIAL_IMPRESSIONS, QUICK_IMPRESSIONS = 1_000_000, 100_000, 20_000, 50_000
SEEDS = (0,)


def measure(options, folder, say):
    """Runs every contender; draws the plot of a full run.

    Args:
        options: with `quick`, `repeats` and `mode`.
        folder: `pathlib.Path` for logs and outputs.
        say: called with what happens now.

    Returns:
        `Found`.
    """
    [seed] = SEEDS
    race = Race(str(folder), say, seed)
    if options.quick:
        figures = race_figures(race, QUICK_IMPRESSIONS, 1, options.mode, "multi_threading", QUICK_IMPRESSIONS)
        return Found(f"{QUICK_IMPRESSIONS:,} impressions", figures)
    row_mode = fastest_mode(race, TRIAL_IMPRESSIONS)
    figures = race_figures(race, RACE_IMPRESSIONS, options.repeats, options.mode, row_mode, SMALLER_IMPRESSIONS)
    points_by_name = {}
    for name in (OURS, HISTORY):
        of_scale, points_by_name[name] = scale_figures(race, name, SIZES, options.repeats, options.mode)
        figures |= of_scale
    draw_scale(points_by_name)
    flags = ("--repeats", str(options.repeats), "--mode", options.mode)
    machine = f"{len(os.sched_getaffinity(0))} cores, Beam in {options.mode}"
    text = page_text(figures, points_by_name, command_line("ingest", flags), machine)
    return Found(f"{RACE_IMPRESSIONS:,} impressions", figures, text, flags)
