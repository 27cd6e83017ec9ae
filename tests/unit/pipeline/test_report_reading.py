import datetime
import subprocess
import types

import pytest
from ml_metadata import metadata_store
from ml_metadata.proto import metadata_store_pb2
from tfx.types import standard_artifacts

from pipeline import summary
from pipeline.commands import report as report_command
from pipeline.errors import ReportError
from pipeline.report import reading
from pipeline.report.lineage import file_name, recorded_run
from pipeline.report.origin import library_versions, read_origin, source_commit, write_origin
from pipeline.report.reading import page_file, read_report
from pipeline.report.run_report import STOPPED
from pipeline.training_history import write_history
from tests.unit.pipeline.made_up_run import history as made_up_history

Execution = metadata_store_pb2.Execution
REFUSED = "version 17 was trained into the evaluation days of this run"
RUNS = ("2026-01-10T04:05:06.789000+00:00", "2026-01-11T04:05:06.789000+00:00")


@pytest.fixture
def record(config):
    """Records a run: by component, the state of its execution and the uri of its model, if it has one."""
    config.root.mkdir(parents=True)
    connection = metadata_store_pb2.ConnectionConfig()
    connection.sqlite.filename_uri = str(config.metadata_file)
    store = metadata_store.MetadataStore(connection)
    types = {name: store.put_context_type(metadata_store_pb2.ContextType(name=name)) for name in ("pipeline_run", "node")}
    node_type = store.put_execution_type(metadata_store_pb2.ExecutionType(name="any"))
    model_type = store.put_artifact_type(metadata_store_pb2.ArtifactType(name=standard_artifacts.Model.TYPE_NAME))
    nodes = {}

    def record(run_id, **components):
        [run] = store.put_contexts([metadata_store_pb2.Context(type_id=types["pipeline_run"], name=run_id)])
        for name, (state, uri, properties) in components.items():
            if name not in nodes:
                [nodes[name]] = store.put_contexts([metadata_store_pb2.Context(type_id=types["node"], name=f"test.{name}")])
            execution = Execution(type_id=node_type, last_known_state=state)
            for key, value in properties.items():
                execution.custom_properties[key].string_value = value
            outputs = []
            if uri:
                artifact = metadata_store_pb2.Artifact(type_id=model_type, uri=uri)
                event = metadata_store_pb2.Event(type=metadata_store_pb2.Event.OUTPUT)
                event.path.steps.add().key = "model"
                event.path.steps.add().index = 0
                outputs = [(artifact, event)]
            of_run = metadata_store_pb2.Context(id=run, type_id=types["pipeline_run"], name=run_id)
            of_node = metadata_store_pb2.Context(id=nodes[name], type_id=types["node"], name=f"test.{name}")
            contexts = [of_run, of_node]
            store.put_execution(execution, outputs, contexts, reuse_context_if_already_exist=True)

    return record


def test_a_run_is_told_by_its_components(config, record):
    record(RUNS[0], Trainer=(Execution.COMPLETE, "/models/1", {}))
    record(
        RUNS[1],
        LogExampleGen=(Execution.CACHED, None, {"fingerprint": "abc"}),
        Trainer=(Execution.COMPLETE, "/models/2", {}),
        Pusher=(Execution.FAILED, None, {}),
    )
    run = recorded_run(config.metadata_file)
    assert run.run_id == RUNS[1]
    assert [(each.name, each.state) for each in run.components] == [
        ("LogExampleGen", "cached"),
        ("Trainer", "done"),
        ("Pusher", "failed"),
    ]
    [output] = run.components[1].outputs
    assert (output.key, output.uri) == ("model", "/models/2")
    [model] = run.outputs["Trainer"]["model"]
    assert (model.uri, model.id) == ("/models/2", output.artifact_id)
    assert run.properties["LogExampleGen"] == {"fingerprint": "abc"}
    assert run.started_at == datetime.datetime(2026, 1, 11, 4, 5, 6, 789_000, tzinfo=datetime.timezone.utc)
    earlier = recorded_run(config.metadata_file, "20260110-040506")
    assert [each.outputs[0].uri for each in earlier.components] == ["/models/1"]


def test_a_run_that_is_not_recorded_is_an_error(config, record):
    record(RUNS[0], Trainer=(Execution.COMPLETE, "/models/1", {}))
    message = r"^--run must be the time of a recorded run, of late 20260110-040506\. Received: 20250101-000000$"
    with pytest.raises(ReportError, match=message):
        recorded_run(config.metadata_file, "20250101-000000")


def test_a_job_that_never_ran_is_an_error(config):
    with pytest.raises(ReportError, match=r"^no run is recorded in .*metadata\.sqlite; smalltowers run makes one$"):
        recorded_run(config.metadata_file)


def test_a_run_that_stopped_has_a_page(config, record, capsys):
    record(RUNS[1], LogExampleGen=(Execution.FAILED, None, {"fingerprint": "abc"}))
    report = read_report(config)
    assert (report.verdict.state, report.verdict.reasons) == (STOPPED, ("LogExampleGen: failed",))
    assert (report.counts, report.evaluation, report.history, report.tuned) == (None, None, None, {})
    assert (report.origin.run_id, report.origin.fingerprint, report.origin.versions) == (RUNS[1], "abc", {})
    report_command.report_run(config)
    path = page_file(config, file_name(RUNS[1]))
    assert capsys.readouterr().out == f"{path}\n"
    assert path.name == "20260111-040506.html"
    assert "LogExampleGen: failed" in path.read_text()


def test_a_configuration_of_other_sources_is_an_error(config, record):
    record(RUNS[0], Pusher=(Execution.COMPLETE, None, {"config": '{"job": {"name": "test"}, "old": 1}'}))
    with pytest.raises(ReportError, match=r"^the run of 20260110-040506 was made by other sources, .* \(3 keys differ\)"):
        read_report(config)


def test_versions_are_those_of_the_time_of_the_run(tmp_path):
    write_origin(tmp_path / "run.json")
    commit, versions = read_origin(tmp_path / "run.json")
    assert versions == library_versions()
    assert {"python", "tensorflow", "tfx", "numpy"} <= set(versions)
    assert commit == source_commit()
    assert read_origin(tmp_path / "absent.json") == ("", {})


def test_the_commit_says_whether_files_differ(tmp_path):
    def git(*arguments):
        identity = ("-c", "user.name=x", "-c", "user.email=x@example.com")
        subprocess.run(["git", "-C", str(tmp_path), *identity, *arguments], check=True, capture_output=True)

    assert source_commit(tmp_path) == ""
    git("init")
    (tmp_path / "code.py").write_text("1\n")
    # Someone else's repository: nothing here belongs to it.
    assert source_commit(tmp_path) == ""
    git("add", "code.py")
    git("commit", "-m", "one")
    commit = source_commit(tmp_path)
    assert len(commit) == 12
    (tmp_path / "code.py").write_text("2\n")
    assert source_commit(tmp_path) == f"{commit} and changes"


def warm_start_outputs(has_model, version=None):
    push = standard_artifacts.PushedModel()
    push.uri = "/pushed/17"
    push.set_string_custom_property("pushed_version", version or "")
    return {"model": [standard_artifacts.Model()] if has_model else [], "pushed_model": [push] if version else []}


@pytest.mark.parametrize(
    ("has_model", "version", "line", "obstacle"),
    [
        (True, "17", "version 17", ""),
        (True, None, "the version pushed last", ""),
        (False, None, "none yet", ""),
        (False, "17", f"none, as {REFUSED}", REFUSED),
    ],
)
def test_a_version_that_saw_the_evaluation_days_is_told_of(tmp_path, has_model, version, line, obstacle):
    write_history(made_up_history(), tmp_path)
    trained = standard_artifacts.Model()
    trained.uri = str(tmp_path)
    outputs = {"Trainer": {"model_run": [trained]}, "WarmStart": warm_start_outputs(has_model, version)}
    components = [types.SimpleNamespace(name=name, state="done") for name in outputs]
    history = reading._history(types.SimpleNamespace(components=components, outputs=outputs))
    assert (history.warm_start.obstacle, summary._begun_from(outputs["WarmStart"])) == (obstacle, line)
    assert (history.warm_start.model == "/pushed/17") == bool(obstacle)
