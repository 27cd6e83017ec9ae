"""The features of answers in the exposure log: as the model saw them, of a share of the answers, and read back."""

import base64
import dataclasses
import json
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serving.errors import ExposureLogError, FeatureValueError
from serving.exposure.config import ExposureConfig
from serving.exposure.log import ExposureLog
from serving.exposure.reading import closed_segments, segment_rows
from serving.exposure.record import exposure_lines
from serving.ranker.answering import Answer
from serving.ranker.backend import Asked
from tests.unit.serving.exposures import exposure
from tests.unit.serving.fake_model_server import FakeModelServer
from tests.unit.serving.ranker_calls import ITEM_IDS, ask, logged
from tests.unit.serving.test_ranker_service import serve  # noqa: F401, a fixture
from tests.unit.serving.test_request import decoded


class RecordingModelServer(FakeModelServer):
    """Keeps the examples that it was asked about."""

    def __init__(self, version_by_label):
        super().__init__(version_by_label)
        self.examples = []

    def Predict(self, request, context):  # noqa: N802
        self.examples += request.inputs["examples"].string_val
        return super().Predict(request, context)


@pytest.fixture
def models():
    servers = [RecordingModelServer({None: 7, "stable": 6}).start()]
    yield servers
    servers[0].stop()


def test_the_log_holds_the_examples_that_the_model_was_asked(serve, models, tmp_path):  # noqa: F811
    server, stub = serve(exposure={"sync_seconds": 0.01, "feature_share": 1}, context={"surface": "feed"})
    wanted = {}
    for request_id, keys in {
        "plain": {},
        "overridden": {"features": {"age": 55.0, "num_likes": 3}, "context": {"hour": 7}, "k": 2},
        "unknown": {"user_id": "nobody", "candidates": ["unheard", "i2"]},
    }.items():
        models[0].examples.clear()
        response = ask(stub, request_id=request_id, **keys)
        sent = {decoded(example)["item_id"][1][0]: example for example in models[0].examples}
        assert set(sent) == set(keys.get("candidates", ITEM_IDS))
        wanted[request_id] = [decoded(sent[item.item_id]) for item in response.items]
    rows = logged(tmp_path, server)
    assert {
        request_id: [decoded(base64.b64decode(row["served_features"])) for row in of_request]
        for request_id, of_request in rows.items()
    } == wanted
    assert [example["age"][1] for example in wanted["overridden"]] == [[55.0], [55.0]]


def test_a_share_of_the_answers_is_chosen_by_their_names_alone(serve, tmp_path):  # noqa: F811
    server, stub = serve(exposure={"sync_seconds": 0.01, "feature_share": 0.25})
    names = [f"request {number}" for number in range(120)]
    for name in names:
        ask(stub, request_id=name, k=2)
    rows = logged(tmp_path, server)
    are_logged = {name: [row.get("served_features") is not None for row in rows[name]] for name in names}
    assert all(len(set(each)) == 1 for each in are_logged.values())
    chosen = {name for name, each in are_logged.items() if each[0]}
    # Binomial of 120 and 1/4: mean 30, standard deviation 4.7.
    assert 12 <= len(chosen) <= 48
    again, stub = serve(exposure={"sync_seconds": 0.01, "feature_share": 0.5})
    for name in names:
        ask(stub, request_id=name, user_id="u2", k=2)
    of_more = {name for name, of_request in logged(tmp_path, again).items() if "served_features" in of_request[-1]}
    # A greater share adds answers and takes none away, whoever asks.
    assert chosen < of_more


def test_nothing_is_encoded_for_answers_that_are_not_chosen(serve, tmp_path, monkeypatch):  # noqa: F811
    server, stub = serve(exposure={"sync_seconds": 0.01, "feature_share": 0})
    ask(stub, request_id="first")
    encoders = server.answering._reading.encoders
    monkeypatch.setattr(encoders.examples, "encode", lambda *_: pytest.fail("encoded"))
    server.answering._served_examples(server.answering._reading, response_of("any"), ASKED)
    assert all("served_features" not in row for row in logged(tmp_path, server)["first"])


ASKED = Asked("u1", [], {}, {}, 0)


def response_of(request_id):
    return Answer(request_id, exposure(num_items=0).items, (), "default", 7, 1, (), True, 0)


def test_features_that_are_no_example_cost_no_answer(serve, tmp_path, monkeypatch):  # noqa: F811
    """A model with the signature `rank` never sees a column that it does not read."""
    server, stub = serve(exposure={"sync_seconds": 0.01, "feature_share": 1})
    ask(stub, request_id="first")
    encoder = server.answering._reading.encoders.examples

    def refuse(*_):
        raise FeatureValueError("feature mood must be a string or a number")

    monkeypatch.setattr(encoder, "encode", refuse)
    assert server.answering._served_examples(server.answering._reading, response_of("any"), ASKED) == ()
    assert server.answering.counts()["features_not_logged"] == 1
    assert all("served_features" in row for row in logged(tmp_path, server)["first"])


def test_an_answer_without_a_model_has_no_features(serve, models, tmp_path):  # noqa: F811
    models[0].failing = dict.fromkeys((None, "stable"), "UNAVAILABLE")
    server, stub = serve(exposure={"sync_seconds": 0.01, "feature_share": 1})
    assert ask(stub, request_id="popular").is_degraded
    assert all("served_features" not in row for row in logged(tmp_path, server)["popular"])


def test_rows_with_and_without_examples_share_a_segment():
    plain, sampled = exposure("plain"), dataclasses.replace(exposure("sampled"), examples=(b"", b'\x00"\xff'))
    rows = [json.loads(line) for line in exposure_lines(plain, sampled, plain).splitlines()]
    assert [row.get("served_features") for row in rows] == [
        None,
        None,
        None,
        base64.b64encode(b'\x00"\xff').decode(),
        None,
        None,
    ]
    assert exposure_lines(plain, sampled) == exposure_lines(plain) + exposure_lines(sampled)


@settings(deadline=None, max_examples=30)
@given(st.lists(st.binary(min_size=1, max_size=300), min_size=1, max_size=5))
def test_examples_come_back_as_they_were(examples):
    answer = dataclasses.replace(exposure(num_items=len(examples)), examples=tuple(examples))
    rows = [json.loads(line) for line in exposure_lines(answer).splitlines()]
    assert [base64.b64decode(row["served_features"]) for row in rows] == examples


COLUMNS = ["request_id", "position", "is_degraded", "predicted_click", "served_features"]


@pytest.mark.parametrize("file_format", ["jsonl", "parquet"])
def test_closed_segments_are_read_back(tmp_path, file_format):
    log = ExposureLog(ExposureConfig(format=file_format, segment_records=1, sync_seconds=0), tmp_path)
    for number in range(3):
        answer = exposure(f"r{number}", hour=number)
        log.append(dataclasses.replace(answer, examples=(b"one", b"two") if number == 1 else ()), 1.0)
    log.close()
    open_log = ExposureLog(ExposureConfig(sync_seconds=0), tmp_path)
    open_log.append(exposure("still open"), 1.0)
    paths = closed_segments(f"{tmp_path}/*")
    assert len(paths) == 3
    rows = [row for path in paths for row in segment_rows(path, COLUMNS).to_pylist()]
    open_log.close()
    assert [(row["request_id"], row["position"]) for row in rows] == [(f"r{n}", p) for n in range(3) for p in (1, 2)]
    assert [row["served_features"] for row in rows] == [None, None, "b25l", "dHdv", None, None]
    assert {(row["is_degraded"], row["predicted_click"]) for row in rows} == {(False, 0.5)}


def test_a_segment_of_earlier_times_lacks_the_column(tmp_path):
    line = {"request_id": "r", "position": 1, "is_degraded": True, "predicted_click": math.pi, "score": [1]}
    (tmp_path / "exposures-1.jsonl").write_text(json.dumps(line) + "\n")
    table = segment_rows(tmp_path / "exposures-1.jsonl", COLUMNS)
    assert table.to_pylist() == [{**{name: line.get(name) for name in COLUMNS}}]


@pytest.mark.parametrize("name", ["exposures-1.jsonl", "exposures-1.parquet"])
def test_what_is_no_segment_is_named(tmp_path, name):
    with pytest.raises(ExposureLogError, match=r"must lie at .*\*\. Received: none. A segment is closed by serving.exposure"):
        closed_segments(f"{tmp_path}/*")
    (tmp_path / name).write_bytes(b'{"request_id": 1,')
    assert closed_segments(f"{tmp_path}/*") == [tmp_path / name]
    with pytest.raises(ExposureLogError, match=f"{name} must be a segment of the exposure log. Received: "):
        segment_rows(tmp_path / name, COLUMNS)
