import shutil

import pytest
import tensorflow as tf
from tensorflow_serving.apis import model_pb2, prediction_log_pb2

from serving.errors import ModelUnavailableError, RequestError
from serving.model_server.loaded_model import first_cause
from serving.model_server.versions import ModelVersions, VersionState
from tests.conformance.tiny_model import example, predict_request, write_version

SPEC = model_pb2.ModelSpec(name="ranker")


@pytest.fixture
def versions(tmp_path):
    return ModelVersions("ranker", tmp_path, poll_seconds=60)


def served(versions):
    with versions.use(SPEC) as model:
        return model.number


def states(versions):
    return {status.number: status.state for status in versions.statuses()}


@pytest.fixture(scope="module")
def saved_models(tmp_path_factory):
    base_path = tmp_path_factory.mktemp("saved")
    for number in (1, 2):
        write_version(base_path, number)
    return base_path


def test_newest_number_is_served_and_other_names_are_not_versions(versions, saved_models, tmp_path):
    for name in ("2", "10", "latest", "11.tmp"):
        shutil.copytree(saved_models / "1", tmp_path / name)
    (tmp_path / "12").write_text("a file")
    (tmp_path / str(1 << 63)).mkdir()
    versions.load_first()
    assert served(versions) == 10
    assert states(versions) == {10: VersionState.AVAILABLE}


def test_old_version_stays_until_its_calls_have_ended(versions, saved_models, tmp_path):
    shutil.copytree(saved_models / "1", tmp_path / "1")
    versions.load_first()
    with versions.use(SPEC) as first, versions.use(SPEC):
        shutil.copytree(saved_models / "2", tmp_path / "2")
        versions.refresh()
        assert states(versions) == {2: VersionState.AVAILABLE, 1: VersionState.UNLOADING}
        assert served(versions) == 2
        outputs = first.predict("", predict_request(example()).inputs)
        assert tf.make_ndarray(outputs["satisfaction"]).tolist() == pytest.approx([0.01])
    assert states(versions) == {2: VersionState.AVAILABLE, 1: VersionState.END}
    with pytest.raises(RequestError, match=r"Servable not found for request: Specific\(ranker, 1\)"):
        versions.use(model_pb2.ModelSpec(name="ranker", version={"value": 1})).__enter__()


def test_version_that_is_half_written_is_skipped_until_it_is_complete(versions, saved_models, tmp_path, caplog):
    shutil.copytree(saved_models / "1", tmp_path / "1")
    (tmp_path / "2").mkdir()
    versions.load_first()
    versions.refresh()
    assert served(versions) == 1
    assert "must hold saved_model.pb" in versions.statuses()[0].error
    assert [record.levelname for record in caplog.records].count("WARNING") == 1

    shutil.copy(saved_models / "2" / "saved_model.pb", tmp_path / "2")
    versions.refresh()
    assert served(versions) == 1
    assert versions.statuses()[0].state is VersionState.END

    shutil.copytree(saved_models / "2", tmp_path / "2", dirs_exist_ok=True)
    versions.refresh()
    assert served(versions) == 2
    assert versions.statuses()[0].error is None


def test_deleted_version_gives_way_to_the_one_before_and_the_last_stays(versions, saved_models, tmp_path):
    for name in ("1", "2"):
        shutil.copytree(saved_models / name, tmp_path / name)
    versions.load_first()
    shutil.rmtree(tmp_path / "2")
    versions.refresh()
    assert served(versions) == 1
    shutil.rmtree(tmp_path)
    versions.refresh()
    assert served(versions) == 1


def test_empty_folder_names_itself_and_the_way_out(versions, tmp_path):
    with pytest.raises(ModelUnavailableError, match=f"{tmp_path} must hold .* an empty folder. Run the pipeline first"):
        versions.load_first()


def test_missing_folder_names_itself(tmp_path):
    with pytest.raises(ModelUnavailableError, match=r"absent must hold .* no such folder\. Run the pipeline first"):
        ModelVersions("ranker", tmp_path / "absent", poll_seconds=60).load_first()


def test_folder_of_broken_versions_says_why_in_one_line(versions, tmp_path):
    (tmp_path / "3").mkdir()
    (tmp_path / "3" / "saved_model.pb").write_bytes(b"\xff no protobuf")
    with pytest.raises(ModelUnavailableError, match="Received: version 3: ") as raised:
        versions.load_first()
    assert "\n" not in str(raised.value)


def test_labels_are_not_recognised(versions, saved_models, tmp_path):
    shutil.copytree(saved_models / "1", tmp_path / "1")
    versions.load_first()
    with pytest.raises(RequestError, match="Unrecognized servable version label: canary"):
        versions.use(model_pb2.ModelSpec(name="ranker", version_label="canary")).__enter__()


@pytest.mark.parametrize(("age", "is_served"), [(1.0, True), ("one", False)])
def test_version_is_served_only_if_it_answers_its_warmup_requests(versions, saved_models, tmp_path, age, is_served):
    shutil.copytree(saved_models / "1", tmp_path / "1")
    extra = tmp_path / "1" / "assets.extra"
    extra.mkdir()
    log = prediction_log_pb2.PredictionLog()
    log.predict_log.request.CopyFrom(predict_request(example(age=age)))
    with tf.io.TFRecordWriter(str(extra / "tf_serving_warmup_requests")) as writer:
        writer.write(log.SerializeToString())
    if is_served:
        versions.load_first()
        assert served(versions) == 1
    else:
        with pytest.raises(ModelUnavailableError, match="Key: age"):
            versions.load_first()


@pytest.mark.parametrize(
    "stack", ["<stack traces unavailable>\n", '  File "serve.py", line 2, in <module>\n    load()\n\n', ""]
)
def test_cause_of_a_tensorflow_error_is_one_line_without_the_call_stack(stack):
    message = (
        f"Graph execution error:\n\nDetected at node Parse defined at (most recent call last):\n{stack}"
        "Name: <unknown>, Key: age, Index: 0.  Data types don't match.\n"
        "\t [[{{node Parse}}]] [Op:__inference_signature_wrapper_1]"
    )
    assert first_cause(message) == "Key: age, Index: 0. Data types don't match."


def test_cause_of_a_tensorflow_error_is_short_and_printable():
    assert first_cause("value: '\x00\n" + "x" * 1000).startswith("value: ' xxx")
    assert len(first_cause("x" * 1000)) == 300
