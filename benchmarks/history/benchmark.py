"""The study of the past as a benchmark.

The same ranker is trained without the past, without it in the form that suits that best, with the past as configured, and with
all of the past refreshed once a day. Gains are paired: by seed, and by user on the same evaluation rows.
"""

from benchmarks.command import Found
from benchmarks.figures import PROJECT
from benchmarks.gains import CLICK_AUC_GAIN, gain_figures, gain_table, gains
from benchmarks.history.study import OTHER, SAME, WITH, WITHOUT, study
from benchmarks.jobs import studied_job

PAGE = PROJECT / "docs" / "history.md"
SEEDS, QUICK_SEEDS = (0, 1, 2, 3, 4), (0, 1)
NUM_REPLICATES, QUICK_REPLICATES = 500, 20
PACKAGES = ("numpy", "pyarrow", "scipy", "tensorflow", "tensorflow-transform")


def measure(options, folder, say):
    """Trains every ranker and compares it with the one that has the past.

    Args:
        options: with `quick` and `path`.
        folder: `pathlib.Path` for data on its way.
        say: called with what happens now.

    Returns:
        `Found`.
    """
    config, title = studied_job(options, folder)
    tasks = config.model.tasks
    if options.quick:
        scored = study(config, QUICK_SEEDS, folder, say, has_other_refresh=False)
        of_past = gains(scored[SAME], scored[WITH], tasks, QUICK_REPLICATES)
        return Found(title, gain_figures("past", of_past, CLICK_AUC_GAIN))
    scored = study(config, SEEDS, folder, say)
    say("Intervals ...")
    of_past, of_best, of_refresh = (
        gains(scored[before], scored[WITH], tasks, NUM_REPLICATES) for before in (SAME, WITHOUT, OTHER)
    )
    figures = gain_figures("past", of_past, CLICK_AUC_GAIN)
    figures |= gain_figures("past_against_best_form", of_best) | gain_figures("refresh", of_refresh)
    return Found(title, figures, page_text(of_past, of_best, of_refresh))


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
