"""The race of servers as a benchmark: a trained ranker and its features, served, and asked by clients in other processes."""

import os

from benchmarks.command import Found
from benchmarks.figures import PROJECT, markdown_table, table_rows
from benchmarks.jobs import studied_job
from benchmarks.serving.artifact import make_artifact
from benchmarks.serving.race import CANDIDATES, QUICK, WHOLE, Race, race_figures
from benchmarks.serving.servers import redis_binary

PAGE = PROJECT / "docs" / "serving.md"
SEEDS = (0,)
PACKAGES = ("grpcio", "numpy", "protobuf", "redis", "tensorflow", "tensorflow-serving-api")
NUM_SECONDS, QUICK_SECONDS = 4.0, 0.3


def measure(options, folder, say):
    """Serves a job's ranker and asks it.

    Args:
        options: with `quick`, `path` and `repeats`.
        folder: `pathlib.Path` for everything that is written.
        say: called with what happens now.

    Returns:
        `Found`.

    Raises:
        PackageError: If `redis-server` is not installed.
    """
    redis_binary()
    config, title = studied_job(options, folder)
    config = config.model_copy(update={"job": config.job.model_copy(update={"root": str(folder / "job")})})
    say("Ranker and features ...")
    model_folder = make_artifact(config, folder)
    plan, num_seconds, num_repeats = (QUICK, QUICK_SECONDS, 1) if options.quick else (WHOLE, NUM_SECONDS, options.repeats)
    with Race(config, model_folder, folder, plan.sizes, num_seconds, SEEDS[0], say) as race:
        figures = race_figures(race, plan, num_repeats, say)
    return Found(title, figures, page_text(figures), ("--repeats", str(options.repeats)))


def page_text(figures):
    """Figures as tables in Markdown: what was promised, and what it rests on.

    Args:
        figures: `Figure` by name.

    Returns:
        Text.
    """
    targets = {name: figure for name, figure in figures.items() if "_over_" in name}
    rests = {name: figure for name, figure in figures.items() if name not in targets}
    tables = [markdown_table(["figure", "value", "repeats", "target", "holds"], table_rows(targets))]
    tables.append(markdown_table(["figure", "value", "repeats"], [row[:3] for row in table_rows(rests)]))
    numbers = ", ".join(map(str, CANDIDATES))
    return f"{numbers} candidates, {len(os.sched_getaffinity(0))} cores for servers and clients together:\n\n" + "\n\n".join(
        tables
    )
