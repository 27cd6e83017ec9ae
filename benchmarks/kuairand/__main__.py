"""The command `python -m benchmarks.kuairand`: quality of ranking on KuaiRand by body, with and without small towers.

Every ranker reads the same rows and columns and is trained with the same seeds; what ends its training and calibrates it is
the last training day. Evaluation days are looked at once, here.
"""

import argparse
import pathlib
import sys
import tempfile

from rich.console import Console

from benchmarks.figures import PROJECT, print_figures, replace_block, write_result
from benchmarks.history.__main__ import quick_config
from benchmarks.kuairand.report import figures_of, gains_of_small_towers, page_text, values_of
from benchmarks.kuairand.study import BODIES, TUNED, study
from pipeline.config import load

PAGE = PROJECT / "docs" / "quality.md"
BLOCK = "benchmarks.kuairand"
SEEDS, QUICK_SEEDS = (0, 1, 2, 3, 4), (0, 1)
NUM_REPLICATES, QUICK_REPLICATES = 300, 20
QUICK_IMPRESSIONS = 5_000
PACKAGES = ("numpy", "pyarrow", "scipy", "tensorflow", "tensorflow-transform")


def main(arguments):
    """Runs the study and prints its table; the full one writes the result and the page.

    Args:
        arguments: of the command line.

    Returns:
        0 if every target holds, else 1; 0 for a quick run, whose targets say nothing.
    """
    options = _parser().parse_args(arguments)
    console = Console()
    with tempfile.TemporaryDirectory() as name, console.status("") as status:
        folder = pathlib.Path(name)
        if options.quick:
            config, bodies = quick_config(folder, QUICK_IMPRESSIONS), list(BODIES)[:1]
            seeds, num_replicates = QUICK_SEEDS, QUICK_REPLICATES
        else:
            config = load(PROJECT / "configs" / "kuairand.toml", [f"data.source.path={options.path}"])
            bodies, seeds, num_replicates = list(BODIES), SEEDS, NUM_REPLICATES
        tasks = config.model.tasks
        scored = study(config, seeds, folder / "rows", status.update, bodies, has_daily=not options.quick)
        status.update("Intervals ...")
        values_by_name = {
            name: values_of([each.served for each in runs], tasks, num_replicates) for name, runs in scored.items()
        }
        plain = values_of([each.plain for each in scored[TUNED]], tasks, num_replicates)
        of_small_towers = gains_of_small_towers(scored, bodies, tasks, num_replicates)
    figures = figures_of(values_by_name, plain, values_by_name[TUNED])
    if options.quick:
        print_figures(figures, f"{QUICK_IMPRESSIONS:,} simulated impressions: too few to judge, nothing is written", console)
        return 0
    split = config.data.split
    print_figures(figures, f"KuaiRand, {split.eval_from} to {split.eval_until}", console)
    path = write_result("kuairand", figures, "python -m benchmarks.kuairand", list(SEEDS), PACKAGES)
    replace_block(PAGE, BLOCK, page_text(values_by_name, of_small_towers))
    console.print(f"Written: {path}")
    return 1 if any(figure.holds is False for figure in figures.values()) else 0


def _parser():
    parser = argparse.ArgumentParser(prog="python -m benchmarks.kuairand", description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a small simulated feed, two seeds; writes nothing")
    parser.add_argument("--path", default="kuairand_pure", help="folder of KuaiRand-Pure's official CSV files")
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
