import contextlib
import time
from concurrent import futures

import grpc
import pytest

from benchmarks.serving.load import Load, Requests, closed_loop, open_loop
from benchmarks.serving.race import (
    EXAMPLES,
    PLAIN,
    QUICK,
    RANKER_REDIS,
    RANKER_SQLITE,
    SERVER,
    WHOLE,
    Measured,
    UnansweredError,
    race_figures,
)

METHOD = "/test.Echo/Echo"


class Echo(grpc.GenericRpcHandler):
    """Answers with what came; refuses what says so."""

    def __init__(self):
        self.received = []

    def service(self, handler_call_details):
        return grpc.unary_unary_rpc_method_handler(self._answer) if handler_call_details.method == METHOD else None

    def _answer(self, request, context):
        self.received.append(request)
        if request == b"refuse":
            context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "as asked")
        if request == b"late":
            time.sleep(0.05)
        return request


@pytest.fixture
def echo():
    handler = Echo()
    server = grpc.server(futures.ThreadPoolExecutor(4))
    server.add_generic_rpc_handlers((handler,))
    handler.address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    server.start()
    yield handler
    server.stop(None).wait()


def test_requests_survive_the_file(tmp_path):
    requests = Requests("host:1", METHOD, [b"", b"a\nb", bytes(range(256))])
    requests.write(tmp_path / "requests")
    assert Requests.read(tmp_path / "requests") == requests


def test_closed_loop_asks_every_message_and_counts_all(echo):
    load = closed_loop(Requests(echo.address, METHOD, [b"a", b"b", b"c"]), 2, 0.2)
    assert set(echo.received) == {b"a", b"b", b"c"}
    assert len(load.seconds) == len(echo.received)
    assert load.num_failed == {}


def test_failed_requests_are_counted_by_status(echo):
    load = closed_loop(Requests(echo.address, METHOD, [b"refuse"]), 1, 0.1)
    assert load.seconds == []
    assert load.num_failed == {"RESOURCE_EXHAUSTED": len(echo.received)}


def test_open_loop_asks_as_often_as_told(echo):
    load = open_loop(Requests(echo.address, METHOD, [b"a", b"refuse"]), 100, 0.2)
    assert len(echo.received) == 20
    assert len(load.seconds) == 10
    assert load.num_failed == {"RESOURCE_EXHAUSTED": 10}


def test_waiting_for_ones_turn_counts_in_an_open_loop(echo):
    # Four threads answer 80 a second: of 40 requests at 400 a second the last waits for about .4 s.
    load = open_loop(Requests(echo.address, METHOD, [b"late"]), 400, 0.1)
    assert max(load.seconds) > 0.3


def test_percentiles_in_milliseconds():
    measured = Measured.of("any", Load([0.001] * 98 + [0.1, 0.1], {}, 12.0))
    assert measured.p50_ms == pytest.approx(1.0)
    assert measured.p99_ms == pytest.approx(100.0)
    assert measured.per_second == 12.0


@pytest.mark.parametrize("load", [Load([0.1], {"UNAVAILABLE": 1}, 1.0), Load([], {}, 0.0)])
def test_a_load_that_was_not_answered_is_no_measurement(load):
    with pytest.raises(UnansweredError, match="any must answer every request"):
        Measured.of("any", load)


class FakeRace:
    """Every load answered in as many milliseconds as its contender is told."""

    def __init__(self, plan, p50_ms):
        self.request_bytes = {count: {SERVER: 100.0, EXAMPLES: 600.0} for count in plan.sizes}
        self.servers = {}
        self._p50_ms = p50_ms

    def ceiling(self, num_candidates, num_threads=1, num_rounds=1):
        return self.load("in_process", num_candidates, num_rounds=num_rounds)

    def load(self, name, num_candidates, mode="closed", amount=1, num_rounds=1):
        seconds = self._p50_ms[name] / 1_000
        return contextlib.nullcontext(lambda: Load([seconds] * 5, {}, amount if mode == "open" else 1 / seconds))


@pytest.mark.parametrize(
    ("plan", "sizes", "num_figures"), [(WHOLE, (1, 100, 500), 8 + 3 * 3 * 15), (QUICK, (100, 500), 8 + 3 * 9)]
)
def test_figures_with_a_target_are_measured_by_every_plan(plan, sizes, num_figures):
    p50_ms = {"in_process": 4, SERVER: 5, EXAMPLES: 12, PLAIN: 10, RANKER_SQLITE: 9, RANKER_REDIS: 7}
    figures = race_figures(FakeRace(plan, p50_ms), plan, 2, lambda _: None)
    assert plan.sizes == sizes
    assert len(figures) == num_figures
    judged = {name: (pytest.approx(figure.value), figure.holds) for name, figure in figures.items() if figure.holds is not None}
    assert judged == {
        "server_p50_over_ceiling": (1.25, True),
        "server_p99_over_ceiling": (1.25, True),
        "rank_speed_over_examples": (2.4, True),
        "examples_bytes_over_rank": (6.0, True),
        "ranker_sqlite_p50_over_ceiling": (2.25, False),
        "ranker_redis_p50_over_ceiling": (1.75, True),
        "server_rate_over_ceiling": (0.8, True),
    }
