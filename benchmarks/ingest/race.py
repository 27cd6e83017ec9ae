"""The race itself: contenders measured in turn, proof that they agree, and the same work at several sizes."""

import dataclasses
import json
import os
import shutil
import sys
import tempfile

from benchmarks.figures import PROJECT, Figure
from benchmarks.ingest.contender import HISTORY, NUM_WORKERS, OURS, ROWS, SQL
from benchmarks.ingest.task import comparable, data_config, totals
from benchmarks.ingest.written import read_written
from benchmarks.logs import log_files, write_logs
from benchmarks.processes import ProcessError, measure

CONTENDERS = (OURS, HISTORY, ROWS, SQL)
BEAM_ARGS_BY_MODE = {
    mode: [
        "--runner=FnApiRunner",
        f"--direct_num_workers={1 if mode == 'in_memory' else NUM_WORKERS}",
        f"--direct_running_mode={mode}",
    ]
    for mode in ("in_memory", "multi_threading", "multi_processing")
}
STARTUP_IMPRESSIONS = 1_000
TIMEOUT_SECONDS = 15 * 60
GIB = 1 << 30


@dataclasses.dataclass(frozen=True)
class Run:
    """One contender's run.

    Attributes:
        seconds: from the first look at the logs to the last file on disk.
        peak_bytes: most memory of all its processes.
    """

    seconds: float
    peak_bytes: int


class DisagreementError(Exception):
    """Contenders found different labels in the same logs."""


class Race:
    """Logs by size, made once, and contenders run on them.

    Args:
        folder: for logs and outputs.
        say: function of a text, called as work goes on.
        seed: of the logs.
    """

    def __init__(self, folder, say, seed=0):
        self._folder = folder
        self._say = say
        self._seed = seed
        self._sizes = set()

    def run(self, name, num_impressions, mode="multi_threading", read_totals=False):
        """Runs a contender once, in a fresh process.

        Args:
            name: one of `CONTENDERS`.
            num_impressions: size of the logs.
            mode: of Beam's local runner, key of `BEAM_ARGS_BY_MODE`.
            read_totals: whether to read what it wrote, after its time is taken.

        Returns:
            Pair (`Run`, totals of its labels or None).

        Raises:
            ProcessError: If it fails or takes longer than `TIMEOUT_SECONDS`.
        """
        logs = self._logs(num_impressions)
        self._say(f"{name}: {num_impressions:,} impressions, {mode}")
        out = tempfile.mkdtemp(dir=self._folder)
        command = [sys.executable, "-m", "benchmarks.ingest.contender", name, logs, str(num_impressions), out]
        try:
            measured = measure(command + BEAM_ARGS_BY_MODE[mode], TIMEOUT_SECONDS, PROJECT)
            run = Run(json.loads(measured.output.splitlines()[-1])["seconds"], measured.peak_bytes)
            return run, self.totals_of(name, num_impressions, out) if read_totals else None
        finally:
            shutil.rmtree(out)

    def totals_of(self, name, num_impressions, out):
        """Totals of the labels that a contender wrote.

        Args:
            name: one of `CONTENDERS`.
            num_impressions: size of its logs.
            out: its output folder.

        Returns:
            Dict of numbers as of `benchmarks.ingest.task.totals`.
        """
        config = data_config(log_files(self._logs(num_impressions), num_impressions), name == HISTORY)
        is_ours = name in (OURS, HISTORY)
        return totals(comparable(read_written(out, config if is_ours else None)))

    def _logs(self, num_impressions):
        folder = os.path.join(self._folder, f"logs-{num_impressions}")
        if num_impressions not in self._sizes:
            self._say(f"logs of {num_impressions:,} impressions")
            write_logs(folder, num_impressions, self._seed)
            self._sizes.add(num_impressions)
        return folder


def require_agreement(totals_by_name):
    """Demands that all contenders found the same labels.

    Args:
        totals_by_name: totals of labels by contender; at least one.

    Raises:
        DisagreementError: If any total differs.
    """
    (first, expected), *others = totals_by_name.items()
    for name, found in others:
        differing = {key: (expected[key], found[key]) for key in expected if expected[key] != found[key]}
        if differing:
            raise DisagreementError(f"{first} and {name} must find the same labels. Received: {differing}")


def fastest_mode(race, num_impressions):
    """Mode of Beam's local runner in which the row-at-a-time pipeline is fastest.

    Args:
        race: `Race`.
        num_impressions: size of the trial.

    Returns:
        Key of `BEAM_ARGS_BY_MODE`.
    """
    seconds_by_mode = {mode: race.run(ROWS, num_impressions, mode)[0].seconds for mode in BEAM_ARGS_BY_MODE}
    return min(seconds_by_mode, key=seconds_by_mode.get)


def race_figures(race, num_impressions, num_repeats, mode, row_mode, smaller_row_impressions):
    """Figures of all contenders on the same logs, run in turn.

    Args:
        race: `Race`.
        num_impressions: size of the logs.
        num_repeats: how often each runs but the row-at-a-time pipeline, which runs once.
        mode: of Beam's local runner for ours.
        row_mode: the same for the row-at-a-time pipeline.
        smaller_row_impressions: size at which the row-at-a-time pipeline is measured if it cannot do the whole in time.

    Returns:
        `Figure` by name.

    Raises:
        DisagreementError: If contenders find different labels.
        ProcessError: If a contender fails; the row-at-a-time pipeline may fail on the whole logs.
    """
    runs = {name: [] for name in CONTENDERS}
    totals_by_name, row_impressions = {}, num_impressions
    for repeat in range(num_repeats):
        for name in CONTENDERS:
            is_first = repeat == 0
            if name != ROWS:
                run, found = race.run(name, num_impressions, mode, read_totals=is_first)
            elif not is_first:
                # Minutes against seconds: the ratio does not hang on its repeats.
                continue
            else:
                try:
                    run, found = race.run(name, row_impressions, row_mode, read_totals=is_first)
                except ProcessError:
                    if row_impressions == smaller_row_impressions:
                        raise
                    row_impressions = smaller_row_impressions
                    run, found = race.run(name, row_impressions, row_mode)
            runs[name].append(run)
            if found is not None:
                totals_by_name[name] = found
    require_agreement(totals_by_name)
    return _figures(runs, num_impressions, row_impressions)


def _figures(runs, num_impressions, row_impressions):
    def rates(name, size=num_impressions):
        return [size / run.seconds for run in runs[name]]

    def ratios(numerators, denominators):
        return [first / second for first, second in zip(numerators, denominators, strict=True)]

    (row_rate,) = rates(ROWS, row_impressions)
    row_name = f"{ROWS}_impressions_per_s" + (f"_at_{row_impressions}" if row_impressions != num_impressions else "")
    figures = {
        "ours_impressions_per_s": Figure.of_repeats(rates(OURS), "1/s", at_least=100_000),
        "ours_with_history_impressions_per_s": Figure.of_repeats(rates(HISTORY), "1/s", at_least=50_000),
        row_name: Figure.of_repeats(rates(ROWS, row_impressions), "1/s"),
        "duckdb_impressions_per_s": Figure.of_repeats(rates(SQL), "1/s"),
        "speed_against_row_at_a_time": Figure.of_repeats([rate / row_rate for rate in rates(OURS)], "x", at_least=8),
        "time_against_duckdb": Figure.of_repeats(ratios(rates(SQL), rates(OURS)), "x", at_most=4),
    }
    for name in CONTENDERS:
        figures[f"{name}_peak_memory"] = Figure.of_repeats([run.peak_bytes / GIB for run in runs[name]], "GiB")
    return figures


def scale_figures(race, name, sizes, num_repeats, mode):
    """Figures of one contender at several sizes; the largest is run once.

    Cost per row is the time without that of a log of `STARTUP_IMPRESSIONS`, which is reported by itself.

    Args:
        race: `Race`.
        name: one of `CONTENDERS`.
        sizes: numbers of impressions, ascending.
        num_repeats: how often each but the largest runs.
        mode: of Beam's local runner.

    Returns:
        Pair (`Figure` by name, list of (impressions, raw seconds, microseconds an impression, peak GiB)).
    """
    startup = Figure.of_repeats([race.run(name, STARTUP_IMPRESSIONS, mode)[0].seconds for _ in range(num_repeats)], "s")
    figures = {f"{name}_startup": startup}
    points = []
    for size in sizes:
        runs = [race.run(name, size, mode)[0] for _ in range(1 if size == sizes[-1] else num_repeats)]
        costs_us = [(run.seconds - startup.value) / (size - STARTUP_IMPRESSIONS) * 1e6 for run in runs]
        seconds = Figure.of_repeats([run.seconds for run in runs], "s")
        cost = Figure.of_repeats(costs_us, "us an impression")
        peak = Figure.of_repeats([run.peak_bytes / GIB for run in runs], "GiB", at_most=4 if size == sizes[-1] else None)
        figures |= {f"{name}_seconds_at_{size}": seconds, f"{name}_cost_at_{size}": cost, f"{name}_peak_at_{size}": peak}
        points.append((size, seconds.value, cost.value, peak.value))
    costs = [cost for _, _, cost, _ in points]
    figures[f"{name}_spread_of_cost"] = Figure((max(costs) - min(costs)) / min(costs), "of the least", at_most=0.2)
    return figures, points
