"""Rows of the race on disk: an .npz file for those who train on arrays, transformed TFRecords for the Trainer.

`python -m benchmarks.training.rows FOLDER NUM_ROWS SEED TASK` writes them and prints {"base_entropy": ...}, the loss of who
knows the labels' rates alone.
"""

import json
import pathlib
import sys

import numpy as np

from benchmarks.training.paths import arrays_path
from benchmarks.training.task import Task, as_table, base_entropy, random_columns
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


def main(arguments):
    """Writes rows.

    Args:
        arguments: folder, number of rows, seed, `Task` as JSON.
    """
    folder, num_rows, seed, task = arguments
    columns = write_rows(Task(**json.loads(task)), int(num_rows), int(seed), pathlib.Path(folder))
    print(json.dumps({"base_entropy": base_entropy(columns)}))


if __name__ == "__main__":
    main(sys.argv[1:])
