"""The command `python -m benchmarks.census`: shared bottom, MMoE and PLE with and without small towers, seed by seed.

All choices were made on validation rows of the training file; the test file is read for the report alone.
"""

import argparse
import pathlib
import sys
import tempfile

from rich.console import Console

from benchmarks.census.records import TEST, TRAIN, VALIDATION, num_seen, read_splits, require_no_leak
from benchmarks.census.study import BODIES, TRAINING, prepare, study, study_figures, study_table
from benchmarks.figures import PROJECT, print_figures, replace_block, write_result
from benchmarks.packages import PackageError

PAGE = PROJECT / "docs" / "census.md"
BLOCK = "benchmarks.census"
SEEDS, QUICK_SEEDS = tuple(range(10)), (0, 1)
NUM_REPLICATES, QUICK_REPLICATES = 500, 20
QUICK_ROWS = 10_000
PACKAGES = ("numpy", "pyarrow", "scipy", "tensorflow", "tensorflow-transform")


def main(arguments):
    """Runs the study and prints its table; the full one writes the result and the page.

    Args:
        arguments: of the command line.

    Returns:
        0 if every target holds, else 1; 0 for a quick run, whose targets say nothing; 2 if the data cannot be had.
    """
    options = _parser().parse_args(arguments)
    console = Console()
    try:
        splits = read_splits()
    except PackageError as error:
        console.print(str(error), style="red", markup=False)
        return 2
    require_no_leak(splits[TRAIN], splits[TEST])
    with tempfile.TemporaryDirectory() as folder, console.status("Transforming ...") as status:
        if options.quick:
            splits = {split: rows.slice(0, QUICK_ROWS) for split, rows in splits.items()}
            prepared = prepare(splits, pathlib.Path(folder))
            found = study(prepared, QUICK_SEEDS, status.update, QUICK_REPLICATES, {**TRAINING, "epochs": 1})
        else:
            prepared = prepare(splits, pathlib.Path(folder))
            found = study(prepared, SEEDS, status.update, NUM_REPLICATES)
    figures = study_figures(found)
    if options.quick:
        figures = {name: figure for name, figure in figures.items() if figure.target is None}
        print_figures(figures, f"{QUICK_ROWS:,} rows, one epoch: too few to judge, nothing is written", console)
        return 0
    print_figures(figures, "Census-Income KDD, test file", console)
    path = write_result("census", figures, "python -m benchmarks.census", list(SEEDS), PACKAGES)
    replace_block(PAGE, BLOCK, page_text(found, splits))
    console.print(f"Written: {path}")
    return 1 if any(figure.holds is False for figure in figures.values()) else 0


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


_PURPOSES = {TRAIN: "train", VALIDATION: "validate", TEST: "test"}


def _parser():
    parser = argparse.ArgumentParser(prog="python -m benchmarks.census", description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help=f"{len(BODIES)} bodies on 10,000 rows, two seeds; writes nothing")
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
