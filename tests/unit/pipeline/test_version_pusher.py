import datetime
import json

import pyarrow as pa
import pytest
from tfx.components.evaluator import constants
from tfx.proto import pusher_pb2
from tfx.types import standard_artifacts
from tfx.utils import proto_utils

from data.report import LABEL_COUNTS_FILE, LABEL_COUNTS_SCHEMA, to_json
from pipeline.compare import load_version_config
from pipeline.components.artifacts import IngestionReport
from pipeline.components.version_pusher import MODEL_ID, PUSHED, Executor


def artifact(type_, folder):
    made = type_()
    made.uri = str(folder)
    folder.mkdir()
    return made


@pytest.fixture
def push(config, tmp_path):
    """Pushes a model of two files; gives back the artifact of the push and the folder of versions."""

    def run(blessed=True, anomalies=None, config=config):
        model = artifact(standard_artifacts.Model, tmp_path / "model")
        model.id = 7
        saved = tmp_path / "model" / "Format-Serving"
        (saved / "variables").mkdir(parents=True)
        (saved / "saved_model.pb").write_text("graph")
        (saved / "variables" / "variables.index").write_text("weights")
        blessing = artifact(standard_artifacts.ModelBlessing, tmp_path / "blessing")
        blessing.set_int_custom_property(constants.ARTIFACT_PROPERTY_BLESSED_KEY, int(blessed))
        report = artifact(IngestionReport, tmp_path / "report")
        days = [{**dict.fromkeys(LABEL_COUNTS_SCHEMA.names, 0), "day": f"2026-01-0{day}", "surface": None} for day in (3, 5, 4)]
        counts = pa.Table.from_pylist(days, schema=LABEL_COUNTS_SCHEMA)
        (tmp_path / "report" / LABEL_COUNTS_FILE).write_text(to_json(counts))
        inputs = {"model": [model], "model_blessing": [blessing], "report": [report], "in_service": []}
        for name, by_split in (anomalies or {}).items():
            found = artifact(standard_artifacts.ExampleAnomalies, tmp_path / name)
            found.set_json_value_custom_property("blessed", by_split)
            inputs[name] = [found]
        pushed = artifact(standard_artifacts.PushedModel, tmp_path / "pushed")
        versions = tmp_path / "versions"
        destination = pusher_pb2.PushDestination(filesystem={"base_directory": str(versions)})
        properties = {"push_destination": proto_utils.proto_to_json(destination), "config": config.model_dump_json()}
        context = Executor.Context(tmp_dir=str(tmp_path / "work"), unique_id="1")
        Executor(context).Do(inputs, {"pushed_model": [pushed]}, properties)
        return pushed, versions

    return run


def test_version_holds_the_model_and_its_configuration(push, config):
    pushed, versions = push()
    [version] = versions.iterdir()
    assert (version / "saved_model.pb").read_text() == "graph"
    assert (version / "variables" / "variables.index").read_text() == "weights"
    assert load_version_config(version) == config
    assert (pushed.get_int_custom_property(PUSHED), pushed.get_int_custom_property(MODEL_ID)) == (1, 7)
    assert pushed.get_string_custom_property("pushed_version") == version.name


def test_days_that_were_counted_from_the_end_of_the_log_are_recorded_by_name(push, tree):
    from pipeline.config import Config

    tree["data"]["split"] = {"eval_days": 2}
    _, versions = push(config=Config.model_validate(tree))
    [version] = versions.iterdir()
    split = load_version_config(version).data.split
    assert (split.eval_from, split.eval_days) == (datetime.date(2026, 1, 4), None)


@pytest.mark.parametrize(
    ("blessed", "anomalies", "is_pushed"),
    [
        (True, {}, True),
        (False, {}, False),
        (True, {"schema_anomalies": {"train": 1, "eval": 1}, "drift_anomalies": {"train": 2, "eval": 2}}, True),
        (True, {"schema_anomalies": {"train": 1, "eval": 0}}, False),
        (True, {"schema_anomalies": {"train": 1}, "drift_anomalies": {"train_train": 0}}, False),
        (True, {"skew_anomalies": {"eval_train": 0}}, False),
    ],
)
def test_only_a_blessed_model_of_clean_data_is_pushed(push, blessed, anomalies, is_pushed):
    pushed, versions = push(blessed, anomalies)
    assert pushed.get_int_custom_property(PUSHED) == int(is_pushed)
    assert versions.exists() == is_pushed


def test_recorded_configuration_is_json(push):
    _, versions = push()
    [beside] = versions.glob("*/assets.extra/smalltowers.json")
    assert json.loads(beside.read_text())["job"]["name"] == "test"
