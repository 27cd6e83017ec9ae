"""This project's side, in a process of its own: `python -m benchmarks.training.product WHAT FOLDER TASK [PAIRS]`.

WHAT is `end_to_end`, the Trainer's `fit` from TFRecords with checkpoints and curves; `from_files`, the same where rows have no
room in memory and are read in every epoch; `in_memory`, its training step on batches that lie in memory, which is as fast as
any input can make it; or `small_towers`, that step with and without small towers in turn, in so many pairs of blocks. Prints
JSON.
"""

import itertools
import json
import pathlib
import sys
import tempfile
import time

import numpy as np
import tensorflow as tf
import tensorflow_transform as tft

from benchmarks.training.paths import rows_glob, transform_folder
from benchmarks.training.task import Task
from models.inputs import table_sizes
from models.keras import keras
from models.optimizers import make_optimizer
from models.ranker import MultiTaskRanker
from models.rows import TransformedRows
from models.step_loop import StepLoop
from models.training import fit

# Distinct batches in memory: more would leave the processor's caches as batches from files do, fewer would not.
NUM_BATCHES = 64
WARM_UP_STEPS = 32
STEPS_BY_BLOCK = 16
# Of this project, after the first: its epochs are short.
FURTHER_EPOCHS = 6
GAMMA = 1.0


def end_to_end(folder, task):
    """Training from files, by the clock on the wall: one `fit`, from the moment its second epoch begins until it returns.

    All that a further epoch costs is in it: batches, checkpoints, curves. The rows are read before the first epoch, and what
    that takes is added.

    Args:
        folder: `pathlib.Path` that `benchmarks.training.rows.write_rows` wrote to.
        task: `Task`.

    Returns:
        Dict of `seconds` by epoch, those after the first alike, `rows` of an epoch and `loss`, the mean over tasks in the epoch
        in which the other contenders end.
    """
    train, tft_output = task.train_config(), tft.TFTransformOutput(str(transform_folder(folder)))
    started_at = time.perf_counter()
    with TransformedRows([rows_glob(folder)], tft_output.transformed_feature_spec()).held(train.cache_mib) as is_held:
        reading_seconds = time.perf_counter() - started_at
    return _fitted(folder, task, train, reading_seconds if is_held else 0.0)


def from_files(folder, task):
    """Training from files that are read in every epoch, as where rows have no room in memory.

    The first window of rows is read ahead while the first epoch runs, and is not in it.

    Args:
        folder: as of `end_to_end`.
        task: `Task`.

    Returns:
        As `end_to_end`.
    """
    return _fitted(folder, task, task.train_config().model_copy(update={"cache_mib": 0}), 0.0)


def _fitted(folder, task, train, more_seconds):
    begun_at = {}
    with tempfile.TemporaryDirectory(dir=folder) as run_folder:
        started_at = time.perf_counter()
        fitted = fit(
            task.model_config(),
            train.model_copy(update={"epochs": 1 + FURTHER_EPOCHS}),
            tft.TFTransformOutput(str(transform_folder(folder))),
            [rows_glob(folder)],
            folder=run_folder,
            on_progress=lambda progress: begun_at.setdefault(progress.epoch, time.perf_counter()),
        )
        ended_at = time.perf_counter()
    last = fitted.epochs[task.epochs - 1]
    further_seconds = ended_at - begun_at[2] + more_seconds
    return {
        "seconds": [begun_at[2] - started_at, *[further_seconds / FURTHER_EPOCHS] * FURTHER_EPOCHS],
        "rows": last.num_rows,
        "loss": float(np.mean(list(last.train_losses.values()))),
    }


def in_memory(folder, task):
    """The same steps on batches in memory.

    Args:
        folder: as of `end_to_end`.
        task: `Task`.

    Returns:
        Dict of `seconds` by pass over as many steps as an epoch has, `rows` of a pass and `loss`, the mean over tasks in the
        last one.
    """
    tft_output = tft.TFTransformOutput(str(transform_folder(folder)))
    num_rows = TransformedRows([rows_glob(folder)], tft_output.transformed_feature_spec()).read([])[1]
    num_steps = num_rows // task.batch_size
    loop, batches = make_loop(folder, task, tft_output, gamma=0.0)
    loop.run(batches, WARM_UP_STEPS)
    seconds = []
    for _ in range(FURTHER_EPOCHS):
        started_at = time.perf_counter()
        stretch = loop.run(batches, num_steps)
        seconds.append(time.perf_counter() - started_at)
    loss = float(np.mean([stretch.means[f"batch_{label}_loss"] for label in task.labels]))
    return {"seconds": seconds, "rows": num_steps * task.batch_size, "loss": loss}


def small_towers(folder, task, num_pairs):
    """What small towers add to a step: blocks of steps with and without them, in turn, the order of a pair alternating.

    Args:
        folder: as of `end_to_end`.
        task: `Task`.
        num_pairs: pairs of blocks.

    Returns:
        Dict of `ratios`, seconds with small towers over seconds without, by pair.
    """
    tft_output = tft.TFTransformOutput(str(transform_folder(folder)))
    loops = {gamma: make_loop(folder, task, tft_output, gamma) for gamma in (0.0, GAMMA)}
    for loop, batches in loops.values():
        loop.run(batches, WARM_UP_STEPS)
    ratios = []
    for _, order in zip(range(num_pairs), itertools.cycle([(0.0, GAMMA), (GAMMA, 0.0)])):
        seconds = {}
        for gamma in order:
            loop, batches = loops[gamma]
            started_at = time.perf_counter()
            loop.run(batches, STEPS_BY_BLOCK)
            seconds[gamma] = time.perf_counter() - started_at
        ratios.append(seconds[GAMMA] / seconds[0.0])
    return {"ratios": ratios}


def make_loop(folder, task, tft_output, gamma):
    """The Trainer's loop over steps, and endless batches in memory to run it on.

    Args:
        folder: as of `end_to_end`.
        task: `Task`.
        tft_output: `tft.TFTransformOutput` of that folder.
        gamma: weight of small towers; 0 for none.

    Returns:
        Pair (`StepLoop`, iterator over packed batches).
    """
    rows = TransformedRows([rows_glob(folder)], tft_output.transformed_feature_spec())
    train, model = task.train_config(), task.model_config(gamma)
    keras.utils.set_random_seed(train.seed)
    kept = list(
        rows.shuffled_batches(train.batch_size, train.shuffle_rows, train.seed, 0, drop_remainder=True).take(NUM_BATCHES)
    )
    batches = tf.data.Dataset.from_tensor_slices({name: [batch[name] for batch in kept] for name in kept[0]}).cache().repeat()
    ranker = MultiTaskRanker(model, table_sizes(model, tft_output), seed=train.seed)
    ranker.batch_losses(rows.columns(kept[0]), training=True)
    ranker.compile(optimizer=make_optimizer(train, train.learning_rate))
    iterator = iter(batches)
    loop = StepLoop(ranker, rows.columns, tf.distribute.get_strategy())
    loop.run(iterator, 0)
    return loop, iterator


def main(arguments):
    """Does one of the measurements and prints it.

    Args:
        arguments: what, folder, `Task` as JSON, and for `small_towers` the number of pairs.
    """
    what, folder, task, *pairs = arguments
    measure_fn = {each.__name__: each for each in (end_to_end, from_files, in_memory, small_towers)}[what]
    print(json.dumps(measure_fn(pathlib.Path(folder), Task(**json.loads(task)), *map(int, pairs))))


if __name__ == "__main__":
    main(sys.argv[1:])
