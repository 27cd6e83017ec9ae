"""The command `python -m benchmarks.census_trees`: gradient-boosted trees on the rows and columns of the Census study."""

import sys

from benchmarks.command import make_parser, run

if __name__ == "__main__":
    parser = make_parser("census_trees", __doc__, quick="10,000 rows, few trees")
    sys.exit(run("census_trees", parser.parse_args()))
