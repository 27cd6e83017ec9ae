"""The command `python -m benchmarks.census`: shared bottom, MMoE and PLE with and without small towers, seed by seed."""

import sys

from benchmarks.command import make_parser, run

if __name__ == "__main__":
    parser = make_parser("census", __doc__, quick="all bodies on 10,000 rows, one epoch, two seeds")
    sys.exit(run("census", parser.parse_args()))
