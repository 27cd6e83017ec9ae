"""The contender that this project is: logs to tf.Examples through `data.run.run_ingestion`."""

import os

from benchmarks.ingest.written import TABLES_REPORT_SPILL, split_uris
from data.ingest import check_source
from data.run import run_ingestion as run_transform


def run_ingestion(config, folder, beam_args):
    """Counts of an ingestion whose outputs lie in one folder.

    Args:
        config: `DataConfig`.
        folder: where examples, tables, report and data on their way go.
        beam_args: flags of Beam.

    Returns:
        `data.counts.Counts`.

    Raises:
        DataError: If the logs cannot be read or hold nothing to train on or to evaluate on.
    """
    check_source(config)
    uris = [os.path.join(folder, name) for name in TABLES_REPORT_SPILL]
    return run_transform(config, split_uris(folder), *uris, beam_args)
