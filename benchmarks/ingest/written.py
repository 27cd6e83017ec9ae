"""Where contenders put their rows, and how to read them; without Beam, so that the one who judges starts at once."""

import os

import pyarrow.parquet as pq

from data.columns import labelled_schema
from data.examples import read_examples
from data.schema import EVAL_SPLIT, TRAIN_SPLIT

TABLES_REPORT_SPILL = ("tables", "report", "spill")


def split_uris(folder):
    """Folders of the examples.

    Args:
        folder: of a contender's output.

    Returns:
        Dict of paths by split.
    """
    return {split: os.path.join(folder, "examples", f"Split-{split}") for split in (TRAIN_SPLIT, EVAL_SPLIT)}


def read_written(folder, config=None):
    """Labelled rows that a contender wrote.

    Args:
        folder: its output.
        config: `DataConfig` of rows in tf.Examples; None for rows in Parquet files.

    Returns:
        `pyarrow.Table` with at least the columns of `benchmarks.ingest.task.comparable`.
    """
    if config is None:
        return pq.read_table(folder)
    paths = [entry.path for uri in split_uris(folder).values() for entry in os.scandir(uri)]
    return read_examples(sorted(paths), labelled_schema(config))
