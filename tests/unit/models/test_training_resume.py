"""A training that is killed and one that is not end with the same weights and the same history."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from models.config import ModelConfig
from models.history import to_json
from models.step_loop import StepLoop
from models.train_config import TrainConfig
from models.training import fit
from tests.unit.models.conftest import MODEL

PROJECT = Path(__file__).parents[3]

# Dropout and a balancing method with random draws: their state must come back too.
MODEL_CONFIG = ModelConfig(
    **MODEL
    | {
        "features": [feature for feature in MODEL["features"] if feature["name"] in ("user_id", "age", "fans")],
        "dropout": 0.2,
        "balancing": {"kind": "pcgrad"},
    }
)
TRAIN_CONFIG = TrainConfig(
    batch_size=32,
    epochs=4,
    learning_rate=0.05,
    schedule="cosine",
    warmup_steps=3,
    ema_decay=0.8,
    clip_norm=5.0,
    shuffle_rows=100,
    checkpoint_steps=4,
    early_stopping={"measure": "loss", "patience": 3},
    refit=True,
    tensorboard=False,
)

# Runs a training in a process of its own, which kills itself at a step.
CHILD = """
import os, signal, sys
import tensorflow as tf
import tensorflow_transform as tft
from models.step_loop import StepLoop
from models.training import fit
from tests.unit.models.test_training_resume import MODEL_CONFIG, TRAIN_CONFIG

transform, files, folder, last_step, phase = sys.argv[1:]
run, phases = StepLoop.run, []

def killed(self, iterator, num_steps):
    if not num_steps:
        phases.append(self)
    stretch = run(self, iterator, num_steps)
    if len(phases) == int(phase) and int(self.step) >= int(last_step):
        os.kill(os.getpid(), signal.SIGKILL)
    return stretch

StepLoop.run = killed
fit(MODEL_CONFIG, TRAIN_CONFIG, tft.TFTransformOutput(transform), [files], [files], folder=folder)
"""


def train(transformed, train_files, folder=None):
    return fit(MODEL_CONFIG, TRAIN_CONFIG, transformed.output, train_files, train_files, folder=folder)


@pytest.fixture(scope="module")
def uninterrupted(transformed, train_files):
    return train(transformed, train_files)


def without_times(history):
    """The history as JSON, but for what a clock says."""

    def strip(value):
        if isinstance(value, dict):
            return {key: strip(part) for key, part in value.items() if not key.endswith("_seconds") or "watch" in key}
        return [strip(part) for part in value] if isinstance(value, list) else value

    return strip(json.loads(to_json(history)))


# In the first epoch; between two checkpoints of the third; in the refit.
@pytest.mark.parametrize(("last_step", "phase"), [(5, 1), (27, 1), (13, 2)])
def test_a_killed_training_ends_as_if_it_had_not_been(transformed, train_files, uninterrupted, tmp_path, last_step, phase):
    arguments = [transformed.output.transform_savedmodel_dir.rpartition("/")[0], *train_files, str(tmp_path / "run")]
    child = subprocess.run(
        [sys.executable, "-c", CHILD, *arguments, str(last_step), str(phase)],
        cwd=PROJECT, env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}, capture_output=True, text=True,
    )  # fmt: skip
    assert child.returncode == -signal.SIGKILL, child.stderr[-2000:]
    taken = []
    resumed = train_counting(transformed, train_files, str(tmp_path / "run"), taken)
    for mine, theirs in zip(resumed.ranker.served_variables, uninterrupted.ranker.served_variables, strict=True):
        np.testing.assert_array_equal(mine.numpy(), theirs.numpy())
    assert without_times(resumed.history) == without_times(uninterrupted.history)
    # What the checkpoint held was not trained again.
    steps = sum(epoch.num_steps for course in (resumed.history.training, resumed.history.refit) for epoch in course.epochs)
    assert 0 < sum(taken) < steps


def train_counting(transformed, train_files, folder, taken):
    run = StepLoop.run

    def counted(self, iterator, num_steps):
        stretch = run(self, iterator, num_steps)
        taken.append(stretch.num_steps)
        return stretch

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(StepLoop, "run", counted)
        return train(transformed, train_files, folder)


def test_a_finished_training_is_not_trained_again(transformed, train_files, uninterrupted, tmp_path):
    first = train(transformed, train_files, str(tmp_path / "run"))
    taken = []
    again = train_counting(transformed, train_files, str(tmp_path / "run"), taken)
    assert sum(taken) == 0
    assert without_times(first.history) == without_times(again.history) == without_times(uninterrupted.history)
    for mine, theirs in zip(first.ranker.served_variables, again.ranker.served_variables, strict=True):
        np.testing.assert_array_equal(mine.numpy(), theirs.numpy())
