"""The command `python -m benchmarks.training`: races the Trainer against its own step and against peers, writes the report."""

import sys

from benchmarks.command import make_parser, run

if __name__ == "__main__":
    parser = make_parser("training", __doc__, quick="20,000 rows of few columns, once, without peers")
    parser.add_argument("--repeats", type=int, default=3, help="how often each contender runs")
    parser.add_argument("--folder", default=None, help="where rows go for the time being, about 200 MB")
    sys.exit(run("training", parser.parse_args()))
