import shutil

import pytest
import tensorflow as tf
from tensorflow_serving.apis import inference_pb2, prediction_log_pb2, regression_pb2

from serving.errors import RequestError
from serving.model_server.inference import Inference
from serving.model_server.loaded_model import LoadedModel
from serving.model_server.metrics import ServerMetrics
from serving.model_server.warmup import MAX_RECORDS, warm_up
from serving.runners import DirectRunner
from tests.conformance.model_server.calls import examples_input
from tests.conformance.tiny_model import example, predict_request


@pytest.fixture(scope="module")
def model(saved_models):
    model = LoadedModel(saved_models / "1", 1)
    yield model
    model.close()


@pytest.fixture
def warm(model, saved_models, tmp_path, monkeypatch):
    """Function of records that warms the model up with them; gives the sizes of the inputs of every run, "bytes" for such."""
    runs = []
    run = model.run

    def noted(feeds, arrays, fetches):
        runs.append(["bytes" if array.dtype == object and array.ndim == 0 else array.size for array in arrays])
        return run(feeds, arrays, fetches)

    monkeypatch.setattr(model, "run", noted)

    def warm_with(records=None):
        shutil.copytree(saved_models / "1", tmp_path / "1")
        if records is not None:
            file = tmp_path / "1" / "assets.extra" / "tf_serving_warmup_requests"
            file.parent.mkdir()
            with tf.io.TFRecordWriter(str(file)) as writer:
                for record in records:
                    writer.write(record)
        warm_up(model, tmp_path / "1", Inference(DirectRunner(1, 0), 100, ServerMetrics()))
        return runs

    return warm_with


def predict_log(**columns):
    log = prediction_log_pb2.PredictionLog()
    log.predict_log.request.CopyFrom(predict_request(example(**columns), example(**columns)))
    return log


def regression_log(signature_name="regress"):
    log = prediction_log_pb2.PredictionLog()
    request = regression_pb2.RegressionRequest(input=examples_input(example(age=2.0)))
    request.model_spec.signature_name = signature_name
    log.regress_log.request.CopyFrom(request)
    return log


def other_logs():
    classify, several = prediction_log_pb2.PredictionLog(), prediction_log_pb2.PredictionLog()
    classify.classify_log.request.input.CopyFrom(examples_input(example(), example(), example()))
    classify.classify_log.request.model_spec.signature_name = "classify"
    request = inference_pb2.MultiInferenceRequest(input=examples_input(example(age=2.0)))
    task = request.tasks.add(method_name="tensorflow/serving/regress")
    task.model_spec.name, task.model_spec.signature_name = "ranker", "regress"
    several.multi_inference_log.request.CopyFrom(request)
    return [classify, several]


def test_every_kind_of_request_is_run(warm):
    logs = [predict_log(age=1.0), regression_log(), *other_logs()]
    assert warm([log.SerializeToString() for log in logs]) == [["bytes"], [2], [1], [3], [1]]


def test_without_requests_every_signature_runs_the_smallest_batch_that_it_takes(warm, model):
    sizes = warm()
    assert len(sizes) == 2 * (len(model.signatures) + len(model.serialized))
    assert model.serialized.keys() == model.signatures.keys()
    # One user without candidates; a factor for no rows; no examples.
    given = {tuple(sorted(each)) for each in sizes if "bytes" not in each}
    assert given == {(0, 1, 1, 1), (0, 1), (0,)}
    assert {len(each) for each in sizes if set(each) == {"bytes"}} == {4, 2, 1}


@pytest.mark.parametrize(
    ("record", "status", "message"),
    [
        (predict_log(age="one").SerializeToString(), "INVALID_ARGUMENT", "Key: age"),
        (regression_log("classify").SerializeToString(), "INVALID_ARGUMENT", "Expected regression signature"),
        (b"\xff\xff", "INVALID_ARGUMENT", "Failed to parse warmup record 0"),
        (
            prediction_log_pb2.PredictionLog(session_run_log=prediction_log_pb2.SessionRunLog()).SerializeToString(),
            "UNIMPLEMENTED",
            "Unsupported log_type for warmup: session_run_log",
        ),
    ],
)
def test_a_request_that_cannot_be_answered_is_an_error(warm, record, status, message):
    with pytest.raises(RequestError, match=message) as raised:
        warm([record])
    assert raised.value.status == status


def test_more_records_than_tf_serving_takes_are_an_error(warm):
    record = prediction_log_pb2.PredictionLog().SerializeToString()
    with pytest.raises(RequestError, match=r"Number of warmup records exceeds the maximum \(1000\)"):
        warm([record] * (MAX_RECORDS + 1))


def test_a_file_of_something_else_is_an_error(warm, saved_models, tmp_path, model):
    folder = tmp_path / "broken"
    shutil.copytree(saved_models / "1", folder)
    (folder / "assets.extra").mkdir()
    (folder / "assets.extra" / "tf_serving_warmup_requests").write_bytes(b"no records at all, of any kind")
    with pytest.raises(tf.errors.DataLossError, match="corrupted record"):
        warm_up(model, folder, Inference(DirectRunner(1, 0), 100, ServerMetrics()))
