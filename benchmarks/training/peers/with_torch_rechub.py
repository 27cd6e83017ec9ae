"""torch-rechub's MMoE on arrays, in an environment of its own: prints the seconds of every epoch and the last loss as JSON.

Imports nothing of this project. Rows come from `DataGenerator`, the input way of its documentation, in the training process:
with loading processes beside it, it was several times slower on two cores. Its layers have batch normalisation, which cannot be
turned off.
"""

import argparse
import contextlib
import importlib.metadata
import json
import os
import sys
import time

import numpy as np
import torch
from torch_rechub.basic.features import DenseFeature, SparseFeature
from torch_rechub.models.multi_task import MMOE
from torch_rechub.trainers import MTLTrainer
from torch_rechub.utils.data import DataGenerator


def main(arguments):
    """Trains and prints {"seconds", "rows", "loss", "versions"}.

    Args:
        arguments: of the command line.
    """
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("columns", help=".npz file with categories, numbers and labels")
    parser.add_argument("task", help="sizes as JSON")
    options = parser.parse_args(arguments)
    task = json.loads(options.task)
    torch.manual_seed(0)
    with np.load(options.columns) as arrays:
        categories, numbers, labels = arrays["categories"], arrays["numbers"], arrays["labels"]
    columns = {f"category_{index}": categories[:, index].copy() for index in range(categories.shape[1])}
    columns |= {f"number_{index}": numbers[:, index].copy() for index in range(numbers.shape[1])}
    features = [
        SparseFeature(f"category_{index}", vocab_size=task["vocabulary_size"], embed_dim=task["embedding_dimension"])
        for index in range(categories.shape[1])
    ]
    features += [DenseFeature(f"number_{index}") for index in range(numbers.shape[1])]
    tower = {"dims": [task["tower_units"]]}
    types = ["classification"] * labels.shape[1]
    model = MMOE(features, types, task["num_experts"], {"dims": [task["expert_units"]]}, [tower] * labels.shape[1])
    trainer = MTLTrainer(model, types, optimizer_params={"lr": task["learning_rate"]})
    few = {name: column[:1] for name, column in columns.items()}
    loader, _, _ = DataGenerator(columns, labels).generate_dataloader(
        few, labels[:1], few, labels[:1], batch_size=task["batch_size"]
    )
    seconds = []
    # Its progress bar and its prints go elsewhere; only the last line of the output counts.
    with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere), contextlib.redirect_stderr(nowhere):
        for _ in range(task["epochs"]):
            started_at = time.perf_counter()
            losses = trainer.train_one_epoch(loader)
            seconds.append(time.perf_counter() - started_at)
    versions = {"torch-rechub": importlib.metadata.version("torch-rechub"), "torch": torch.__version__}
    print(json.dumps({"seconds": seconds, "rows": len(labels), "loss": float(np.mean(losses)), "versions": versions}))


if __name__ == "__main__":
    main(sys.argv[1:])
