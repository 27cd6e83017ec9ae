"""The skew watch on answers of a running service: none where requests are as the log's, and a wrong unit is named."""

import subprocess

import grpc
import pytest

from serving.protos import ranker_pb2, ranker_pb2_grpc
from serving.ranker.messages import value_message
from serving.ranker.service import RankerServer
from tests.e2e.test_serving import records_of
from tests.unit.serving.ranker_calls import ask
from tests.unit.serving.test_request import decoded

NUM_REQUESTS = 150


@pytest.fixture(scope="module")
def shown_by_request(job):
    """Examples of the training rows by their request: who asked, from where, and what was shown."""
    shown = {}
    for record in records_of(job.artifact("LogExampleGen", "examples") / "Split-train").as_numpy_iterator():
        row = {name: values[0] for name, (_, values) in decoded(record).items() if values}
        shown.setdefault(row["request_id"], {})[row["item_id"]] = row
    # Rows of a user lie together: every so many requests are of all users.
    return dict(list(shown.items())[:: len(shown) // NUM_REQUESTS][:NUM_REQUESTS])


@pytest.fixture
def exposed(job, serving, shown_by_request, tmp_path):
    """Serves these requests, all answers logged with features, and gives back the pattern of the segments."""

    def serve(features_fn):
        ranker = serving.ranker.model_copy(update={"port": 0, "backends": (f"{serving.host}:{serving.port}",)})
        exposure = serving.exposure.model_copy(update={"feature_share": 1.0})
        config = serving.model_copy(update={"ranker": ranker, "exposure": exposure})
        server = RankerServer(config, job.config.features_folder, tmp_path)
        with grpc.insecure_channel(f"{serving.host}:{server.start()}") as channel:
            stub = ranker_pb2_grpc.RankerStub(channel)
            for request_id, rows in shown_by_request.items():
                user_id, surface = next((row["user_id"], row["surface"]) for row in rows.values())
                keys = {"context": {"surface": surface}, "features_by_item": features_fn(rows), "request_id": request_id}
                ask(stub, user_id, list(rows), timeout=30, **keys)
        server.stop()
        return f"{tmp_path}/exposures-*"

    return serve


def watched(job, pattern):
    process = job.start("skew", "--exposures", pattern, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    output, errors = process.communicate(timeout=120)
    assert errors == ""
    return process.returncode, output


def test_answers_to_requests_as_the_logs_show_no_skew(job, exposed, shown_by_request):
    exit_code, output = watched(job, exposed(lambda rows: {}))
    assert (exit_code, output.splitlines()[-1]) == (0, "No skew: none of 17 columns left its range")
    assert f"Served rows of version {job.versions[-1].name} against those that it was trained on" in output
    num_rows = sum(map(len, shown_by_request.values()))
    assert f"{num_rows:,} rows with features of " in output
    assert f"gave {NUM_REQUESTS} answers with {num_rows:,} items" in output
    assert "position is not compared: no request has it, and its default 1.0 stands in" in output
    assert "skewed" not in output


def test_a_feature_in_another_unit_is_named(job, exposed):
    def in_milliseconds(rows):
        values = {item_id: value_message(1_000 * row["duration_seconds"]) for item_id, row in rows.items()}
        return {"duration_seconds": ranker_pb2.ValueByItem(values=values)}

    exit_code, output = watched(job, exposed(in_milliseconds))
    assert exit_code == 1
    assert "duration_seconds has values beyond those of training, " in output
    # The bucket of the duration follows from it.
    assert output.splitlines()[-1] == "Skew: 2 of 17 columns left their range: length, duration_seconds"
