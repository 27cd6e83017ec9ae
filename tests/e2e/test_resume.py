"""A run that is killed while it trains goes on from its checkpoint when it is run again, and ends as if it had not been."""

import signal
import subprocess
import time

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_transform as tft

from models.training import CURVES_FOLDER, fit
from pipeline.training_history import read_history

CHECKPOINT_STEPS = 10


@pytest.fixture(scope="module")
def twice_killed(make_job, logs):
    """A job killed when the first checkpoint was whole, and again when training was over: what follows is of no interest."""
    # A warm start where nothing was pushed yet: training begins anew.
    job = make_job("resume", "train.epochs=6", f"train.checkpoint_steps={CHECKPOINT_STEPS}", "train.warm_start=true")
    (job.folder / "logs").symlink_to(logs)
    kill_when(job, lambda: any((job.root / "unfinished").glob("*/training/checkpoint")))
    kill_when(job, lambda: not (job.root / "unfinished").exists())
    return job


def kill_when(job, is_time):
    process = job.start("run", stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while process.poll() is None and not is_time():
        time.sleep(0.002)
    process.kill()
    assert process.wait() == -signal.SIGKILL


def test_a_killed_training_goes_on_and_ends_as_if_it_had_not_been(twice_killed):
    job, config = twice_killed, twice_killed.config
    transformed = job.artifact("Transform", "transformed_examples")
    transform = job.artifact("Transform", "transform_graph")
    validation = [str(transformed / "Split-validation" / "*")] if config.data.split.validation_days else []
    expected = fit(
        config.trained_model,
        config.train,
        tft.TFTransformOutput(str(transform)),
        [str(transformed / "Split-train" / "*")],
        validation,
    )
    history = read_history(job.artifact("Trainer", "model_run"))
    assert [epoch.train_losses for epoch in history.training.epochs] == [epoch.train_losses for epoch in expected.epochs]
    assert history.training.points == expected.history.training.points
    model = tf.saved_model.load(str(job.artifact("Trainer", "model") / "Format-Serving"))
    for mine, theirs in zip(model.model_variables, expected.ranker.served_variables, strict=True):
        np.testing.assert_array_equal(mine.numpy(), theirs.numpy())


def test_what_the_checkpoint_held_was_not_trained_again(twice_killed):
    """Curves of both attempts lie beside the model; the second begins after the checkpoint."""
    run_folder = twice_killed.artifact("Trainer", "model_run")
    first, second = sorted((run_folder / CURVES_FOLDER / "training").glob("events*"), key=lambda path: path.name)
    num_steps = sum(epoch.num_steps for epoch in read_history(run_folder).training.epochs)
    assert min(steps_of(first)) == CHECKPOINT_STEPS
    assert CHECKPOINT_STEPS < min(steps_of(second)) < max(steps_of(second)) == num_steps


def steps_of(events):
    """Steps of the points of a curve."""
    return [
        event.step
        for event in tf.compat.v1.train.summary_iterator(str(events))
        for value in event.summary.value
        if value.tag == "steps/total_loss"
    ]
