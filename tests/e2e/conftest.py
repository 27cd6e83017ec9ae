import dataclasses
import gzip
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from data.simulator import simulate, write_feed
from data.source_config import SimulatorConfig
from pipeline.terminal import ARITHMETIC_VARIABLE

PROJECT = Path(__file__).parents[2]
NUM_IMPRESSIONS = 12_000
_SCRIPT = "import sys; from pipeline.cli import main; sys.exit(main())"


# What the demo has no use for, but a service must send as training saw it: a key of the context, a bucket of an item's number.
_MORE_BY_LINE = {
    "[data.source]": 'bucket_columns = { length = { column = "duration_seconds", edges = [12, 20.5, 35] } }',
    "aggregates = [": """
    { key = ["user_id", "surface"], windows = ["all"], measures = ["impressions", "click_rate"] },
    { key = ["user_id", "length"], windows = ["1d", "all"], measures = ["click_rate"] },""",
    "features = [": """
    { kind = "categorical", name = "length" },
    { kind = "numeric", name = "user_surface_history", transform = "log" },
    { kind = "numeric", name = "user_length_history", transform = "log" },""",
}
_MORE_SCHEMA = """
feature { name: "length" type: BYTES value_count { min: 1 max: 1 } presence { min_fraction: 1.0 } }
feature { name: "user_surface_history" type: FLOAT presence { min_fraction: 1.0 } shape { dim { size: 2 } } }
feature { name: "user_length_history" type: FLOAT presence { min_fraction: 1.0 } shape { dim { size: 2 } } }
"""


class Job:
    """One job in a folder of its own, driven through the command line: the demo with a few more columns."""

    def __init__(self, folder, extra=()):
        self.folder = folder
        self.root = folder / "root"
        self._file = folder / "job.toml"
        self._file.write_text(_configuration())
        schema = PROJECT / "configs" / "schemas" / "demo.pbtxt"
        (folder / "schema.pbtxt").write_text(schema.read_text() + _MORE_SCHEMA)
        self._settings = (
            f"job.root={self.root}",
            f"job.schema_file={folder}/schema.pbtxt",
            f"data.source.impressions={folder}/logs/impressions.jsonl.gz",
            f"data.source.engagements={folder}/logs/engagements.jsonl.gz",
            f"data.source.users={folder}/logs/users.csv",
            f"data.source.items={folder}/logs/items.csv",
            # More shards than the size asks for, so that a run can be killed between them.
            "data.num_partitions=12",
            "train.epochs=2",
            "train.batch_size=256",
            "evaluation.gates.click.floor=0.55",
            "evaluation.gates.satisfaction.floor=0.5",
            # How fast the service is on a busy machine is no matter of these tests.
            "serving.deadline_ms=20_000",
            *extra,
        )

    def start(self, command, *more, **streams):
        """A subcommand in a process of its own, still running."""
        settings = [part for setting in self._settings for part in ("--set", setting)]
        arguments = [command, str(self._file), *settings, *more]
        # Each command chooses its arithmetic by itself, as on a user's machine.
        environment = {name: value for name, value in os.environ.items() if name != ARITHMETIC_VARIABLE}
        return subprocess.Popen([sys.executable, "-c", _SCRIPT, *arguments], cwd=PROJECT, env=environment, text=True, **streams)

    def run(self, command):
        """A subcommand in a process of its own, as it ended."""
        process = self.start(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        output, errors = process.communicate()
        return Ended(process.returncode, output, errors)

    @property
    def config(self):
        from pipeline.config import load

        return load(self._file, self._settings)

    @property
    def versions(self):
        return sorted((self.root / "models" / "ranker").iterdir())

    def artifact(self, component, key):
        """Folder of the newest artifact of a component."""
        return max((self.root / "artifacts" / component / key).iterdir(), key=lambda path: int(path.name))


def _configuration():
    lines = (PROJECT / "configs" / "demo.toml").read_text().splitlines()
    for line, more in _MORE_BY_LINE.items():
        place = lines.index(line)
        lines.insert(place if line.startswith("[") else place + 1, more)
    return "\n".join(lines)


@dataclasses.dataclass(frozen=True)
class Ended:
    """A command that has ended."""

    exit_code: int
    output: str
    errors: str


@dataclasses.dataclass(frozen=True)
class Killed:
    """What a run left when it was killed while it wrote examples."""

    exit_code: int
    examples: Path
    has_counts: bool


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
    """A job whose first run was killed while it wrote examples, and whose second run came to its end."""
    job = make_job("job")
    (job.folder / "logs").symlink_to(logs)
    job.killed = _killed_run(job)
    job.ended = job.run("run")
    return job


def _killed_run(job):
    process = job.start("run", stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    ingestion = job.root / "artifacts" / "LogExampleGen"
    while process.poll() is None and not any(ingestion.glob("examples/*/Split-*/data_tfrecord-*")):
        time.sleep(0.002)
    process.kill()
    exit_code = process.wait()
    [examples] = ingestion.glob("examples/*")
    return Killed(exit_code, examples, any(ingestion.glob("report/*/counts.json")))


@pytest.fixture(scope="module")
def model_server(job):
    """The pushed versions of the job behind a port."""
    from serving.model_server.server import ModelServer

    server = ModelServer(job.config.serving.model_copy(update={"port": 0}), str(job.config.models_folder))
    server.port = server.start()
    yield server
    server.stop()


@pytest.fixture(scope="module")
def serving(job, model_server):
    """The configuration of the service, with the port of the model server."""
    return job.config.serving.model_copy(update={"port": model_server.port})


@pytest.fixture(scope="session")
def evaluation(job):
    """What the gate of the job's run found."""
    from pipeline.gate import read_evaluation

    return read_evaluation(job.artifact("Gate", "metrics"))


@pytest.fixture(scope="session")
def shuffled_version(job, tmp_path_factory):
    """A version trained as the job's own one, but on labels in random order."""
    import tensorflow as tf
    import tensorflow_transform as tft

    from models.export import export
    from models.packing import packed_examples, packed_spec, unpack
    from models.training import fit
    from pipeline.config import CONFIG_FILE

    config = job.config
    tft_output = tft.TFTransformOutput(str(job.artifact("Transform", "transform_graph")))
    files = sorted((job.artifact("Transform", "transformed_examples") / "Split-train").glob("*.gz"))
    records = list(tf.data.TFRecordDataset(files, compression_type="GZIP").as_numpy_iterator())
    spec = tft_output.transformed_feature_spec()
    columns = unpack(tf.io.parse_example(records, packed_spec(spec)), spec)
    columns = {name: np.reshape(column, (len(records), -1)) for name, column in columns.items()}
    order = np.random.default_rng(0).permutation(len(records))
    columns |= {task.label: columns[task.label][order] for task in config.model.tasks}
    batch = pa.record_batch([pa.array(list(column)) for column in columns.values()], list(columns))
    folder = tmp_path_factory.mktemp("shuffled")
    with tf.io.TFRecordWriter(str(folder / "rows.gz"), "GZIP") as writer:
        for example in packed_examples(batch):
            writer.write(example)
    fitted = fit(config.trained_model, config.train, tft_output, [str(folder / "rows.gz")])
    version = folder / "models" / "1"
    export(fitted.ranker, tft_output, str(version))
    beside = version / CONFIG_FILE
    beside.parent.mkdir(parents=True, exist_ok=True)
    beside.write_text(config.model_dump_json())
    return version
