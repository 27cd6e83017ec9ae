"""The race itself: every contender in a process of its own, in turn, and what comes out as figures."""

import dataclasses
import json
import sys

import scipy.stats

from benchmarks.figures import PROJECT, Figure
from benchmarks.processes import measure
from benchmarks.training.environments import DEEPCTR, TORCH_RECHUB, peer_python
from benchmarks.training.paths import arrays_path

# What `benchmarks.training.product` measures.
END_TO_END, FROM_FILES, IN_MEMORY, SMALL_TOWERS = "end_to_end", "from_files", "in_memory", "small_towers"
DEEPCTR_XLA = "deepctr_xla"
PEERS = (DEEPCTR, DEEPCTR_XLA, TORCH_RECHUB)

LEAST_SHARE_OF_CEILING, LEAST_SPEED_AGAINST_PEERS, GREATEST_SMALL_TOWER_COST = 0.7, 2.0, 0.05
TIMEOUT_SECONDS = 30 * 60


class NothingLearnedError(Exception):
    """A contender's loss is no better than knowing the labels' rates: it cannot have trained as asked."""


@dataclasses.dataclass(frozen=True)
class Run:
    """One contender's training.

    Attributes:
        rows_per_second: over all epochs but the first.
        peak_bytes: most memory of all its processes.
        loss: mean over tasks in the last epoch.
        versions: of its packages, by name.
    """

    rows_per_second: float
    peak_bytes: int
    loss: float
    versions: dict


def parse_run(measured):
    """What a contender printed.

    Args:
        measured: `benchmarks.processes.Measured` whose last line is JSON: `seconds` by epoch, at least two, `rows` of an epoch,
            `loss` and, of a peer, `versions`.

    Returns:
        `Run`.

    Raises:
        ValueError: If it has but the epoch that warms up.
    """
    found = _printed(measured)
    _, *steady = found["seconds"]
    if not steady:
        raise ValueError(f"a contender must train at least two epochs, as the first warms up. Received: {found['seconds']}")
    rate = len(steady) * found["rows"] / sum(steady)
    return Run(rate, measured.peak_bytes, found["loss"], found.get("versions", {}))


def _printed(measured):
    """The last line of a process; libraries print before it."""
    return json.loads(measured.output.splitlines()[-1])


class Race:
    """Rows, made once, and contenders run on them.

    Args:
        folder: `pathlib.Path` for rows.
        task: `benchmarks.training.task.Task`.
        num_rows: of the data.
        seed: of the data.
        num_pairs: of blocks of steps with and without small towers, at least 6.
        say: function of a text, called as work goes on.

    Raises:
        ProcessError: If the rows cannot be written.
    """

    def __init__(self, folder, task, num_rows, seed, num_pairs, say):
        self._folder = folder
        self._task = json.dumps(dataclasses.asdict(task))
        self._num_pairs = num_pairs
        self._say = say
        say(f"{num_rows:,} rows ...")
        rows = [sys.executable, "-m", "benchmarks.training.rows", str(folder), str(num_rows), str(seed), self._task]
        self._base_entropy = _printed(measure(rows, TIMEOUT_SECONDS, PROJECT))["base_entropy"]

    def run(self, name):
        """Runs a contender once, in a fresh process.

        Args:
            name: `END_TO_END`, `FROM_FILES`, `IN_MEMORY` or one of `PEERS`.

        Returns:
            `Run`.

        Raises:
            NothingLearnedError: If its loss says that it did not train.
            ProcessError: If it fails or takes longer than `TIMEOUT_SECONDS`.
        """
        self._say(f"{name} ...")
        run = parse_run(measure(self._command(name), TIMEOUT_SECONDS, PROJECT))
        # A loss that is no number fails here too.
        if not run.loss < self._base_entropy:
            raise NothingLearnedError(
                f"the loss of {name} must be below {self._base_entropy:.4f}, that of the labels' rates. Received: {run.loss}"
            )
        return run

    def small_tower_costs(self):
        """Shares of a step that small towers cost, one a pair of blocks of steps.

        Returns:
            List of floats; 0.05 is a twentieth.

        Raises:
            ProcessError: If the measurement fails.
        """
        self._say(f"{SMALL_TOWERS} ...")
        measured = measure([*self._command(SMALL_TOWERS), str(self._num_pairs)], TIMEOUT_SECONDS, PROJECT)
        return [ratio - 1 for ratio in _printed(measured)["ratios"]]

    def _command(self, name):
        if name not in PEERS:
            return [sys.executable, "-m", "benchmarks.training.product", name, str(self._folder), self._task]
        peer, flags = (DEEPCTR, ["--compiled"]) if name == DEEPCTR_XLA else (name, [])
        script = PROJECT / "benchmarks" / "training" / "peers" / f"with_{peer}.py"
        # Their Keras is the newest, not ours.
        python = ["env", "-u", "TF_USE_LEGACY_KERAS", str(peer_python(peer))]
        return [*python, str(script), str(arrays_path(self._folder)), self._task, *flags]


def race_figures(race, peers, num_repeats):
    """Figures of all contenders, each repeat a run of each in turn.

    Args:
        race: `Race`.
        peers: those of `PEERS` that take part; none leaves their figures out.
        num_repeats: at least 1.

    Returns:
        Pair (`Figure` by name, versions of the peers' packages by name).
    """
    runs, costs = {name: [] for name in (END_TO_END, FROM_FILES, IN_MEMORY, *peers)}, []
    for _ in range(num_repeats):
        for name in runs:
            runs[name].append(race.run(name))
        costs += race.small_tower_costs()
    rates = {name: [run.rows_per_second for run in found] for name, found in runs.items()}
    shares = {
        name: [trained / ceiling for trained, ceiling in zip(rates[name], rates[IN_MEMORY], strict=True)]
        for name in (END_TO_END, FROM_FILES)
    }
    figures = {f"{name}_rows_per_s": Figure.of_repeats(rates[name], "1/s") for name in runs}
    figures["share_of_ceiling"] = Figure.of_repeats(shares[END_TO_END], "", at_least=LEAST_SHARE_OF_CEILING)
    figures["share_of_ceiling_from_files"] = Figure.of_repeats(shares[FROM_FILES], "")
    if peers:
        fastest = [max(of_repeat) for of_repeat in zip(*(rates[name] for name in peers), strict=True)]
        speeds = [trained / peer for trained, peer in zip(rates[END_TO_END], fastest, strict=True)]
        figures["speed_against_fastest_peer"] = Figure.of_repeats(speeds, "x", at_least=LEAST_SPEED_AGAINST_PEERS)
    figures |= small_tower_figures(costs)
    for name, found in runs.items():
        figures[f"{name}_loss"] = Figure.of_repeats([run.loss for run in found], "")
        figures[f"{name}_peak_memory"] = Figure.of_repeats([run.peak_bytes / (1 << 30) for run in found], "GiB")
    versions = {package: version for found in runs.values() for package, version in found[0].versions.items()}
    return figures, versions


def small_tower_figures(costs):
    """Median cost of small towers with its 95% interval.

    Args:
        costs: shares of a step, one a pair, at least six.

    Returns:
        Dict of `Figure`: the median, and both ends of its interval.

    Raises:
        ValueError: If there are too few pairs for an interval.
    """
    low, high = median_interval(costs)
    median = Figure.of_repeats(costs, "of a step", at_most=GREATEST_SMALL_TOWER_COST)
    return {
        "small_towers_cost": median,
        "small_towers_cost_at_least": Figure(low, "of a step"),
        "small_towers_cost_at_most": Figure(high, "of a step", at_most=GREATEST_SMALL_TOWER_COST),
    }


def median_interval(values):
    """95% interval of a median, whatever the distribution: other work on the machine makes outliers.

    Args:
        values: list of numbers, at least six.

    Returns:
        Pair (low, high) of two of the values.

    Raises:
        ValueError: If there are fewer than six, whose extremes hold the median with less than 95%.

    Reference:
        The number of values below the median is binomial, so the interval from the k-th smallest to the k-th largest value
        holds it with 1 - 2 P(B(n, 1/2) < k); Conover, "Practical Nonparametric Statistics", section 3.2.
    """
    # The least k with P(B <= k) of 2.5% or more is the greatest with P(B < k) below that.
    rank = int(scipy.stats.binom.ppf(0.025, len(values), 0.5))
    if rank < 1:
        raise ValueError(f"values must hold at least 6 numbers for an interval. Received: {len(values)}")
    ordered = sorted(values)
    return ordered[rank - 1], ordered[-rank]
