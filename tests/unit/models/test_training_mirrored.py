"""Training on several devices, in a process that has two: it is the training on one, but for the last batch of an epoch."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from models.config import ModelConfig
from models.train_config import TrainConfig
from models.training import fit
from tests.unit.models.conftest import MODEL

PROJECT = Path(__file__).parents[3]
MODEL_CONFIG = ModelConfig(
    **MODEL | {"features": [feature for feature in MODEL["features"] if feature["name"] in ("user_id", "age", "fans")]}
)
# 320 rows: five whole batches.
# Adagrad: of a gradient that is all but 0, Adam makes a step as large as of any other, rounding and all.
TRAIN_CONFIG = TrainConfig(
    batch_size=64, epochs=2, optimizer="adagrad", learning_rate=0.1, clip_norm=1.0, ema_decay=0.9, shuffle_rows=500
)

CHILD = """
import json, sys
import tensorflow as tf
cpu, = tf.config.list_physical_devices("CPU")
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
import tensorflow_transform as tft
from models.training import fit
from tests.unit.models.test_training_mirrored import MODEL_CONFIG, TRAIN_CONFIG

transform, files = sys.argv[1:]
config = TRAIN_CONFIG.model_copy(update={"strategy": "mirrored"})
fitted = fit(MODEL_CONFIG, config, tft.TFTransformOutput(transform), [files], [files])
[kernel] = [variable for variable in fitted.ranker.served_variables if "tower_click/output/kernel" in variable.name]
print(json.dumps({
    "devices": len(kernel.values),
    "steps": [epoch.num_steps for epoch in fitted.epochs],
    "rows": [epoch.num_rows for epoch in fitted.epochs],
    "train": [epoch.train_losses for epoch in fitted.epochs],
    "validation": [epoch.validation_losses for epoch in fitted.epochs],
    "kernels": [value.numpy().ravel().tolist() for value in kernel.values],
}))
"""


def test_two_devices_train_as_one(transformed, train_files):
    transform = transformed.output.transform_savedmodel_dir.rpartition("/")[0]
    child = subprocess.run(
        [sys.executable, "-c", CHILD, transform, *train_files],
        cwd=PROJECT, env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}, capture_output=True, text=True,
    )  # fmt: skip
    assert child.returncode == 0, child.stderr[-3000:]
    on_two = json.loads(child.stdout.splitlines()[-1])
    on_one = fit(MODEL_CONFIG, TRAIN_CONFIG, transformed.output, train_files, train_files)
    assert (on_two["devices"], on_two["steps"], on_two["rows"]) == (2, [5, 5], [320, 320])
    assert on_two["kernels"][0] == on_two["kernels"][1]
    [kernel] = [variable for variable in on_one.ranker.served_variables if "tower_click/output/kernel" in variable.name]
    assert on_two["kernels"][0] == pytest.approx(kernel.numpy().ravel().tolist(), abs=1e-5)
    for number, epoch in enumerate(on_one.epochs):
        assert on_two["validation"][number] == pytest.approx(epoch.validation_losses, rel=1e-5)
        assert on_two["train"][number] == pytest.approx(epoch.train_losses, rel=1e-5)
