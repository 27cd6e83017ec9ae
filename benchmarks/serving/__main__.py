"""The command `python -m benchmarks.serving`: latency and throughput of the model server and the ranker against the ceiling."""

import sys

from benchmarks.command import make_parser, run

if __name__ == "__main__":
    parser = make_parser("serving", __doc__, quick="a small ranker of simulated logs, every load for an instant")
    parser.add_argument("--path", default="kuairand_pure", help="folder of KuaiRand-Pure's official CSV files")
    parser.add_argument("--repeats", type=int, default=3, help="how often each contender is measured")
    sys.exit(run("serving", parser.parse_args()))
