import json
from pathlib import Path

import pyarrow as pa
import pytest
from ml_metadata import metadata_store
from ml_metadata.proto import metadata_store_pb2
from tfx.types import standard_artifacts

from data.config import SplitConfig
from data.report import LABEL_COUNTS_FILE, LABEL_COUNTS_SCHEMA, to_json
from pipeline.components.artifacts import IngestionReport
from pipeline.components.baselines import ModelInServiceStrategy, PreviousStatisticsStrategy, WarmStartStrategy
from pipeline.components.version_pusher import MODEL_ID, PUSHED
from pipeline.config import CONFIG_FILE
from pipeline.metadata import input_ids, live_artifacts, newest_first


class History:
    """Runs of a job, as ML Metadata remembers them: every execution gives out one artifact, a cached one an old artifact."""

    def __init__(self):
        connection = metadata_store_pb2.ConnectionConfig()
        connection.fake_database.SetInParent()
        self.store = metadata_store.MetadataStore(connection)
        self._execution_type = self.store.put_execution_type(metadata_store_pb2.ExecutionType(name="any"))

    def new(self, artifact_class):
        artifact = artifact_class()
        artifact.type_id = self.store.put_artifact_type(artifact.artifact_type)
        [artifact.id] = self.store.put_artifacts([artifact.mlmd_artifact])
        return artifact

    def give_out(self, artifact, event_type=metadata_store_pb2.Event.OUTPUT):
        [execution] = self.store.put_executions([metadata_store_pb2.Execution(type_id=self._execution_type)])
        event = metadata_store_pb2.Event(artifact_id=artifact.id, execution_id=execution, type=event_type)
        self.store.put_events([event])
        return artifact


@pytest.fixture
def history():
    return History()


class Job(History):
    """Runs of a job in which each model that is trained is pushed, unless it is held back."""

    def __init__(self):
        super().__init__()
        self.models, self.pushes, self.push_by_key = [], [], {}

    def train(self):
        self.models.append(self.new(standard_artifacts.Model))
        return self.models[-1]

    def run(self, candidate, is_pushed=True):
        """One run; gives back the model in service that it found, and whether its push was new."""
        self.give_out(candidate)
        inputs = {"model": list(self.models), "pushed_model": list(self.pushes), "candidate": [candidate]}
        found = ModelInServiceStrategy().resolve_artifacts(self.store, inputs)
        assert found["candidate"] == [candidate]
        key = (candidate.id, *(artifact.id for artifact in found["model"] + found["pushed_model"]))
        is_new = key not in self.push_by_key
        if is_new:
            push = self.new(standard_artifacts.PushedModel)
            push.set_int_custom_property(PUSHED, int(is_pushed))
            push.set_int_custom_property(MODEL_ID, candidate.id)
            self.push_by_key[key] = push
            self.pushes.append(push)
        self.give_out(self.push_by_key[key])
        return found["model"], is_new


def test_first_run_and_its_repetition_find_nothing_in_service():
    job = Job()
    first = job.train()
    assert job.run(first) == ([], True)
    assert job.run(first) == ([], False)


def test_challenger_meets_the_model_in_service_however_often_it_is_run():
    job = Job()
    first, second = job.train(), job.train()
    job.run(first)
    assert job.run(second) == ([first], True)
    assert job.run(second) == ([first], False)


def test_model_that_was_superseded_and_comes_back_is_pushed_again():
    job = Job()
    first, second = job.train(), job.train()
    job.run(first)
    job.run(second)
    assert job.run(first) == ([second], True)
    assert job.run(second) == ([first], True)
    assert job.run(second) == ([first], False)


def test_model_that_was_held_back_is_not_in_service():
    job = Job()
    first, second, third = job.train(), job.train(), job.train()
    job.run(first)
    job.run(second, is_pushed=False)
    assert job.run(third) == ([first], True)


def test_previous_statistics_are_those_of_the_last_other_rows(history):
    first, second = (history.new(standard_artifacts.ExampleStatistics) for _ in range(2))

    def previous(current, known):
        history.give_out(current)
        inputs = {"statistics": known, "current": [current]}
        return PreviousStatisticsStrategy().resolve_artifacts(history.store, inputs)["statistics"]

    assert previous(first, [first]) == []
    assert previous(first, [first]) == []
    assert previous(second, [first, second]) == [first]
    assert previous(first, [first, second]) == [second]


class DailyJob(History):
    """Runs of a job that begins from the last model pushed, and trains and pushes anew unless all is as it was.

    Its logs end on 5 January, and it evaluates on their last two days.
    """

    def __init__(self, folder):
        super().__init__()
        self.models, self.pushes, self.model_by_key = [], [], {}
        self._folder = folder
        days = [{**dict.fromkeys(LABEL_COUNTS_SCHEMA.names, 0), "day": f"2026-01-0{day}", "surface": None} for day in (3, 5, 4)]
        (folder / LABEL_COUNTS_FILE).write_text(to_json(pa.Table.from_pylist(days, schema=LABEL_COUNTS_SCHEMA)))
        self._report = self.new(IngestionReport)
        self._report.uri = str(folder)

    def found(self, rows):
        """What is found for the rows of a run."""
        inputs = {"model": list(self.models), "pushed_model": list(self.pushes), "current": [rows], "report": [self._report]}
        strategy = WarmStartStrategy(SplitConfig(eval_days=2).model_dump_json())
        return strategy.resolve_artifacts(self.store, inputs)

    def run(self, rows, is_pushed=True, unseen_from=None):
        """One run; gives back the model that it began from, and the one that it trained or found again."""
        began_from = self.found(rows)["model"]
        key = (rows.id, *(model.id for model in began_from))
        if key not in self.model_by_key:
            self.model_by_key[key] = model = self.new(standard_artifacts.Model)
            [execution] = self.store.put_executions([metadata_store_pb2.Execution(type_id=self._execution_type)])
            kinds = metadata_store_pb2.Event
            for artifact, kind in ((rows, kinds.INPUT), *((each, kinds.INPUT) for each in began_from), (model, kinds.OUTPUT)):
                event = metadata_store_pb2.Event(artifact_id=artifact.id, execution_id=execution, type=kind)
                self.store.put_events([event])
            assert input_ids(self.store, model) == {rows.id, *(each.id for each in began_from)}
            push = self.new(standard_artifacts.PushedModel)
            push.set_int_custom_property(PUSHED, int(is_pushed))
            push.set_int_custom_property(MODEL_ID, model.id)
            push.uri = str(self._folder / f"push_{model.id}")
            if unseen_from:
                file = Path(push.uri, CONFIG_FILE)
                file.parent.mkdir(parents=True)
                file.write_text(json.dumps({"data": {"split": {"eval_from": unseen_from}}}))
            self.models.append(model)
            self.pushes.append(self.give_out(push))
        return began_from, self.model_by_key[key]


def test_training_begins_from_the_model_of_the_rows_before(tmp_path):
    job = DailyJob(tmp_path)
    first_day, second_day, third_day = (job.new(standard_artifacts.Examples) for _ in range(3))
    began_from, first = job.run(first_day)
    assert began_from == []
    # The same rows again: not from the model that they made, or no run would ever be cached.
    assert job.run(first_day) == ([], first)
    began_from, second = job.run(second_day, is_pushed=False)
    assert began_from == [first]
    assert job.run(second_day) == ([first], second)
    # A model that was held back is nobody's beginning.
    assert job.run(third_day)[0] == [first]


def test_no_training_begins_from_a_model_that_was_trained_into_the_evaluation_days(tmp_path):
    """The first evaluation day is 4 January: what was trained until the 3rd has seen nothing of it."""
    job = DailyJob(tmp_path)
    first_rows, second_rows, third_rows, now = (job.new(standard_artifacts.Examples) for _ in range(4))
    job.run(first_rows, unseen_from="2026-01-05")
    found = job.found(now)
    assert (found["model"], found["pushed_model"]) == ([], job.pushes)
    _, unseen = job.run(second_rows, unseen_from="2026-01-04")
    job.run(third_rows, unseen_from="2026-01-06")
    found = job.found(now)
    assert (found["model"], found["pushed_model"]) == ([unseen], [job.pushes[1]])


def test_newest_is_what_was_given_out_last(history):
    first, second, never = (history.new(standard_artifacts.Model) for _ in range(3))
    history.give_out(first)
    history.give_out(second)
    history.give_out(first)
    # A resolver hands an artifact on, it does not give it out.
    history.give_out(second, metadata_store_pb2.Event.INTERNAL_OUTPUT)
    assert newest_first(history.store, [first, second, never]) == [first, second]


def test_only_whole_artifacts_are_live(history):
    whole, half = history.new(standard_artifacts.Model), history.new(standard_artifacts.Model)
    for artifact, state in ((whole, metadata_store_pb2.Artifact.LIVE), (half, metadata_store_pb2.Artifact.PENDING)):
        artifact.mlmd_artifact.state = state
        history.store.put_artifacts([artifact.mlmd_artifact])
    assert [artifact.id for artifact in live_artifacts(history.store, "Model")] == [whole.id]
