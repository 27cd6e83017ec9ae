import gzip
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from data.config import SimulatorConfig
from data.simulator import simulate, write_feed
from pipeline.cli import cli

PROJECT = Path(__file__).parents[2]
NUM_IMPRESSIONS = 12_000


class Job:
    """One job in a folder of its own, driven through the command line."""

    def __init__(self, folder, extra=()):
        self.folder = folder
        self.root = folder / "root"
        self._settings = (
            f"job.root={self.root}",
            f"data.source.impressions={folder}/logs/impressions.jsonl.gz",
            f"data.source.engagements={folder}/logs/engagements.jsonl.gz",
            f"data.source.users={folder}/logs/users.csv",
            f"data.source.items={folder}/logs/items.csv",
            "train.epochs=2",
            "train.batch_size=256",
            "evaluation.min_auc.click=0.55",
            "evaluation.min_auc.satisfaction=0.5",
            *extra,
        )

    def arguments(self, command, *more):
        settings = [part for setting in self._settings for part in ("--set", setting)]
        return [command, str(PROJECT / "configs" / "demo.toml"), *settings, *more]

    def __call__(self, command, *more):
        """Runs a subcommand in this process; gives back click's result."""
        return CliRunner().invoke(cli, self.arguments(command, *more), catch_exceptions=False)

    @property
    def config(self):
        from pipeline.config import load

        return load(PROJECT / "configs" / "demo.toml", self._settings)

    @property
    def versions(self):
        return sorted((self.root / "models" / "ranker").iterdir())

    def artifact(self, component, key):
        """Folder of the newest artifact of a component."""
        return max((self.root / "artifacts" / component / key).iterdir(), key=lambda path: int(path.name))


@pytest.fixture(scope="session")
def logs(tmp_path_factory):
    """A small simulated feed with one line of garbage in its engagement log."""
    folder = tmp_path_factory.mktemp("feed")
    write_feed(simulate(SimulatorConfig(num_users=200, num_items=100, num_impressions=NUM_IMPRESSIONS, seed=3)), folder)
    with gzip.open(folder / "engagements.jsonl.gz", "at") as log:
        log.write("not json\n")
    return folder


@pytest.fixture(scope="session")
def make_job(tmp_path_factory):
    def make(name, *extra):
        return Job(tmp_path_factory.mktemp(name), extra)

    return make


@pytest.fixture(scope="session")
def job(make_job, logs):
    """A job whose pipeline has run once."""
    job = make_job("job")
    (job.folder / "logs").symlink_to(logs)
    job.run_exit_code = _run_in_own_process(job)
    return job


def _run_in_own_process(job, command="run"):
    script = "import sys; from pipeline.cli import main; sys.exit(main())"
    result = subprocess.run(
        [sys.executable, "-c", script, *job.arguments(command)], capture_output=True, text=True, cwd=PROJECT, check=False
    )
    job.output, job.errors = result.stdout, result.stderr
    return result.returncode


@pytest.fixture(scope="session")
def run_in_own_process():
    return _run_in_own_process


@pytest.fixture(scope="session")
def metrics(job):
    path = job.artifact("TaskEvaluator", "metrics") / "metrics.json"
    return json.loads(path.read_text())


@pytest.fixture(scope="session")
def shuffled_version(job, tmp_path_factory):
    """A version trained as the job's own one, but on labels in random order."""
    import tensorflow as tf
    import tensorflow_transform as tft

    from models.export import export
    from models.training import fit
    from pipeline.config import CONFIG_FILE

    config = job.config
    tft_output = tft.TFTransformOutput(str(job.artifact("Transform", "transform_graph")))
    files = sorted((job.artifact("Transform", "transformed_examples") / "Split-train").glob("*.gz"))
    rows = [tf.train.Example.FromString(row.numpy()) for row in tf.data.TFRecordDataset(files, compression_type="GZIP")]
    labels = [task.label for task in config.model.tasks]
    order = np.random.default_rng(0).permutation(len(rows))
    values = [{label: rows[index].features.feature[label].float_list.value[0] for label in labels} for index in order]
    folder = tmp_path_factory.mktemp("shuffled")
    with tf.io.TFRecordWriter(str(folder / "rows.gz"), "GZIP") as writer:
        for row, shuffled in zip(rows, values, strict=True):
            for label in labels:
                row.features.feature[label].float_list.value[:] = [shuffled[label]]
            writer.write(row.SerializeToString())
    fitted = fit(config.sized_model, config.train, tft_output, [str(folder / "rows.gz")])
    version = folder / "models" / "1"
    export(fitted.ranker, tft_output, str(version))
    beside = version / CONFIG_FILE
    beside.parent.mkdir(parents=True, exist_ok=True)
    beside.write_text(config.model_dump_json())
    return version
