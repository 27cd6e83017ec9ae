"""The command `python -m benchmarks.training`: races the Trainer against its own step and against peers, writes the report.

Every contender trains the same multi-gate mixture of experts on the same rows: ours from TFRecords, peers from arrays in
memory, which is the fastest way that they document. The peers' environments are made at need; see
`benchmarks.training.environments`.
"""

import argparse
import dataclasses
import os
import pathlib
import sys
import tempfile

from rich.console import Console

from benchmarks.figures import PROJECT, markdown_table, print_figures, replace_block, table_rows, write_result
from benchmarks.packages import PackageError
from benchmarks.training.race import PEERS, Race, race_figures
from benchmarks.training.task import Task

PAGE = PROJECT / "docs" / "performance.md"
BLOCK = "benchmarks.training"
PACKAGES = ("numpy", "pyarrow", "tensorflow", "tensorflow-recommenders", "tensorflow-transform", "tf-keras")
NUM_ROWS, QUICK_ROWS = 300_000, 20_000
NUM_PAIRS, QUICK_PAIRS = 40, 10
# Fewer columns are transformed sooner; several passes over few rows, for there must be something learned.
QUICK_TASK = Task(num_categories=6, num_numbers=2, epochs=6)
SEED = 0


def main(arguments):
    """Runs the race and prints its table; the full one writes the result and the page.

    Args:
        arguments: of the command line.

    Returns:
        0 if every target holds, else 1; 0 for a quick run, whose targets say nothing; 2 if a peer cannot be had.
    """
    options = _parser().parse_args(arguments)
    console = Console()
    try:
        with tempfile.TemporaryDirectory(dir=options.folder) as folder, console.status("") as status:
            if options.quick:
                race = Race(pathlib.Path(folder), QUICK_TASK, QUICK_ROWS, SEED, QUICK_PAIRS, status.update)
                figures, _ = race_figures(race, (), 1)
            else:
                race = Race(pathlib.Path(folder), Task(), NUM_ROWS, SEED, NUM_PAIRS, status.update)
                figures, versions = race_figures(race, PEERS, options.repeats)
    except PackageError as error:
        console.print(str(error), style="red", markup=False)
        return 2
    if options.quick:
        figures = {name: dataclasses.replace(figure, at_least=None, at_most=None) for name, figure in figures.items()}
        title = f"{QUICK_ROWS:,} rows of few columns, without peers: too few to judge, nothing is written"
        print_figures(figures, title, console)
        return 0
    print_figures(figures, f"{NUM_ROWS:,} rows", console)
    command = " ".join(["python -m benchmarks.training", *arguments])
    path = write_result("training", figures, command, [SEED], PACKAGES)
    replace_block(PAGE, BLOCK, page_text(figures, versions, command))
    console.print(f"Written: {path}")
    return 1 if any(figure.holds is False for figure in figures.values()) else 0


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


def _parser():
    parser = argparse.ArgumentParser(prog="python -m benchmarks.training", description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="20,000 rows of few columns, once, without peers; writes nothing")
    parser.add_argument("--repeats", type=int, default=3, help="how often each contender runs")
    parser.add_argument("--folder", default=None, help="where rows go for the time being, about 200 MB")
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
