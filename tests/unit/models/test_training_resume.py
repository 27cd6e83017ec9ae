"""A training that is killed and one that is not end with the same weights and the same history."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np

from models.config import ModelConfig
from models.history import to_json
from models.step_loop import StepLoop
from models.train_config import TrainConfig
from models.training import fit
from tests.unit.models.conftest import MODEL

PROJECT = Path(__file__).parents[3]

# Dropout, and a balancing method that remembers epochs: their state must come back too.
MODEL_CONFIG = ModelConfig(
    **MODEL
    | {
        "features": [feature for feature in MODEL["features"] if feature["name"] in ("user_id", "age", "fans")],
        "dropout": 0.2,
        "balancing": {"kind": "dwa"},
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


def train_until_killed(transformed, train_files, folder, last_step, phase):
    transform = transformed.output.transform_savedmodel_dir.rpartition("/")[0]
    child = subprocess.run(
        [sys.executable, "-c", CHILD, transform, *train_files, folder, str(last_step), str(phase)],
        cwd=PROJECT, env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}, capture_output=True, text=True,
    )  # fmt: skip
    assert child.returncode == -signal.SIGKILL, child.stderr[-2000:]


def without_times(history):
    """The history as plain values, but for what a clock says."""

    def strip(value):
        if isinstance(value, dict):
            return {key: strip(part) for key, part in value.items() if key not in ("train_seconds", "validation_seconds")}
        return [strip(part) for part in value] if isinstance(value, list) else value

    return strip(json.loads(to_json(history)))


def assert_same(mine, theirs):
    for variable, other in zip(mine.ranker.served_variables, theirs.ranker.served_variables, strict=True):
        np.testing.assert_array_equal(variable.numpy(), other.numpy())
    assert without_times(mine.history) == without_times(theirs.history)


def test_a_training_killed_twice_ends_as_if_it_had_not_been(transformed, train_files, tmp_path, monkeypatch):
    """Killed between two checkpoints of the third epoch, and then in the refit."""
    uninterrupted = train(transformed, train_files)
    folder = str(tmp_path / "run")
    train_until_killed(transformed, train_files, folder, last_step=27, phase=1)
    train_until_killed(transformed, train_files, folder, last_step=13, phase=2)
    run, taken = StepLoop.run, []

    def counted(self, iterator, num_steps):
        stretch = run(self, iterator, num_steps)
        taken.append(stretch.num_steps)
        return stretch

    monkeypatch.setattr(StepLoop, "run", counted)
    assert_same(train(transformed, train_files, folder), uninterrupted)
    # What the last checkpoint held, all of the first training and 12 steps of the refit, was not trained again.
    refit = uninterrupted.history.refit
    assert sum(taken) == sum(epoch.num_steps for epoch in refit.epochs) - 12
    taken.clear()
    assert_same(train(transformed, train_files, folder), uninterrupted)
    assert sum(taken) == 0
