"""Rows of the race on disk: an .npz file for those who train on arrays, transformed TFRecords for the Trainer."""

import numpy as np

from benchmarks.training.task import as_table, random_columns
from benchmarks.transformed import fit_transform, write_transformed

# As many as the Trainer reads at a time.
NUM_FILES = 4


def write_rows(task, num_rows, seed, folder):
    """Writes the rows in both forms, with the transform that was fitted to them.

    Args:
        task: `Task`.
        num_rows: at least as many as there are files.
        seed: of the rows.
        folder: `pathlib.Path`, made if missing.

    Returns:
        The columns, as of `benchmarks.training.task.random_columns`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    columns = random_columns(task, num_rows, seed)
    np.savez(arrays_path(folder), **columns)
    table = as_table(task, columns)
    tft_output = fit_transform(table, task.model_config(), folder)
    write_transformed(table, tft_output, folder / "rows", NUM_FILES)
    return columns


def arrays_path(folder):
    """Path of the rows as arrays.

    Args:
        folder: as of `write_rows`.

    Returns:
        `pathlib.Path`.
    """
    return folder / "columns.npz"


def rows_glob(folder):
    """Glob of the rows as transformed TFRecords.

    Args:
        folder: as of `write_rows`.

    Returns:
        Text.
    """
    return str(folder / "rows-*.gz")


def transform_folder(folder):
    """Folder of the transform.

    Args:
        folder: as of `write_rows`.

    Returns:
        `pathlib.Path`.
    """
    return folder / "output"
