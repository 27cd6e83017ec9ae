"""Trees on the Census study's rows and columns, as a reference beside the rankers: no target, and no joint model.

Shapes: N rows, C columns.
"""

import numpy as np
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.metrics import roc_auc_score

from benchmarks.census.records import CATEGORIES, LABELS, NUMBERS, TEST, TRAIN, read_splits
from benchmarks.command import Found
from benchmarks.figures import PROJECT, Figure, markdown_table

PAGE = PROJECT / "docs" / "census.md"
SEEDS = (0,)
PACKAGES = ("numpy", "pyarrow", "scikit-learn")
QUICK_ROWS = 10_000
MAX_TREES, QUICK_TREES = 600, 20
# Nothing was searched: usual values, and as many trees as a tenth of the training rows wants.
SETTINGS = {
    "learning_rate": 0.05,
    "max_leaf_nodes": 31,
    "min_samples_leaf": 50,
    "l2_regularization": 1.0,
    "early_stopping": True,
    "validation_fraction": 0.1,
    "n_iter_no_change": 30,
}


def measure(options, folder, say):
    """Grows trees for each label and ranks the test rows by them.

    Args:
        options: with `quick`.
        folder: not written to.
        say: called with what happens now.

    Returns:
        `Found`.

    Raises:
        PackageError: If the data cannot be had.
    """
    say("Reading ...")
    splits = read_splits()
    if options.quick:
        splits = {split: rows.slice(0, QUICK_ROWS) for split, rows in splits.items()}
    codes = {name: _codes(splits[TRAIN][name]) for name in CATEGORIES}
    train_NC, test_NC = (columns(splits[split], codes) for split in (TRAIN, TEST))
    figures = {}
    for label in LABELS:
        say(f"Trees for {label} ...")
        truths = {split: np.asarray(splits[split][label]) for split in (TRAIN, TEST)}
        trees = HistGradientBoostingClassifier(
            **SETTINGS,
            max_iter=QUICK_TREES if options.quick else MAX_TREES,
            categorical_features=list(range(len(CATEGORIES))),
            random_state=SEEDS[0],
        ).fit(train_NC, truths[TRAIN])
        auc = roc_auc_score(truths[TEST], trees.predict_proba(test_NC)[:, 1])
        figures |= {f"{label} auc": Figure(float(auc), ""), f"{label} trees": Figure(trees.n_iter_, "")}
    title = f"{QUICK_ROWS:,} rows" if options.quick else "Census-Income KDD, test file"
    return Found(title, figures, page_text(figures))


def columns(rows, codes):
    """Columns of rows as numbers, categories first.

    Args:
        rows: `pyarrow.Table`.
        codes: by category column, number by value; a value without one is missing.

    Returns:
        (N, C) float64 with NaN for missing.
    """
    categories = [[codes[name].get(value, np.nan) for value in rows[name].to_pylist()] for name in CATEGORIES]
    return np.array([*categories, *(np.asarray(rows[name], np.float64) for name in NUMBERS)]).T


def page_text(figures):
    """AUC by label as a table in Markdown.

    Args:
        figures: `Figure` by name.

    Returns:
        Text.
    """
    rows = [[label.replace("_", " "), f"{figures[f'{label} auc'].value:.4f}"] for label in LABELS]
    return markdown_table(["label", "AUC of gradient-boosted trees"], rows)


def _codes(column):
    return {value: code for code, value in enumerate(sorted(set(column.to_pylist())))}
