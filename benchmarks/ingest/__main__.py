"""The command `python -m benchmarks.ingest`: races ingestion against others, at several sizes, and writes the report."""

import sys

from benchmarks.command import make_parser, run

if __name__ == "__main__":
    parser = make_parser("ingest", __doc__, quick="50,000 impressions, once")
    parser.add_argument("--repeats", type=int, default=3, help="how often each contender runs")
    modes = ("in_memory", "multi_threading", "multi_processing")
    parser.add_argument("--mode", choices=modes, default="multi_threading", help="of Beam's runner, for ours")
    parser.add_argument("--folder", default=None, help="where logs and outputs go for the time being, about 12 GB")
    sys.exit(run("ingest", parser.parse_args()))
