"""The jobs that studies of ranking run: KuaiRand's, or for a quick run the demo's on a small simulated feed."""

import pathlib

from benchmarks.figures import PROJECT
from data.simulator import simulate, write_feed
from pipeline.config import load

QUICK_IMPRESSIONS = 5_000


def studied_job(options, folder):
    """The job of a study, and what the table is about.

    Args:
        options: with `quick` and `path`.
        folder: `pathlib.Path` that simulated logs are written to.

    Returns:
        `pipeline.config.Config` and a title.
    """
    if options.quick:
        return quick_job(folder), f"{QUICK_IMPRESSIONS:,} simulated impressions"
    config = load(PROJECT / "configs" / "kuairand.toml", [f"data.source.path={options.path}"])
    return config, f"KuaiRand, {config.data.split.eval_from} to {config.data.split.eval_until}"


def quick_job(folder, num_impressions=QUICK_IMPRESSIONS):
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
