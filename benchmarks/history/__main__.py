"""The command `python -m benchmarks.history`: what features of the past bring to ranking on KuaiRand, seed by seed.

The same ranker is trained without the past, without it in the form that suits that best, with the past as configured, and with
all of the past refreshed once a day. Gains are paired: by seed, and by user on the
same evaluation rows.
"""

import argparse
import pathlib
import sys
import tempfile

from rich.console import Console

from benchmarks.figures import PROJECT, print_figures, replace_block, write_result
from benchmarks.gains import CLICK_AUC_GAIN, gain_figures, gain_table, gains
from benchmarks.history.study import OTHER, SAME, WITH, WITHOUT, study
from data.simulator import simulate, write_feed
from pipeline.config import load

PAGE = PROJECT / "docs" / "history.md"
BLOCK = "benchmarks.history"
SEEDS, QUICK_SEEDS = (0, 1, 2, 3, 4), (0, 1)
NUM_REPLICATES, QUICK_REPLICATES = 500, 20
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
            config = quick_config(folder)
            scored = study(config, QUICK_SEEDS, folder, status.update, has_other_refresh=False)
            of_past = gains(scored[SAME], scored[WITH], config.model.tasks, QUICK_REPLICATES)
        else:
            config = load(PROJECT / "configs" / "kuairand.toml", [f"data.source.path={options.path}"])
            scored = study(config, SEEDS, folder, status.update)
            status.update("Intervals ...")
            of_past = gains(scored[SAME], scored[WITH], config.model.tasks, NUM_REPLICATES)
            of_best = gains(scored[WITHOUT], scored[WITH], config.model.tasks, NUM_REPLICATES)
            of_refresh = gains(scored[OTHER], scored[WITH], config.model.tasks, NUM_REPLICATES)
    figures = gain_figures("past", of_past, CLICK_AUC_GAIN)
    if options.quick:
        print_figures(figures, f"{QUICK_IMPRESSIONS:,} simulated impressions: too few to judge, nothing is written", console)
        return 0
    figures |= gain_figures("past_against_best_form", of_best) | gain_figures("refresh", of_refresh)
    split = config.data.split
    print_figures(figures, f"KuaiRand, {split.eval_from} to {split.eval_until}", console)
    path = write_result("history", figures, "python -m benchmarks.history", list(SEEDS), PACKAGES)
    replace_block(PAGE, BLOCK, page_text(of_past, of_best, of_refresh))
    console.print(f"Written: {path}")
    return 1 if any(figure.holds is False for figure in figures.values()) else 0


def page_text(of_past, of_best, of_refresh):
    """All comparisons as tables in Markdown.

    Args:
        of_past: `Gain`s of the past against the same ranker without it.
        of_best: `Gain`s of the past against a ranker without it in its best form.
        of_refresh: `Gain`s of the past as configured against all of it refreshed once a day.

    Returns:
        Text.
    """
    past = gain_table(of_past, "without the past", "with it")
    best = gain_table(of_best, "best form without the past", "with it")
    refresh = gain_table(of_refresh, "refreshed once a day", "as configured")
    seeds = len(of_past[0].by_seed)
    return (
        f"Means of {seeds} seeds, the past as configured, against the same ranker without it:\n\n{past}\n\n"
        f"Against a ranker without the past in the form that suits it best:\n\n{best}\n\n"
        f"The past as configured against all of it refreshed once a day:\n\n{refresh}"
    )


def quick_config(folder, num_impressions=QUICK_IMPRESSIONS):
    """The demo's job on a small simulated feed.

    Args:
        folder: `pathlib.Path` that the logs are written to.
        num_impressions: rows of the feed.

    Returns:
        `pipeline.config.Config` with a small body and one pass.
    """
    config = load(
        PROJECT / "configs" / "demo.toml",
        [f"data.simulator.num_impressions={num_impressions}", "model.body.units=[16]", "model.tower_units=[8]"],
    )
    write_feed(simulate(config.data.simulator), folder)
    logs = ("impressions", "engagements", "users", "items")
    moved = {log: str(folder / pathlib.Path(getattr(config.data.source, log)).name) for log in logs}
    data = config.data.model_copy(update={"source": config.data.source.model_copy(update=moved)})
    return config.model_copy(update={"data": data, "train": config.train.model_copy(update={"epochs": 1})})


def _parser():
    parser = argparse.ArgumentParser(prog="python -m benchmarks.history", description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a small simulated feed, two seeds; writes nothing")
    parser.add_argument("--path", default="kuairand_pure", help="folder of KuaiRand-Pure's official CSV files")
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
