"""Every contender on the same requests, in turn, and what comes out as figures."""

import contextlib
import dataclasses
import os
import statistics
from concurrent import futures

import numpy as np

from benchmarks.figures import Figure
from benchmarks.serving.artifact import draw_messages, publish_in_redis
from benchmarks.serving.load import Load, Requests
from benchmarks.serving.servers import running, running_redis

PREDICT = "/tensorflow.serving.PredictionService/Predict"
RANK = "/smalltowers.ranker.Ranker/Rank"
IN_PROCESS, SERVER, PLAIN, EXAMPLES = "in_process", "server", "plain_servicer", "server_examples"
RANKER_SQLITE, RANKER_REDIS = "ranker_sqlite", "ranker_redis"
CONTENDERS = (SERVER, EXAMPLES, PLAIN, RANKER_SQLITE, RANKER_REDIS)

CANDIDATES = (1, 100, 500)
LATENCY_CANDIDATES, THROUGHPUT_CANDIDATES = 500, 100
NUM_REQUESTS = 50
NUM_CLIENTS = 4
NUM_ROUNDS = 8
OPEN_SHARE = 0.5  # of what the server answered in a closed loop
MIB = 1 << 20

GREATEST_MEDIAN, GREATEST_TAIL, GREATEST_RANKER_MEDIAN = 1.3, 2.0, 2.0
LEAST_SIGNATURE_SPEED, LEAST_REQUEST_RATIO, LEAST_THROUGHPUT = 2.0, 5.0, 0.6


@dataclasses.dataclass(frozen=True)
class Plan:
    """What is measured.

    Attributes:
        closed_sizes: numbers of candidates that one client at a time asks with, of every contender.
        loaded_sizes: numbers of candidates under load.
        loaded: contenders under load.
    """

    closed_sizes: tuple
    loaded_sizes: tuple
    loaded: tuple

    @property
    def sizes(self):
        """All numbers of candidates."""
        return tuple(sorted({*self.closed_sizes, *self.loaded_sizes}))


WHOLE = Plan(CANDIDATES, CANDIDATES, (SERVER, PLAIN, RANKER_SQLITE, RANKER_REDIS))
# What has a target, and no more.
QUICK = Plan((LATENCY_CANDIDATES,), (THROUGHPUT_CANDIDATES,), (SERVER,))


class UnansweredError(Exception):
    """Requests failed: what the others took then says nothing."""


@dataclasses.dataclass(frozen=True)
class Measured:
    """One contender under one load.

    Attributes:
        p50_ms: median latency.
        p99_ms: 99th percentile.
        per_second: answered requests.
    """

    p50_ms: float
    p99_ms: float
    per_second: float

    @classmethod
    def of(cls, name, *loads):
        """Percentiles over all rounds.

        Args:
            name: of the contender.
            *loads: `Load` of each round.

        Returns:
            `Measured`.

        Raises:
            UnansweredError: If a request failed, or none was answered.
        """
        for load in loads:
            if load.num_failed or not load.seconds:
                raise UnansweredError(f"{name} must answer every request. Received: {load.num_failed or 'no answer'}")
        seconds = np.concatenate([load.seconds for load in loads])
        p50_ms, p99_ms = 1_000 * np.percentile(seconds, [50, 99])
        return cls(float(p50_ms), float(p99_ms), statistics.fmean(load.per_second for load in loads))


class Race:
    """Servers that run side by side, idle but for the one that is asked, and requests for each of them.

    Args:
        config: `pipeline.config.Config` of the job that is served.
        model_folder: of its SavedModel.
        folder: `pathlib.Path` for requests and logs.
        sizes: numbers of candidates.
        num_seconds: of each load.
        seed: of the requests.
        say: called with what happens now.
    """

    def __init__(self, config, model_folder, folder, sizes, num_seconds, seed, say):
        self._config, self._model_folder, self._folder = config, model_folder, folder
        self._sizes, self._num_seconds, self._seed, self._say = sizes, num_seconds, seed, say
        self._files, self._stack = {}, contextlib.ExitStack()
        self.servers, self.request_bytes = {}, {}

    def __enter__(self):
        self._say("Servers start ...")
        with contextlib.ExitStack() as stack:
            url = stack.enter_context(running_redis(self._folder))
            starting = {}
            for name, store in ((RANKER_SQLITE, "sqlite"), (RANKER_REDIS, "redis")):
                served = self._served(name, store, url)
                if store == "redis":
                    publish_in_redis(served)
                path = self._folder / f"{name}.json"
                path.write_text(served.model_dump_json())
                folder = self._folder / name
                folder.mkdir()
                module = "benchmarks.serving.product_server"
                starting[name] = running(module, [path], folder)
            starting[PLAIN] = running("benchmarks.serving.plain_server", [self._model_folder], self._folder)
            with futures.ThreadPoolExecutor(len(starting)) as pool:
                self.servers = dict(zip(starting, pool.map(stack.enter_context, starting.values()), strict=True))
            self._write_requests()
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_):
        self._stack.close()

    def _served(self, name, store, redis_url):
        serving = self._config.serving
        own = {
            "port": 0,
            "max_candidates": max(self._sizes),
            "features": serving.features.model_copy(update={"store": store, "redis_url": redis_url}),
            "ranker": serving.ranker.model_copy(update={"port": 0}),
            "exposure": serving.exposure.model_copy(update={"folder": str(self._folder / name / "exposures")}),
        }
        return self._config.model_copy(update={"serving": serving.model_copy(update=own)})

    def _write_requests(self):
        addresses = {
            name: {each: f"127.0.0.1:{port}" for each, port in server.ports.items()} for name, server in self.servers.items()
        }
        for count in self._sizes:
            drawn = draw_messages(self._config, self._model_folder, NUM_REQUESTS, count, self._seed)
            asked = {
                SERVER: Requests(addresses[RANKER_SQLITE]["model"], PREDICT, drawn.rank),
                EXAMPLES: Requests(addresses[RANKER_SQLITE]["model"], PREDICT, drawn.examples),
                PLAIN: Requests(addresses[PLAIN]["model"], PREDICT, drawn.rank),
                **{name: Requests(addresses[name]["ranker"], RANK, drawn.ranker) for name in (RANKER_SQLITE, RANKER_REDIS)},
            }
            for name, requests in asked.items():
                self._files[name, count] = self._folder / f"{name}_{count}.requests"
                requests.write(self._files[name, count])
            self.request_bytes[count] = {name: statistics.fmean(map(len, asked[name].messages)) for name in (SERVER, EXAMPLES)}

    def ceiling(self, num_candidates, num_threads=1, num_rounds=1):
        """The signature `rank` in a process of its own.

        Args:
            num_candidates: of each request.
            num_threads: that call.
            num_rounds: among which the seconds are parted.

        Returns:
            Context manager of a function without arguments that gives the `Load` of the next round.
        """
        path = self._files[SERVER, num_candidates]
        return self._rounds("in_process", [self._model_folder, num_threads, self._num_seconds / num_rounds, path])

    def load(self, name, num_candidates, mode="closed", amount=1, num_rounds=1):
        """A server under load.

        Args:
            name: of the contender.
            num_candidates: of each request.
            mode: "closed" or "open".
            amount: clients or requests a second.
            num_rounds: as of `ceiling`.

        Returns:
            As `ceiling`.
        """
        return self._rounds("load", [self._files[name, num_candidates], mode, amount, self._num_seconds / num_rounds])

    @contextlib.contextmanager
    def _rounds(self, module, arguments):
        with running(f"benchmarks.serving.{module}", arguments, self._folder) as client:
            yield lambda: Load(**client.ask())


def run_once(race, plan, say):
    """Every measurement once.

    Args:
        race: `Race` whose servers run.
        plan: `Plan`.
        say: called with what happens now.

    Returns:
        `Measured` by (contender, number of candidates, "closed", "busy" or "open").
    """
    found = {}
    for count in plan.closed_sizes:
        say(f"One client, candidates: {count} ...")
        found |= {(name, count, "closed"): each for name, each in _in_turns(race, count).items()}
    for count in plan.loaded_sizes:
        say(f"In process, all cores, candidates: {count} ...")
        found[IN_PROCESS, count, "busy"] = _at_once(IN_PROCESS, race.ceiling(count, len(os.sched_getaffinity(0))))
        for name in plan.loaded:
            say(f"{name} under load, candidates: {count} ...")
            busy = found[name, count, "busy"] = _at_once(name, race.load(name, count, "closed", NUM_CLIENTS))
            rate = round(OPEN_SHARE * busy.per_second, 1)
            found[name, count, "open"] = _at_once(name, race.load(name, count, "open", rate))
    return found


def _in_turns(race, count):
    """All contenders with one client each, round by round: a machine that others share changes its speed within seconds."""
    with contextlib.ExitStack() as stack:
        clients = {IN_PROCESS: race.ceiling(count, num_rounds=NUM_ROUNDS)}
        clients |= {name: race.load(name, count, num_rounds=NUM_ROUNDS) for name in CONTENDERS}
        ask_fns = {name: stack.enter_context(client) for name, client in clients.items()}
        loads = {name: [] for name in ask_fns}
        for _ in range(NUM_ROUNDS):
            for name, ask_fn in ask_fns.items():
                loads[name].append(ask_fn())
    return {name: Measured.of(name, *each) for name, each in loads.items()}


def _at_once(name, client):
    with client as ask_fn:
        return Measured.of(name, ask_fn())


def race_figures(race, plan, num_repeats, say):
    """Figures of all contenders over repeats.

    Args:
        race: `Race` whose servers run.
        plan: `Plan`.
        num_repeats: at least 1.
        say: as of `run_once`.

    Returns:
        Dict of `Figure` by name.
    """
    repeats = [run_once(race, plan, say) for _ in range(num_repeats)]
    figures = _target_figures(repeats, race.request_bytes)
    for name, count, load in repeats[0]:
        measured = [repeat[name, count, load] for repeat in repeats]
        title = f"{name}_{count}_{load}"
        figures[f"{title}_p50"] = Figure.of_repeats([each.p50_ms for each in measured], "ms")
        figures[f"{title}_p99"] = Figure.of_repeats([each.p99_ms for each in measured], "ms")
        figures[f"{title}_rate"] = Figure.of_repeats([each.per_second for each in measured], "1/s")
    for name, server in race.servers.items():
        figures[f"{name}_memory"] = Figure(server.bytes / MIB, "MiB")
    return figures


def _target_figures(repeats, request_bytes):
    def ratios(first, second, value):
        return [value(repeat[first]) / value(repeat[second]) for repeat in repeats]

    def p50(measured):
        return measured.p50_ms

    count = LATENCY_CANDIDATES
    ceiling, server = (IN_PROCESS, count, "closed"), (SERVER, count, "closed")
    busy = THROUGHPUT_CANDIDATES, "busy"
    sizes = request_bytes[count]
    ranker = {
        f"{name}_p50_over_ceiling": Figure.of_repeats(
            ratios((name, count, "closed"), ceiling, p50), "x", at_most=GREATEST_RANKER_MEDIAN
        )
        for name in (RANKER_SQLITE, RANKER_REDIS)
    }
    return {
        "server_p50_over_ceiling": Figure.of_repeats(ratios(server, ceiling, p50), "x", at_most=GREATEST_MEDIAN),
        "server_p99_over_ceiling": Figure.of_repeats(
            ratios(server, ceiling, lambda each: each.p99_ms), "x", at_most=GREATEST_TAIL
        ),
        "rank_speed_over_examples": Figure.of_repeats(
            ratios((EXAMPLES, count, "closed"), server, p50), "x", at_least=LEAST_SIGNATURE_SPEED
        ),
        "examples_bytes_over_rank": Figure(sizes[EXAMPLES] / sizes[SERVER], "x", at_least=LEAST_REQUEST_RATIO),
        **ranker,
        "server_rate_over_ceiling": Figure.of_repeats(
            ratios((SERVER, *busy), (IN_PROCESS, *busy), lambda each: each.per_second), "", at_least=LEAST_THROUGHPUT
        ),
        "server_p50_over_plain": Figure.of_repeats(ratios(server, (PLAIN, count, "closed"), p50), "x"),
    }
