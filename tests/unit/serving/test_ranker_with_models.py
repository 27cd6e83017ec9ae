"""The ranker before a real model server: versions that come, go and are broken, a process that is told to end."""

import shutil
import signal
import statistics
import subprocess
import sys
import threading
import time
from pathlib import Path

import grpc
import pytest
import tensorflow as tf

from data.schema import LABELS
from serving.config import ServingConfig
from serving.features.items import ItemSide
from serving.features.sqlite_store import publish_to_sqlite
from serving.model_server.config import ModelServerConfig
from serving.model_server.server import ModelServer
from serving.protos import ranker_pb2_grpc
from tests.conformance.model_server.calls import Calls
from tests.conformance.test_feature_stores import publication
from tests.conformance.tiny_model import example
from tests.unit.serving.ranker_calls import ITEM_IDS, ask, started_ranker
from tests.unit.serving.ranker_load import AFTER_THE_END, AGE_BY_USER, CANDIDATES, DEFAULT_AGE, USERS, Load, check_log

PROJECT = Path(__file__).parents[3]


def offline_predictions(folder):
    """What the SavedModel of a folder says in this process of every user with every candidate."""
    predict, told = tf.saved_model.load(str(folder)).signatures["serving_default"], {}
    for user_id in USERS:
        for has_user in (True, False):
            age = AGE_BY_USER.get(user_id, DEFAULT_AGE) if has_user else DEFAULT_AGE
            examples = [example(user_id=user_id, item_id=item_id, age=age) for item_id in CANDIDATES]
            outputs = predict(tf.constant(examples))
            rows = zip(*(outputs[label].numpy().tolist() for label in LABELS), strict=True)
            told |= {(user_id, item_id, has_user): row for item_id, row in zip(CANDIDATES, rows, strict=True)}
    return told


@pytest.fixture(scope="module")
def predict_fn(saved):
    """What a version must say: even numbers are copies of version 2, odd ones of version 1."""
    told = [offline_predictions(saved / number) for number in ("2", "1")]
    return lambda version, *asked: told[version % 2][asked]


@pytest.fixture
def put_version(saved, tmp_path):
    def put(number):
        shutil.copytree(saved / str(2 - number % 2), tmp_path / "models" / f"new-{number}")
        (tmp_path / "models" / f"new-{number}").rename(tmp_path / "models" / str(number))

    (tmp_path / "models").mkdir()
    put(1)
    return put


@pytest.fixture(params=["over a socket", "in one process"])
def ranker(request, config, put_version, tmp_path):
    """A model server and the ranker before it: the server, its address, and that of the model server."""
    models = ModelServer(config, tmp_path / "models")
    place = f"127.0.0.1:{models.start()}"
    asked = {"backends": [place]} if request.param == "over a socket" else {"models": models.local}
    server, port = started_ranker(tmp_path, **asked)
    yield server, f"127.0.0.1:{port}", place
    server.stop(0)
    models.stop(0)


@pytest.fixture
def config():
    server = ModelServerConfig(settle_seconds=0)
    return ServingConfig(port=0, poll_seconds=0.05, max_message_mib=1, max_workers=4, server=server)


def test_twenty_swaps_under_load_fail_and_degrade_no_answer(ranker, put_version, predict_fn, wait_until, tmp_path):
    server, address, place = ranker
    with grpc.insecure_channel(place) as channel, Load(address, predict_fn, pause_seconds=0.01) as load:
        calls = Calls(channel)
        for number in range(2, 22):
            put_version(number)
            wait_until(lambda number=number: load.failures or calls.states().get(number) == "AVAILABLE")
        seen = load.count()
        wait_until(lambda: load.failures or load.count() > seen + 100)
    server.stop()
    assert (load.failures, load.count()) == ({}, load.num_sent)
    assert {1, 21} <= load.versions <= set(range(1, 22))
    check_log(tmp_path / "exposures", load)


def test_a_corrupt_version_under_load_changes_nothing(ranker, saved, predict_fn, wait_until, tmp_path):
    server, address, place = ranker
    with grpc.insecure_channel(place) as channel, Load(address, predict_fn) as load:
        wait_until(lambda: load.count() > 100)
        shutil.copytree(saved / "2", tmp_path / "models" / "new")
        for file in (tmp_path / "models" / "new" / "variables").iterdir():
            file.write_bytes(file.read_bytes()[:-7])
        (tmp_path / "models" / "new").rename(tmp_path / "models" / "2")
        wait_until(lambda: Calls(channel).states().get(2) == "END")
        seen = load.count()
        wait_until(lambda: load.failures or load.count() > seen + 100)
    server.stop()
    assert (load.failures, load.count(), load.versions) == ({}, load.num_sent, {1})
    check_log(tmp_path / "exposures", load)


def test_first_requests_of_a_new_version_are_not_slow(ranker, put_version, wait_until):
    """The first still has the form of the version before; the second has had to learn that of the new one."""
    _, address, place = ranker
    item_ids = [*ITEM_IDS, *(f"x{number}" for number in range(50))]
    with grpc.insecure_channel(place) as models, grpc.insecure_channel(address) as channel:
        calls, stub = Calls(models), ranker_pb2_grpc.RankerStub(channel)

        def seconds(number):
            started_at = time.perf_counter()
            response = ask(stub, candidates=item_ids)
            assert response.model_version == number
            return time.perf_counter() - started_at

        ratios = []
        for number in range(2, 16, 2):
            put_version(number)
            wait_until(lambda number=number: calls.states().get(number) == "AVAILABLE")
            firsts = [seconds(number), seconds(number)]
            usual = statistics.median(seconds(number) for _ in range(50))
            ratios.append([each / usual for each in firsts])
    # What is not ready slows a version's first requests by 9 to 27 times, a busy machine a few of them by less.
    assert max(map(statistics.median, zip(*ratios, strict=True))) < 4, ratios


def test_the_first_requests_of_a_service_and_of_a_publication_find_items_ready(
    config, put_version, monkeypatch, wait_until, tmp_path
):
    put_version(2)
    models, readers = ModelServer(config, tmp_path / "models"), []
    models.start()
    server, port = started_ranker(tmp_path, models=models.local)
    item_values = ItemSide.item_values

    def noting(features, column):
        readers.append(threading.current_thread().name)
        return item_values(features, column)

    monkeypatch.setattr(ItemSide, "item_values", noting)
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        stub = ranker_pb2_grpc.RankerStub(channel)
        assert (ask(stub).model_version, readers) == (2, [])
        publish_to_sqlite(publication(publication().version + 1), tmp_path / "features.sqlite")
        wait_until(lambda: ask(stub).features_version > publication().version)
    assert set(readers) == {"features"}
    server.stop()
    models.stop()


_SERVE = """
import pathlib, signal, sys, threading
from serving.config import ServingConfig
from serving.model_server.server import ModelServer
from serving.ranker.service import RankerServer

folder = pathlib.Path(sys.argv[1])
config = ServingConfig(port=0, deadline_ms=5_000)
models = ModelServer(config, folder / "models")
models.start()
ranker = config.ranker.model_copy(update={"port": 0})
server = RankerServer(config.model_copy(update={"ranker": ranker}), folder, folder / "exposures", models.local)
has_been_told = threading.Event()
signal.signal(signal.SIGTERM, lambda *_: has_been_told.set())
print(server.start(), flush=True)
has_been_told.wait()
server.stop()
models.stop()
"""


def test_a_process_told_to_end_under_load_logs_all_that_it_gave(put_version, predict_fn, wait_until, tmp_path):
    publish_to_sqlite(publication(), tmp_path / "features.sqlite")
    command = [sys.executable, "-c", _SERVE, str(tmp_path)]
    with (
        subprocess.Popen(command, cwd=PROJECT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process,
        Load(f"127.0.0.1:{int(process.stdout.readline())}", predict_fn) as load,
    ):
        wait_until(lambda: load.count() > 200)
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(timeout=60)
        wait_until(lambda: load.failures)
    assert (process.returncode, "Traceback" in errors) == (0, False)
    assert load.statuses <= AFTER_THE_END
    assert (load.count(), load.versions) == (len(load.answers), {1})
    check_log(tmp_path / "exposures", load)
