"""One contender, once, in a process of its own: `python -m benchmarks.ingest.contender NAME LOGS NUM OUT [BEAM FLAGS]`.

Prints {"seconds": ...}, the time from the first look at the logs to the last file on disk; imports come before.
"""

import json
import sys
import time

from benchmarks.ingest.task import data_config
from benchmarks.logs import log_files

OURS, HISTORY, ROWS, SQL = "ours", "ours_with_history", "row_at_a_time", "duckdb"
NUM_WORKERS = 2


def load(name):
    """The function that does a contender's work, with all that it imports.

    Args:
        name: one of the constants of this module.

    Returns:
        Function of (`DataConfig`, output folder, flags of Beam).

    Raises:
        ValueError: If there is no such contender.
    """
    if name in (OURS, HISTORY):
        from benchmarks.ingest.product import run_ingestion

        return run_ingestion
    if name == ROWS:
        from benchmarks.ingest.row_at_a_time import run_rows

        return run_rows
    if name == SQL:
        from benchmarks.ingest.sql import run_sql

        return lambda config, folder, beam_args: run_sql(config, folder, NUM_WORKERS)
    raise ValueError(f"name must be one of {OURS}, {HISTORY}, {ROWS}, {SQL}. Received: {name}")


def main(arguments):
    """Runs a contender and prints how long it took.

    Args:
        arguments: name, folder of the logs, number of impressions, output folder, flags of Beam.
    """
    name, logs_folder, num_impressions, folder, *beam_args = arguments
    work = load(name)
    config = data_config(log_files(logs_folder, int(num_impressions)), has_history=name == HISTORY)
    begun = time.perf_counter()
    work(config, folder, beam_args)
    print(json.dumps({"seconds": time.perf_counter() - begun}))


if __name__ == "__main__":
    main(sys.argv[1:])
