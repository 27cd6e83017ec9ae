"""The command `python -m benchmarks.kuairand`: quality of ranking on KuaiRand by body, with and without small towers."""

import sys

from benchmarks.command import make_parser, run

if __name__ == "__main__":
    parser = make_parser("kuairand", __doc__, quick="a small simulated feed, two seeds")
    parser.add_argument("--path", default="kuairand_pure", help="folder of KuaiRand-Pure's official CSV files")
    sys.exit(run("kuairand", parser.parse_args()))
