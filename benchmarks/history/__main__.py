"""The command `python -m benchmarks.history`: what features of the past bring to ranking on KuaiRand, seed by seed."""

import sys

from benchmarks.command import make_parser, run

if __name__ == "__main__":
    parser = make_parser("history", __doc__, quick="a small simulated feed, two seeds")
    parser.add_argument("--path", default="kuairand_pure", help="folder of KuaiRand-Pure's official CSV files")
    sys.exit(run("history", parser.parse_args()))
