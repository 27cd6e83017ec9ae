"""The race of trainings as a benchmark.

Every contender trains the same multi-gate mixture of experts on the same rows: ours from TFRecords, peers from arrays in
memory, which is the fastest way that they document. The peers' environments are made at need; see
`benchmarks.training.environments`.
"""

import os

from benchmarks.command import Found, command_line
from benchmarks.figures import PROJECT, markdown_table, table_rows
from benchmarks.training.race import PEERS, Race, race_figures
from benchmarks.training.task import Task

PAGE = PROJECT / "docs" / "performance.md"
SEEDS = (0,)
PACKAGES = ("numpy", "pyarrow", "tensorflow", "tensorflow-recommenders", "tensorflow-transform", "tf-keras")
NUM_ROWS, QUICK_ROWS = 300_000, 20_000
NUM_PAIRS, QUICK_PAIRS = 40, 10
# Fewer columns are transformed sooner; several passes over few rows, for there must be something learned.
QUICK_TASK = Task(num_categories=6, num_numbers=2, epochs=6)


def measure(options, folder, say):
    """Runs every contender.

    Args:
        options: with `quick` and `repeats`.
        folder: `pathlib.Path` for rows.
        say: called with what happens now.

    Returns:
        `Found`.

    Raises:
        PackageError: If a peer cannot be had.
    """
    [seed] = SEEDS
    if options.quick:
        race = Race(folder, QUICK_TASK, QUICK_ROWS, seed, QUICK_PAIRS, say)
        return Found(f"{QUICK_ROWS:,} rows of few columns, without peers", race_figures(race, (), 1)[0])
    race = Race(folder, Task(), NUM_ROWS, seed, NUM_PAIRS, say)
    figures, versions = race_figures(race, PEERS, options.repeats)
    flags = ("--repeats", str(options.repeats))
    return Found(f"{NUM_ROWS:,} rows", figures, page_text(figures, versions, command_line("training", flags)), flags)


def page_text(figure_by_name, versions, command):
    """Figures as a table in Markdown, under what produced them.

    Args:
        figure_by_name: `Figure` by name.
        versions: of the peers' packages, by name.
        command: that produced the figures.

    Returns:
        Text.
    """
    table = markdown_table(["figure", "value", "repeats", "target", "holds"], table_rows(figure_by_name))
    peers = ", ".join(f"{name} {version}" for name, version in versions.items())
    return f"`{command}` on {len(os.sched_getaffinity(0))} cores, beside {peers}:\n\n{table}"
