"""The study of bodies and small towers on Census-Income KDD as a benchmark.

All choices were made on validation rows of the training file; the test file is read for the report alone.
"""

from benchmarks.census.records import TEST, TRAIN, VALIDATION, num_seen, read_splits, require_no_leak
from benchmarks.census.study import TRAINING, prepare, study, study_figures, study_table
from benchmarks.command import Found
from benchmarks.figures import PROJECT

PAGE = PROJECT / "docs" / "census.md"
SEEDS, QUICK_SEEDS = tuple(range(10)), (0, 1)
NUM_REPLICATES, QUICK_REPLICATES = 500, 20
QUICK_ROWS = 10_000
_PURPOSES = {TRAIN: "train", VALIDATION: "validate", TEST: "test"}
PACKAGES = ("numpy", "pyarrow", "scipy", "tensorflow", "tensorflow-transform")


def measure(options, folder, say):
    """Trains every contender and measures it on the test file.

    Args:
        options: with `quick`.
        folder: `pathlib.Path` for data on its way.
        say: called with what happens now.

    Returns:
        `Found`.

    Raises:
        PackageError: If the data cannot be had.
    """
    say("Reading ...")
    splits = read_splits()
    require_no_leak(splits[TRAIN], splits[TEST])
    say("Transforming ...")
    if options.quick:
        splits = {split: rows.slice(0, QUICK_ROWS) for split, rows in splits.items()}
        found = study(prepare(splits, folder), QUICK_SEEDS, say, QUICK_REPLICATES, {**TRAINING, "epochs": 1})
        return Found(f"{QUICK_ROWS:,} rows, one epoch", study_figures(found))
    found = study(prepare(splits, folder), SEEDS, say, NUM_REPLICATES)
    return Found("Census-Income KDD, test file", study_figures(found), page_text(found, splits))


def page_text(comparisons, splits):
    """The study as Markdown.

    Args:
        comparisons: list of `benchmarks.census.study.Comparison`.
        splits: as of `benchmarks.census.records.read_splits`.

    Returns:
        Text.
    """
    sizes = ", ".join(f"{splits[split].num_rows:,} rows {purpose}" for split, purpose in _PURPOSES.items())
    seen = num_seen(splits[TEST], splits[TRAIN])
    return (
        f"{sizes}; {seen:,} of the last are equal to a row that trains. Means of {len(comparisons[0].by_seed)} seeds "
        f"with 95% intervals:\n\n{study_table(comparisons)}"
    )
