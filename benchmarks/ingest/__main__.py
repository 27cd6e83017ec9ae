"""The command `python -m benchmarks.ingest`: races ingestion against others, at several sizes, and writes the report."""

import argparse
import dataclasses
import os
import sys
import tempfile

from rich.console import Console

from benchmarks.figures import print_figures, write_result
from benchmarks.ingest.contender import HISTORY, OURS
from benchmarks.ingest.race import BEAM_ARGS_BY_MODE, Race, fastest_mode, race_figures, scale_figures
from benchmarks.ingest.report import write_page

PACKAGES = ("apache-beam", "duckdb", "numpy", "pandas", "pyarrow", "tfx-bsl")
SIZES = (100_000, 1_000_000, 10_000_000)
RACE_IMPRESSIONS, SMALLER_IMPRESSIONS, TRIAL_IMPRESSIONS, QUICK_IMPRESSIONS = 1_000_000, 100_000, 20_000, 50_000
SEED = 0


def main(arguments):
    """Runs the race and prints its table; the full one writes the result, the page and the plot.

    Args:
        arguments: of the command line.

    Returns:
        0 if every target holds, else 1; 0 for a quick run, whose targets say nothing.
    """
    options = _parser().parse_args(arguments)
    console = Console()
    with tempfile.TemporaryDirectory(dir=options.folder) as folder, console.status("") as status:
        race = Race(folder, status.update, SEED)
        if options.quick:
            figures = race_figures(race, QUICK_IMPRESSIONS, 1, options.mode, "multi_threading", QUICK_IMPRESSIONS)
            points_by_name = {}
        else:
            row_mode = fastest_mode(race, TRIAL_IMPRESSIONS)
            figures = race_figures(race, RACE_IMPRESSIONS, options.repeats, options.mode, row_mode, SMALLER_IMPRESSIONS)
            points_by_name = {}
            for name in (OURS, HISTORY):
                of_scale, points_by_name[name] = scale_figures(race, name, SIZES, options.repeats, options.mode)
                figures |= of_scale
    if options.quick:
        figures = {name: dataclasses.replace(figure, at_least=None, at_most=None) for name, figure in figures.items()}
        print_figures(figures, f"{QUICK_IMPRESSIONS:,} impressions: too few to judge, nothing is written", console)
        return 0
    print_figures(figures, f"{RACE_IMPRESSIONS:,} impressions", console)
    command = " ".join(["python -m benchmarks.ingest", *arguments])
    path = write_result("ingest", figures, command, [SEED], PACKAGES)
    write_page(figures, points_by_name, command, f"{len(os.sched_getaffinity(0))} cores, Beam in {options.mode}")
    console.print(f"Written: {path}")
    return 1 if any(figure.holds is False for figure in figures.values()) else 0


def _parser():
    parser = argparse.ArgumentParser(prog="python -m benchmarks.ingest", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="50,000 impressions, once; writes nothing")
    parser.add_argument("--repeats", type=int, default=3, help="how often each contender runs")
    parser.add_argument("--mode", choices=BEAM_ARGS_BY_MODE, default="multi_threading", help="of Beam's runner, for ours")
    parser.add_argument("--folder", default=None, help="where logs and outputs go for the time being, about 12 GB")
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
