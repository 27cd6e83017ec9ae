"""deepctr's MMoE on arrays, in an environment of its own: prints the seconds of every epoch and the last loss as JSON.

Imports nothing of this project. Arrays are handed to `fit` by column, the documented way and the fastest that it has.
"""

import argparse
import json
import sys
import time

import deepctr
import keras
import numpy as np
import tensorflow as tf
from deepctr.feature_column import DenseFeat, SparseFeat
from deepctr.models import MMOE


class EpochSeconds(keras.callbacks.Callback):
    """Collects the wall time of every epoch."""

    def __init__(self):
        super().__init__()
        self.seconds = []
        self._started_at = 0.0

    def on_epoch_begin(self, epoch, logs=None):
        """Notes the start."""
        self._started_at = time.perf_counter()

    def on_epoch_end(self, epoch, logs=None):
        """Notes the duration."""
        self.seconds.append(time.perf_counter() - self._started_at)


def main(arguments):
    """Trains and prints {"seconds", "rows", "loss", "versions"}.

    Args:
        arguments: of the command line.
    """
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("columns", help=".npz file with categories, numbers and labels")
    parser.add_argument("task", help="sizes as JSON")
    parser.add_argument("--compiled", action="store_true", help="with XLA")
    options = parser.parse_args(arguments)
    task = json.loads(options.task)
    with np.load(options.columns) as arrays:
        categories, numbers, labels = arrays["categories"], arrays["numbers"], arrays["labels"]
    columns = {f"category_{index}": categories[:, index].copy() for index in range(categories.shape[1])}
    columns |= {f"number_{index}": numbers[:, index].copy() for index in range(numbers.shape[1])}
    features = [
        SparseFeat(f"category_{index}", vocabulary_size=task["vocabulary_size"], embedding_dim=task["embedding_dimension"])
        for index in range(categories.shape[1])
    ]
    features += [DenseFeat(f"number_{index}", 1) for index in range(numbers.shape[1])]
    model = MMOE(
        features,
        num_experts=task["num_experts"],
        expert_dnn_hidden_units=[task["expert_units"]],
        tower_dnn_hidden_units=[task["tower_units"]],
        l2_reg_embedding=0,
        task_types=["binary"] * labels.shape[1],
        task_names=[f"label_{index}" for index in range(labels.shape[1])],
    )
    model.compile(
        keras.optimizers.Adam(task["learning_rate"]),
        loss=["binary_crossentropy"] * labels.shape[1],
        jit_compile=options.compiled,
    )
    timer = EpochSeconds()
    history = model.fit(
        columns,
        [labels[:, index].copy() for index in range(labels.shape[1])],
        batch_size=task["batch_size"],
        epochs=task["epochs"],
        verbose=0,
        callbacks=[timer],
    )
    versions = {"deepctr": deepctr.__version__, "tensorflow": tf.__version__, "keras": keras.__version__}
    # Keras adds up the labels' losses.
    loss = history.history["loss"][-1] / labels.shape[1]
    print(json.dumps({"seconds": timer.seconds, "rows": len(labels), "loss": loss, "versions": versions}))


if __name__ == "__main__":
    main(sys.argv[1:])
