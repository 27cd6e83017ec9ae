"""From a pushed model to a ranking over a real socket; what is trained is what is served."""

import contextlib
import gzip
import json
import re
import signal
import socket
import subprocess

import numpy as np
import pytest
import tensorflow as tf

from data.columns import history_fields
from data.run import run_ingestion
from data.schema import EMPTY_HISTORY_FILE, LABELS
from pipeline.scoring import score
from serving.features.tables import FeatureTables
from serving.protos import ranker_pb2
from serving.ranker.client import Ranker
from serving.ranker.request import ExampleEncoder
from serving.ranker.service import RankerServer
from tests.e2e.offline_ranking import OTHER_ARITHMETIC, OfflineRanking, check_ranking, request_message
from tests.unit.serving.test_request import decoded

CONTEXT = {"surface": "search"}


@pytest.fixture
def start(job):
    """Starts subcommands in processes of their own; none outlives its test."""
    processes = []

    def start_command(command, *more):
        processes.append(job.start(command, *more, stdout=subprocess.PIPE, stderr=subprocess.PIPE))
        return processes[-1]

    yield start_command
    for process in processes:
        process.kill()
        process.communicate()


@pytest.fixture(scope="module")
def tables(job):
    return FeatureTables.load(str(job.config.features_folder))


def test_ranking_over_a_socket(serving, tables):
    user = tables.user_ids[0]
    with Ranker(serving, tables) as ranker:
        ranking = ranker.rank(user)
    assert ranking.is_known_user
    assert [item.score for item in ranking.items] == sorted((item.score for item in ranking.items), reverse=True)
    assert {item.item_id for item in ranking.items} == set(tables.item_ids)
    assert len({item.click for item in ranking.items}) > 10


def test_unknown_user_and_item_are_served_as_out_of_vocabulary(serving, tables):
    with Ranker(serving, tables) as ranker:
        ranking = ranker.rank("nobody", ["nothing", "i1"])
        again = ranker.rank("nobody else", ["nothing either"])
    assert not ranking.is_known_user
    assert {item.item_id: item.is_known for item in ranking.items} == {"nothing": False, "i1": True}
    [unknown] = [item for item in ranking.items if not item.is_known]
    assert unknown.click == pytest.approx(again.items[0].click, abs=1e-6)


def test_commands_serve_and_rank(job, start):
    """`serve` answers `rank`, and a SIGTERM ends it in order."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = f"serving.port={free.getsockname()[1]}"
    server = start("serve", "--set", port, "--set", "serving.ranker.port=0")
    line = server.stdout.readline()
    assert "Serving ranker on" in line
    address = re.search(r"rankings on (\S+:\d+);", line)[1]
    response = ranked_by_service(address, ranker_pb2.RankRequest(user_id="[/b]", candidates=["i1", "i2", "[x]"]))
    assert (len(response.items), response.is_known_user, response.num_unknown_items) == (3, False, 1)
    assert (response.is_degraded, response.arm) == (False, "default")
    client = start("rank", "--set", port, "--user", "[/b]", "--candidates", "i1, i2,[x]", "--top", "2")
    output, errors = client.communicate(timeout=120)
    assert (client.returncode, errors) == (0, "")
    assert "Ranking for user [/b] by version" in output
    assert "1 more candidates ranked below" in output
    server.send_signal(signal.SIGTERM)
    assert server.wait(timeout=60) == 0
    [segment] = (job.root / "exposures").glob("exposures-*.jsonl")
    assert [json.loads(row)["item_id"] for row in segment.read_text().splitlines()] == [item.item_id for item in response.items]


def test_a_process_that_serves_ranks_as_the_model_does_offline(job, start):
    """`serve` chooses its arithmetic by itself, this process that of a training."""
    server = start("serve", "--set", "serving.port=0", "--set", "serving.ranker.port=0")
    address = re.search(r"rankings on (\S+:\d+);", server.stdout.readline())[1]
    offline = OfflineRanking(job.config.features_folder, job.versions[-1])
    requests = list(offline.random_requests(50, seed=1))
    context = job.config.serving.context
    rows = [row for asked in requests for row in offline.rows({**asked, "context": {**context, **asked["context"]}})]
    predictions = zip(*(column.tolist() for column in offline.predictions(rows)), strict=True)
    for asked in requests:
        response = ranked_by_service(address, request_message(asked))
        check_ranking(response.items, dict(zip(asked["item_ids"], predictions, strict=False)), OTHER_ARITHMETIC)
    assert next(predictions, None) is None


def ranked_by_service(address, request):
    """The ranker service's answer."""
    import grpc

    from serving.protos import ranker_pb2_grpc

    with grpc.insecure_channel(address) as channel:
        return ranker_pb2_grpc.RankerStub(channel).Rank(request, timeout=30)


def predicted(serving, rows):
    """The model server's answer to serialized rows: (rows,) array by label."""
    import grpc
    from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

    request = predict_pb2.PredictRequest()
    request.model_spec.name = serving.model_name
    request.inputs["examples"].CopyFrom(tf.make_tensor_proto(rows))
    with grpc.insecure_channel(f"{serving.host}:{serving.port}") as channel:
        response = prediction_service_pb2_grpc.PredictionServiceStub(channel).Predict(request, timeout=30)
    return {label: tf.make_ndarray(response.outputs[label]) for label in LABELS}


def records_of(folder):
    files = sorted(str(path) for path in folder.glob("*.gz"))
    return tf.data.TFRecordDataset(files, compression_type="GZIP")


def test_served_scores_equal_the_offline_ones(job, serving):
    """The same raw rows through the model server and through the model in process."""
    folder = job.artifact("LogExampleGen", "examples") / "Split-eval"
    offline = score(job.versions[-1], folder, LABELS)
    served = predicted(serving, next(iter(records_of(folder).batch(200))))
    for label in LABELS:
        # A session of the server may order sums otherwise than a function: a few units in the last place of seconds.
        np.testing.assert_allclose(served[label], offline.predictions[label][:200], rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("place", ["over a socket", "in one process"])
def test_a_thousand_random_requests_are_the_offline_ranking(job, model_server, serving, tmp_path, place):
    """Through two services and the feature store, and through files and functions in this process."""
    import grpc

    from serving.protos import ranker_pb2_grpc

    offline = OfflineRanking(job.config.features_folder, job.versions[-1])
    requests, known_users = list(offline.random_requests(1_000, seed=0)), offline.ids[0]
    rows = [row for asked in requests for row in offline.rows({**asked, "context": {**serving.context, **asked["context"]}})]
    predictions = zip(*(column.tolist() for column in offline.predictions(rows)), strict=True)
    ranker = serving.ranker.model_copy(update={"port": 0, "backends": (f"{serving.host}:{serving.port}",)})
    models = model_server.local if place == "in one process" else None
    server = RankerServer(serving.model_copy(update={"ranker": ranker}), job.config.features_folder, tmp_path, models)
    with contextlib.ExitStack() as stack:
        stack.callback(server.stop)
        stub = ranker_pb2_grpc.RankerStub(stack.enter_context(grpc.insecure_channel(f"{serving.host}:{server.start()}")))
        for asked in requests:
            response = stub.Rank(request_message(asked), timeout=30)
            check_ranking(response.items, dict(zip(asked["item_ids"], predictions, strict=False)))
            assert (response.is_degraded, str(response.model_version)) == (False, job.versions[-1].name)
            assert response.is_known_user == (asked["user_id"] in known_users)
    assert next(predictions, None) is None


@pytest.fixture(scope="module")
def probes(job, logs, tables, tmp_path_factory):
    """Impressions as long after the log's end as its last event takes to be known, ingested together with the log.

    Gives the time of the probes in milliseconds and the written example by user and item.
    """
    config = job.config.data
    latest_ms = 0
    for log, name in (("impressions", "impressed_at"), ("engagements", "engaged_at")):
        with gzip.open(logs / f"{log}.jsonl.gz", "rt") as lines:
            latest_ms = max(latest_ms, *(json.loads(line)[name] for line in lines if line.startswith("{")))
    now_ms = latest_ms + round(config.history.delay_seconds * 1000) + 1
    pairs = [(user, item) for user in tables.user_ids[:3] for item in tables.item_ids[:20]]
    folder = tmp_path_factory.mktemp("probes")
    (folder / "impressions-log.jsonl.gz").symlink_to(logs / "impressions.jsonl.gz")
    with gzip.open(folder / "impressions-probes.jsonl.gz", "wt") as file:
        for user, item in pairs:
            keys = {"impression_id": f"probe of {user} and {item}", "user_id": user, "item_id": item}
            file.write(json.dumps({**keys, **CONTEXT, "impressed_at": now_ms}) + "\n")
    source = config.source.model_copy(update={"impressions": f"{folder}/impressions-*.jsonl.gz"})
    split_uris = {split: str(folder / split) for split in config.split.names}
    places = [str(folder / name) for name in ("tables", "report", "spill")]
    run_ingestion(config.model_copy(update={"source": source}), split_uris, *places)
    written = (record.numpy() for split in config.split.names for record in records_of(folder / split))
    by_id = {decoded(record)["impression_id"][1][0]: record for record in written}
    return now_ms, {pair: by_id["probe of {} and {}".format(*pair)] for pair in pairs}


def test_online_features_and_scores_are_those_that_ingestion_gives(job, serving, tables, probes):
    """What is known at the log's end: through the published tables and the ranker, and through the next ingestion."""
    now_ms, example_by_pair = probes
    names = ["length", *(field.name for field in history_fields(job.config.data.history))]
    told = [decoded(record) for record in example_by_pair.values()]
    assert all(len({str(columns[name]) for columns in told}) > 1 for name in names)
    for user in sorted({user for user, _ in example_by_pair}):
        items = [item for owner, item in example_by_pair if owner == user]
        written = [example_by_pair[user, item] for item in items]
        for record, sent in zip(written, ExampleEncoder(tables).encode(user, items, CONTEXT, {}, now_ms), strict=True):
            assert {name: decoded(record)[name] for name in names} == {name: decoded(sent)[name] for name in names}
        offline = predicted(serving, written)
        with Ranker(serving, tables) as ranker:
            ranked = {item.item_id: item for item in ranker.rank(user, items, CONTEXT, now_ms=now_ms).items}
        for label in LABELS:
            online = [getattr(ranked[item], label) for item in items]
            np.testing.assert_allclose(online, offline[label], rtol=1e-6, atol=1e-6)


def test_the_past_of_a_known_user_moves_the_ranking(job, serving, tables):
    empty = json.loads((job.config.features_folder / EMPTY_HISTORY_FILE).read_text())["user_history"]
    user, now_ms = tables.user_ids[0], 1_768_100_000_000
    assert tables.user(user)["user_history"] != empty
    with Ranker(serving, tables) as ranker:
        known, forgotten = (
            {item.item_id: item.click for item in ranker.rank(user, features=features, now_ms=now_ms).items}
            for features in ({}, {"user_history": empty})
        )
    assert max(abs(known[item] - forgotten[item]) for item in known) > 1e-3


def test_served_scores_equal_those_of_training(job):
    """The transformed rows through the trained layers and the raw rows through the served signature."""
    import tensorflow_transform as tft

    from models.inputs import table_sizes
    from models.ranker import MultiTaskRanker
    from models.rows import TransformedRows

    version = job.versions[-1]
    raw = score(version, job.artifact("LogExampleGen", "examples") / "Split-eval", LABELS)
    tft_output = tft.TFTransformOutput(str(job.artifact("Transform", "transform_graph")))
    config = job.config
    transformed = str(job.artifact("Transform", "transformed_examples") / "Split-eval" / "*.gz")
    rows = TransformedRows([transformed], tft_output.transformed_feature_spec())
    batches = [rows.columns(packed) for packed in rows.batches(1_000)]
    ranker = MultiTaskRanker(config.trained_model, table_sizes(config.trained_model, tft_output), seed=1)
    ranker(batches[0])
    trained = tf.saved_model.load(str(version)).model_variables
    assert len(trained) == len(ranker.served_variables)
    for mine, theirs in zip(ranker.served_variables, trained, strict=True):
        mine.assign(theirs)
    parts = [ranker(batch) for batch in batches]
    for label in LABELS:
        in_training = np.sort(np.concatenate([part[label].numpy() for part in parts]))
        # Transform may write rows in another order, so the two sets of scores are compared sorted.
        scale = np.maximum(1.0, np.abs(in_training))
        np.testing.assert_allclose(np.sort(raw.predictions[label]) / scale, in_training / scale, rtol=0, atol=1e-6)
