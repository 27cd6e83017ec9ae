"""Callers of a ranker service that count: every request ends as a checked answer or as a failure with its status."""

import json
import pathlib
import random
import threading
import time

import grpc
import pyarrow.parquet as pq
import pytest

from serving.protos import ranker_pb2, ranker_pb2_grpc
from tests.unit.serving.fake_model_server import predicted
from tests.unit.serving.ranker_calls import ITEM_IDS, blended

USERS = ("u1", "u2", "nobody")
CANDIDATES = (*ITEM_IDS, "unheard")
AGE_BY_USER = {"u1": 30.5}
DEFAULT_AGE = 20.0
# From the most popular on; the one that nobody knows comes last.
BY_POPULARITY = ("i3", "i4", "i1", "i2", "unheard")
# gRPC itself cancels a call that is on its way in the very moment of the end.
AFTER_THE_END = {"UNAVAILABLE", "CANCELLED"}


def predicted_by_fake(version, user_id, item_id, is_known_user):
    """Click, watch time and satisfaction, as the fake model server makes them up."""
    return predicted(version, user_id, item_id, AGE_BY_USER.get(user_id, DEFAULT_AGE) if is_known_user else DEFAULT_AGE)


class Load:
    """Callers that ask without a pause until they are told to end; what they are answered is checked at once.

    Attributes:
        num_sent: requests until now.
        answers: response by request id.
        failures: (status, details) by request id.
        wrong: what of answers was not as it must be.
        longest_seconds: that an answer took.
        longest_refusal_seconds: that a failure took.
    """

    def __init__(self, address, predict_fn=predicted_by_fake, num_callers=3, timeout_seconds=20.0, pause_seconds=0.0, **keys):
        """Callers that do not ask yet.

        Args:
            address: `host:port`.
            predict_fn: function of (version, user id, item id, whether features of the user were found) that gives the three
                predictions.
            num_callers: threads.
            timeout_seconds: of a call.
            pause_seconds: of each caller between its calls, where something else needs the machine too.
            **keys: further fields of every `RankRequest`.
        """
        self.num_sent, self.answers, self.failures, self.wrong = 0, {}, {}, []
        self.longest_seconds = self.longest_refusal_seconds = 0.0
        self._predict_fn, self._keys = predict_fn, keys
        self._timeout_seconds, self._pause_seconds = timeout_seconds, pause_seconds
        self._has_ended = threading.Event()
        self._lock = threading.Lock()
        self._channel = grpc.insecure_channel(address, options=[("grpc.max_reconnect_backoff_ms", 200)])
        self._callers = [threading.Thread(target=self._ask, args=(number,)) for number in range(num_callers)]

    def __enter__(self):
        for caller in self._callers:
            caller.start()
        return self

    def __exit__(self, error, *_):
        self._has_ended.set()
        for caller in self._callers:
            caller.join()
        self._channel.close()
        if error is None:
            assert not self.wrong, self.wrong[0]
            assert self.num_sent == len(self.answers) + len(self.failures)

    def count(self, *degradations):
        """Answers until now with these degradations."""
        with self._lock:
            return sum(tuple(each.degradations) == degradations for each in self.answers.values())

    @property
    def statuses(self):
        """Statuses of the failures until now."""
        with self._lock:
            return {status for status, _ in self.failures.values()}

    @property
    def versions(self):
        """Model versions that answers until now name."""
        with self._lock:
            return {each.model_version for each in self.answers.values()}

    def _ask(self, caller):
        stub, chance, number = ranker_pb2_grpc.RankerStub(self._channel), random.Random(caller), 0
        while not self._has_ended.wait(self._pause_seconds):
            number += 1
            request = ranker_pb2.RankRequest(
                user_id=chance.choice(USERS),
                candidates=chance.sample(CANDIDATES, chance.randint(1, len(CANDIDATES))),
                request_id=f"{caller}-{number}",
                **self._keys,
            )
            with self._lock:
                self.num_sent += 1
            started_at = time.monotonic()
            try:
                response = stub.Rank(request, timeout=self._timeout_seconds)
            except grpc.RpcError as error:
                with self._lock:
                    self.failures[request.request_id] = error.code().name, error.details()
                    self.longest_refusal_seconds = max(self.longest_refusal_seconds, time.monotonic() - started_at)
                # Who is refused at once must not keep the machine busy with asking.
                self._has_ended.wait(0.005)
                continue
            seconds = time.monotonic() - started_at
            problem = self._problem(request, response)
            with self._lock:
                self.answers[request.request_id] = response
                self.longest_seconds = max(self.longest_seconds, seconds)
                if problem:
                    self.wrong.append(problem)

    def _problem(self, request, response):
        """What of an answer is not as the definition of the blend, or of the fallback, says; None if nothing is."""
        try:
            check_answer(request, response, self._predict_fn)
        except AssertionError as error:
            return f"{request} was answered {response}: {error}"
        return None


def check_answer(request, response, predict_fn):
    """Holds an answer to what the version that it names must say, or to the order of popularity."""
    degradations = set(response.degradations)
    has_user = ranker_pb2.UNKNOWN_USER not in degradations
    assert (response.request_id, response.is_degraded) == (request.request_id, bool(degradations))
    assert response.is_known_user == (has_user and request.user_id != "nobody")
    shown = [item.item_id for item in response.items]
    if ranker_pb2.POPULARITY in degradations:
        assert (response.model_version, shown) == (0, sorted(request.candidates, key=BY_POPULARITY.index))
        return
    rows = {item_id: predict_fn(response.model_version, request.user_id, item_id, has_user) for item_id in request.candidates}
    assert shown == sorted(rows, key=lambda item_id: (-blended(*rows[item_id]), item_id))
    for item in response.items:
        assert (item.click, item.watch_seconds, item.satisfaction) == pytest.approx(rows[item.item_id], rel=1e-6)
        assert item.score == pytest.approx(blended(*rows[item.item_id]), rel=1e-6)


def logged_rows(folder):
    """Rows of all closed segments."""
    rows = []
    for path in sorted(pathlib.Path(folder).glob("exposures-*")):
        # Of bytes: in text, more characters than the line feed would end a line.
        is_parquet = path.suffix == ".parquet"
        rows += pq.read_table(path).to_pylist() if is_parquet else map(json.loads, path.read_bytes().splitlines())
    return rows


def check_log(folder, load, may_be_logged=()):
    """Holds a closed exposure log to the answers of a load: all of them, and nothing else but what the test allows."""
    shown = {}
    for row in logged_rows(folder):
        shown.setdefault(row["request_id"], []).append((row["position"], row["item_id"]))
    given = {
        name: [(place, item.item_id) for place, item in enumerate(response.items, 1)] for name, response in load.answers.items()
    }
    assert {name: rows for name, rows in shown.items() if name not in may_be_logged} == given
