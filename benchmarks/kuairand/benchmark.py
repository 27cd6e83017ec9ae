"""The study of bodies and small towers on KuaiRand as a benchmark.

Every ranker reads the same impressions and columns, some with an older past, and is trained with the same seeds; what ends its
training and calibrates it is the last training day. No setting is chosen by the evaluation days.
"""

from benchmarks.command import Found
from benchmarks.figures import PROJECT
from benchmarks.gains import gain_figures
from benchmarks.jobs import studied_job
from benchmarks.kuairand.report import figures_of, gains_of, page_text, values_of
from benchmarks.kuairand.study import BODIES, TUNED, study

PAGE = PROJECT / "docs" / "quality.md"
SEEDS, QUICK_SEEDS = (0, 1, 2, 3, 4), (0, 1)
NUM_REPLICATES, QUICK_REPLICATES = 300, 20
PACKAGES = ("numpy", "pyarrow", "scipy", "tensorflow", "tensorflow-transform")


def measure(options, folder, say):
    """Trains every ranker and measures it on the evaluation days.

    Args:
        options: with `quick` and `path`.
        folder: `pathlib.Path` for data on its way.
        say: called with what happens now.

    Returns:
        `Found`.
    """
    config, title = studied_job(options, folder)
    bodies, seeds, num_replicates = tuple(BODIES), SEEDS, NUM_REPLICATES
    if options.quick:
        bodies, seeds, num_replicates = bodies[:1], QUICK_SEEDS, QUICK_REPLICATES
    tasks = config.model.tasks
    scored = study(config, seeds, folder / "rows", say, bodies, has_older=not options.quick)
    say("Intervals ...")
    values_by_name = {name: values_of([each.served for each in runs], tasks, num_replicates) for name, runs in scored.items()}
    plain = values_of([each.plain for each in scored[TUNED]], tasks, num_replicates)
    found = gains_of(scored, bodies, tasks, num_replicates)
    figures = figures_of(values_by_name, plain, values_by_name[TUNED])
    for comparison, gains in found.items():
        figures |= gain_figures(comparison.title, gains)
    return Found(title, figures, page_text(figures, values_by_name, found))
