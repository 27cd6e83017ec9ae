"""From segments of an exposure log and a job's metadata to a verdict, with a model whose predictions stand in its examples."""

import base64
import dataclasses
import json

import numpy as np
import pytest
from ml_metadata import metadata_store
from ml_metadata.proto import metadata_store_pb2
from tfx.types import standard_artifacts

from data.schema import LABELS
from pipeline.commands.skew import watch_skew
from pipeline.components.artifacts import TaskMetrics
from pipeline.components.version_pusher import MODEL_ID, PUSHED
from pipeline.config import CONFIG_FILE, load
from pipeline.errors import ConfigError, SkewError
from pipeline.skew.lineage import origin_of
from pipeline.skew.predictions import PREDICTIONS_FILE, write_prediction_statistics
from pipeline.skew.statistics import by_name, statistics_of
from pipeline.skew.watch import watch
from serving.errors import ExposureLogError
from serving.exposure.record import Exposure, ShownItems, exposure_lines
from serving.ranker.request import encoded_example
from tests.unit.pipeline.saved_models import save_model
from tests.unit.pipeline.skewed_rows import batch_of, feed
from tests.unit.serving.test_request import decoded

AT_MS = 1_768_000_000_000


class RecordedJob:
    """Pushed versions with the files and the metadata that their runs would have left."""

    def __init__(self, folder):
        settings = (f"job.root={folder}", f"job.schema_file={folder}/none", "validation.served_skew.user_id=1.0")
        self.config = load("configs/demo.toml", settings)
        connection = metadata_store_pb2.ConnectionConfig()
        connection.sqlite.filename_uri = str(self.config.metadata_file)
        connection.sqlite.connection_mode = metadata_store_pb2.SqliteMetadataSourceConfig.READWRITE_OPENCREATE
        self._store = metadata_store.MetadataStore(connection)
        self._execution_type = self._store.put_execution_type(metadata_store_pb2.ExecutionType(name="any"))

    def run(self, version, training, predictions, in_service=None):
        """One run that pushed; gives back its model."""
        examples = self._made(standard_artifacts.Examples, [])
        statistics = self._made(standard_artifacts.ExampleStatistics, [examples])
        self.statistics_file = self._file(statistics, "Split-train/FeatureStats.pb")
        self.statistics_file.write_bytes(statistics_of(batch_of(training)).SerializeToString())
        graph = self._made(standard_artifacts.TransformGraph, [examples])
        rows = self._made(standard_artifacts.Examples, [examples])
        model = self._made(standard_artifacts.Model, [graph, rows])
        metrics, blessing = self._made_together([TaskMetrics, standard_artifacts.ModelBlessing], [examples, model, in_service])
        if predictions is not None:
            self._file(metrics, PREDICTIONS_FILE)
            write_prediction_statistics(predictions, metrics.uri)
        properties = {PUSHED: 1, MODEL_ID: model.id, "pushed_version": str(version)}
        self._made(standard_artifacts.PushedModel, [model, blessing], properties)
        folder = self.config.models_folder / str(version)
        save_model(folder, "made")
        (folder / CONFIG_FILE).parent.mkdir(exist_ok=True)
        (folder / CONFIG_FILE).write_text(self.config.model_dump_json())
        return model

    def _made(self, artifact_class, inputs, properties=None):
        return self._made_together([artifact_class], inputs, properties)[0]

    def _made_together(self, artifact_classes, inputs, properties=None):
        [execution] = self._store.put_executions([metadata_store_pb2.Execution(type_id=self._execution_type)])
        made = []
        for artifact_class in artifact_classes:
            artifact = artifact_class()
            artifact.type_id = self._store.put_artifact_type(artifact.artifact_type)
            artifact.uri = str(self.config.root / "artifacts" / f"{execution}-{artifact_class.TYPE_NAME}")
            artifact.mlmd_artifact.state = metadata_store_pb2.Artifact.LIVE
            for name, value in (properties or {}).items():
                (artifact.set_int_custom_property if isinstance(value, int) else artifact.set_string_custom_property)(
                    name, value
                )
            [artifact.id] = self._store.put_artifacts([artifact.mlmd_artifact])
            made.append(artifact)
        events = [(each, metadata_store_pb2.Event.INPUT) for each in inputs if each is not None]
        events += [(each, metadata_store_pb2.Event.OUTPUT) for each in made]
        self._store.put_events(
            [metadata_store_pb2.Event(artifact_id=each.id, execution_id=execution, type=type_) for each, type_ in events]
        )
        return made

    def _file(self, artifact, name):
        path = self.config.root / "artifacts" / artifact.uri / name
        path.parent.mkdir(parents=True, exist_ok=True)
        return path


def scores(seed, num_rows):
    rng = np.random.default_rng(seed)
    columns = rng.beta(2, 6, num_rows), rng.exponential(10, num_rows), rng.beta(1, 9, num_rows)
    return {label: column.astype(np.float32) for label, column in zip(LABELS, columns, strict=True)}


def training_rows():
    rows = feed(0, 2_000)
    num_rows = len(rows["click"])
    predicted = {f"made_{label}": column for label, column in scores(1, num_rows).items()}
    position = np.random.default_rng(2).integers(1, 11, num_rows)
    return rows | predicted | {"position": position, "surface": np.full(num_rows, "feed", object)}


@pytest.fixture(scope="module")
def job(tmp_path_factory):
    job = RecordedJob(tmp_path_factory.mktemp("job"))
    first = job.run(17, training_rows(), scores(3, 5_000))
    job.run(18, {"user_id": np.array(["u"], object), "hour": np.array([1])}, {"click": np.full(9, 0.25)}, in_service=first)
    job.run(19, training_rows(), None)
    return job


def answers(seed=5, num_users=60, version=17, prefix="r", features_of=lambda row: row, predict_fn=lambda row: row, **keys):
    """One answer a user, with all items that the feed shows to the user."""
    rows = feed(seed, num_users)
    num_rows = len(rows.pop("click"))
    rows |= {f"made_{label}": column for label, column in scores(seed, num_rows).items()} | {"surface": ["feed"] * num_rows}
    by_user = {}
    for values in zip(*rows.values(), strict=True):
        row = {name: value.tolist() if hasattr(value, "tolist") else value for name, value in zip(rows, values, strict=True)}
        by_user.setdefault(row["user_id"], []).append(row)
    for place, (user_id, shown) in enumerate(by_user.items()):
        predictions = [[predict_fn(row)[f"made_{label}"] for label in LABELS] for row in shown]
        yield Exposure(
            **{
                "request_id": f"{prefix}{place}",
                "user_id": user_id,
                "answered_at_ms": AT_MS + 60_000 * place,
                "arm": "default",
                "model_version": str(version),
                "features_version": 1,
                "is_degraded": False,
                "context": {"surface": "feed"},
                "items": ShownItems([row["item_id"] for row in shown], *np.transpose(predictions), *np.ones((2, len(shown)))),
                "examples": tuple(encoded_example(features_of(dict(row))) for row in shown),
            }
            | keys
        )


def write_segment(folder, exposures, name="exposures-1.jsonl"):
    folder.mkdir(exist_ok=True)
    (folder / name).write_bytes(exposure_lines(*exposures))
    return f"{folder}/exposures-*"


def test_what_clients_send_besides_stops_no_watch(job, tmp_path):
    """Columns that the model does not read, of several types, and a line longer than usual blocks."""
    kinds = iter([7, "seven"] * 10_000)

    def besides(row):
        return row | {"mood": next(kinds), "essay": "x" * 20_000 if row["item_id"] == "i1" else None}

    report = watch(job.config, write_segment(tmp_path, answers(features_of=besides)), 17)
    assert report.skewed == ()
    assert any("does not read them: " in note and "mood" in note for note in report.notes)


def test_a_column_of_another_type_is_named(job, tmp_path):
    report = watch(job.config, write_segment(tmp_path, answers(features_of=lambda row: row | {"category": 7})), 17)
    assert "category" in report.skewed
    assert "category has another type than in training: in " in report.faults["category"]


def test_served_rows_of_the_training_distribution_show_no_skew(job, tmp_path, capfd):
    pattern = write_segment(tmp_path, answers())
    assert watch_skew(job.config, pattern, 17) == 0
    output, errors = capfd.readouterr()
    assert errors == ""
    assert "Served rows of version 17 against those that it was trained on" in output
    assert "position is not compared: no request has it, and its default 1.0 stands in" in output
    assert output.splitlines()[-1] == "No skew: none of 10 columns left its range"
    assert max(map(len, output.splitlines()[:12])) <= 80
    assert "not compared, as the model does not read them: hour, is_weekend, made_click" in output
    report = watch(job.config, pattern)
    assert {"click", "position"}.isdisjoint(column.name for column in report.columns)
    assert [column.name for column in report.columns][-3:] == [f"predicted_{label}" for label in LABELS]
    assert all(column.distance.value < 0.1 for column in report.columns[-3:])
    rows = sum(len(exposure.items) for exposure in answers())
    assert (report.served.version, report.served.num_answers, report.served.num_shown) == (17, 60, rows)
    assert [f"{at:%Y-%m-%d %H:%M:%S}" for at in report.served.span] == ["2026-01-09 23:06:40", "2026-01-10 00:05:40"]


def test_a_column_in_another_unit_is_named_first(job, tmp_path, capfd):
    def in_milliseconds(row):
        return row | {"duration_seconds": 1_000 * row["duration_seconds"]}

    pattern = write_segment(tmp_path, answers(features_of=in_milliseconds))
    assert watch_skew(job.config, pattern, None) == 1
    output = capfd.readouterr().out
    table = output.splitlines()
    assert table[2].startswith("duration_seconds")
    assert table[2].endswith("skewed")
    assert sum(line.endswith("skewed") for line in table) == 1
    assert table[-1] == "Skew: 1 of 10 columns left their range: duration_seconds"


def test_predictions_that_are_not_the_versions_own_are_found(job, tmp_path):
    """All 0.5, which lies within the range of evaluation; and its distribution, where a limit says that it counts."""

    def constant(row):
        return row | {"made_click": 0.5}

    pattern = write_segment(tmp_path, answers(predict_fn=constant))
    report = watch(job.config, pattern)
    assert report.skewed == ("predicted_click",)
    assert report.faults["predicted_click"].startswith(
        "predicted_click is not what version 17 gives for the served features: in 9"
    )
    judged = job.config.validation.model_copy(update={"served_skew": {"user_id": 1.0, "predicted_click": 0.3}})
    report = watch(job.config.model_copy(update={"validation": judged}), pattern)
    assert report.columns[0].name == "predicted_click"
    assert "is distributed differently than in its evaluation" in report.columns[0].reasons[0]


def test_the_newest_version_counts_and_what_is_left_out_is_told(job, tmp_path, capfd):
    degraded = answers(seed=7, version=16, prefix="degraded ", is_degraded=True)
    write_segment(tmp_path, [*answers(version=9, num_users=40), *degraded], "exposures-1.jsonl")
    pattern = write_segment(tmp_path, answers(seed=6, examples=()), "exposures-2.jsonl")
    write_segment(tmp_path, answers(seed=8, num_users=50), "exposures-3.jsonl")
    (tmp_path / ".exposures-4.open").write_text("{")
    assert watch_skew(job.config, pattern) == 0
    output = capfd.readouterr().out
    assert "of 50 users, 2026-01-09 23:06 to 2026-01-09 23:55 UTC; version 17 gave 110 answers with " in output
    assert "left out: 40 answers of version 9, 60 degraded answers" in output


def test_a_column_that_training_never_had_is_named(job, tmp_path):
    report = watch(job.config, write_segment(tmp_path, answers(features_of=lambda row: row | {"age_group": "18-24"})))
    assert report.skewed == ("age_group",)
    assert report.faults == {"age_group": "age_group is served, and no training row has it"}


def test_features_that_the_version_refuses_are_told(job, tmp_path):
    def as_text(row):
        return row | {"made_click": str(row["made_click"])}

    report = watch(job.config, write_segment(tmp_path, answers(features_of=as_text)))
    assert report.skewed == ("served_features",)
    assert report.faults["served_features"].startswith(
        "served_features must be such that the version predicts for them. Received: "
    )


def test_predictions_of_an_older_gate_are_not_compared(job, tmp_path):
    report = watch(job.config, write_segment(tmp_path, answers(version=19)), 19)
    assert report.skewed == ()
    assert report.notes[-1] == (
        "predictions are not compared with those before the push: the gate of version 19 wrote none; "
        "smalltowers run --fresh does"
    )
    assert not any(column.name.startswith("predicted_") for column in report.columns)


def test_each_version_has_the_statistics_of_its_own_run(job):
    assert by_name(origin_of(job.config, 17).training)["hour"].num_stats.common_stats.num_non_missing > 10_000
    second = origin_of(job.config, 18)
    assert by_name(second.training)["hour"].num_stats.common_stats.num_non_missing == 1
    assert by_name(second.predictions)["predicted_click"].num_stats.mean == 0.25
    assert by_name(origin_of(job.config, 17).predictions)["predicted_click"].num_stats.common_stats.num_non_missing == 5_000
    assert origin_of(job.config, 19).predictions is None


def test_nothing_to_compare_is_one_line(job, tmp_path):
    with pytest.raises(ExposureLogError, match=r"must lie at .*exposures-\*\. Received: none"):
        watch(job.config, f"{tmp_path}/exposures-*")
    pattern = write_segment(tmp_path, answers(examples=()))
    message = (
        "at least 200 rows of 30 users must have features, or chance would speak. Received: 0 rows of 0 users in 60 answers "
        "of version 17; raise serving.exposure.feature_share"
    )
    with pytest.raises(SkewError, match=message):
        watch(job.config, pattern)
    with pytest.raises(SkewError, match=r"--version must be one that answered in .* \(17\)\. Received: 18"):
        watch(job.config, pattern, 18)
    pattern = write_segment(tmp_path, answers(is_degraded=True))
    with pytest.raises(SkewError, match=r"a model must have answered in .*\. Received: 60 degraded answers alone"):
        watch(job.config, pattern)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("no base64!", "served_features must be base64. Received: no base64! in answer r0"),
        (base64.b64encode(b"no example").decode(), "served features must be tf.Examples. Received: "),
    ],
)
def test_features_that_cannot_be_read_are_one_line(job, tmp_path, text, message):
    pattern = write_segment(tmp_path, answers())
    lines = (tmp_path / "exposures-1.jsonl").read_text().splitlines()
    lines[0] = json.dumps(json.loads(lines[0]) | {"served_features": text})
    (tmp_path / "exposures-1.jsonl").write_text("\n".join(lines) + "\n")
    with pytest.raises(SkewError, match=message):
        watch(job.config, pattern)


def test_a_version_without_its_statistics_is_one_line(tmp_path):
    job = RecordedJob(tmp_path)
    job.run(17, training_rows(), None)
    pattern = write_segment(tmp_path / "exposures", answers())
    other = write_segment(tmp_path / "others", answers(version=20))
    with pytest.raises(SkewError, match=r"version 20 must be one that this job pushed. Received: none of that number in "):
        watch(job.config, other)
    job.statistics_file.unlink()
    with pytest.raises(
        SkewError, match=r"training statistics of version 17 must still be there. Received: no file .*FeatureStats.pb"
    ):
        watch(job.config, pattern)
    elsewhere = job.config.model_copy(update={"job": job.config.job.model_copy(update={"root": str(tmp_path / "else")})})
    with pytest.raises(SkewError, match=r"version 17 must be recorded by a run of this job. Received: no .*metadata.sqlite"):
        watch(elsewhere, pattern)


def test_a_version_of_other_sources_is_one_line(tmp_path):
    job = RecordedJob(tmp_path)
    job.run(17, training_rows(), None)
    (job.config.models_folder / "17" / CONFIG_FILE).write_text('{"job": {"name": "demo", "colour": "red"}}')
    with pytest.raises(SkewError, match=r"the configuration beside version 17 must be of these sources. Received: \d keys"):
        watch(job.config, write_segment(tmp_path / "exposures", answers()))


def test_limits_name_columns_and_predictions():
    for name in ("predicted_click", "duration_seconds"):
        assert load("configs/demo.toml", [f"validation.served_skew.{name}=0.3"]).validation.served_skew == {name: 0.3}
    with pytest.raises(ConfigError, match=r"validation.served_skew.nothing must be a column of the log"):
        load("configs/demo.toml", ["validation.served_skew.nothing=0.3"])


def test_only_the_newest_rows_are_compared(job, tmp_path, monkeypatch):
    monkeypatch.setattr("pipeline.skew.exposed._MOST_ROWS", 600)
    for number in range(3):
        write_segment(tmp_path, answers(seed=5 + number, num_users=40, prefix=f"r{number}."), f"exposures-{number}.jsonl")
    served = watch(job.config, f"{tmp_path}/exposures-*").served
    written = [example for seed in (5, 6, 7) for each in answers(seed=seed, num_users=40) for example in each.examples]
    assert list(map(decoded, served.examples)) == list(map(decoded, written[-600:]))
    assert served.num_sampled == len(written)


def test_exposures_of_the_job_are_the_default(job, tmp_path):
    folder = job.config.root / "exposures"
    write_segment(folder, answers())
    assert watch_skew(job.config) == 0
    exposure = job.config.serving.exposure.model_copy(update={"folder": str(tmp_path)})
    serving = job.config.serving.model_copy(update={"exposure": exposure})
    with pytest.raises(ExposureLogError, match=f"must lie at {tmp_path}"):
        watch_skew(job.config.model_copy(update={"serving": serving}))


def test_rows_are_of_answers_with_a_model(job, tmp_path):
    """What a foreign program wrote without a version is nobody's."""
    stray = [dataclasses.replace(each, model_version="") for each in answers(seed=9, num_users=5)]
    pattern = write_segment(tmp_path, [*stray, *answers()])
    assert watch(job.config, pattern).served.num_answers == 60
