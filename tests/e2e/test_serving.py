"""From a pushed model to a ranking over a real socket; what is trained is what is served."""

import signal
import socket
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

from pipeline.scoring import score
from serving.features.tables import FeatureTables
from serving.model_server.server import ModelServer
from serving.ranker.client import Ranker
from tests.e2e.conftest import PROJECT

LABELS = ["click", "watch_seconds", "satisfaction"]


@pytest.fixture(scope="module")
def serving(job):
    server = ModelServer(job.config.serving.model_copy(update={"port": 0}), str(job.config.models_folder))
    port = server.start()
    yield job.config.serving.model_copy(update={"port": port})
    server.stop()


@pytest.fixture
def start(job):
    """Starts subcommands in processes of their own; none outlives its test."""
    processes = []

    def start_command(command, *more):
        script = "import sys; from pipeline.cli import main; sys.exit(main())"
        arguments = [sys.executable, "-c", script, *job.arguments(command, *more)]
        processes.append(subprocess.Popen(arguments, cwd=PROJECT, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE))
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
    server = start("serve", "--set", port)
    assert "Serving ranker on" in server.stdout.readline()
    client = start("rank", "--set", port, "--user", "[/b]", "--candidates", "i1, i2,[x]", "--top", "2")
    output, errors = client.communicate(timeout=120)
    assert (client.returncode, errors) == (0, "")
    assert "Ranking for user [/b] by version" in output
    assert "1 more candidates ranked below" in output
    server.send_signal(signal.SIGTERM)
    assert server.wait(timeout=60) == 0


def test_served_scores_equal_the_offline_ones(job, serving):
    """The same raw rows through the model server and through the model in process."""
    import grpc
    from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

    folder = job.artifact("LogExampleGen", "examples") / "Split-eval"
    offline = score(job.versions[-1], folder, LABELS)
    files = sorted(str(path) for path in folder.glob("*.gz"))
    rows = next(iter(tf.data.TFRecordDataset(files, compression_type="GZIP").batch(200)))
    request = predict_pb2.PredictRequest()
    request.model_spec.name = serving.model_name
    request.inputs["examples"].CopyFrom(tf.make_tensor_proto(rows))
    with grpc.insecure_channel(f"{serving.host}:{serving.port}") as channel:
        response = prediction_service_pb2_grpc.PredictionServiceStub(channel).Predict(request, timeout=30)
    for label in LABELS:
        served = tf.make_ndarray(response.outputs[label])
        np.testing.assert_allclose(served, offline.predictions[label][:200], rtol=0, atol=1e-6)


def test_served_scores_equal_those_of_training(job):
    """The transformed rows through the trained layers and the raw rows through the served signature."""
    import tensorflow_transform as tft

    from models.inputs import table_sizes
    from models.ranker import MultiTaskRanker
    from models.training import make_dataset

    version = job.versions[-1]
    raw = score(version, job.artifact("LogExampleGen", "examples") / "Split-eval", LABELS)
    tft_output = tft.TFTransformOutput(str(job.artifact("Transform", "transform_graph")))
    config = job.config
    transformed = str(job.artifact("Transform", "transformed_examples") / "Split-eval" / "*.gz")
    batches = make_dataset([transformed], tft_output.transformed_feature_spec(), config.train, shuffle=False)
    ranker = MultiTaskRanker(config.model, table_sizes(config.model, tft_output), seed=1)
    first = next(iter(batches))
    ranker(first)
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
