"""What every contender trains: the sizes of the MMoE and of its training, and seeded rows of that shape."""

import dataclasses

import numpy as np
import pyarrow as pa

from data.schema import mask_name
from models.config import ModelConfig
from models.train_config import TrainConfig

CATEGORIES, NUMBERS, LABELS = "categories", "numbers", "labels"

# Spread of the true logits: labels can be learned, and not fully.
_LOGIT_SCALE = 1.5
_POSITIVE_LOGIT = -1.0


@dataclasses.dataclass(frozen=True)
class Task:
    """Sizes of a multi-gate mixture of experts and of its training; of single layers all, gates are linear.

    Attributes:
        num_categories: categorical columns.
        vocabulary_size: values of each of them, the k-th as frequent as 1 / k.
        embedding_dimension: of each of them.
        num_numbers: dense columns, standard normal.
        num_labels: binary tasks.
        num_experts: that all tasks share.
        expert_units: of an expert's one layer.
        tower_units: of a tower's one hidden layer.
        batch_size: rows a step.
        learning_rate: of Adam.
        epochs: passes; the first one warms up and is not counted.
    """

    num_categories: int = 33
    vocabulary_size: int = 1_000
    embedding_dimension: int = 16
    num_numbers: int = 7
    num_labels: int = 2
    num_experts: int = 8
    expert_units: int = 16
    tower_units: int = 8
    batch_size: int = 1_024
    learning_rate: float = 1e-3
    epochs: int = 3

    @property
    def categories(self):
        """Names of the categorical columns."""
        return [f"category_{index}" for index in range(self.num_categories)]

    @property
    def numbers(self):
        """Names of the dense columns."""
        return [f"number_{index}" for index in range(self.num_numbers)]

    @property
    def labels(self):
        """Names of the labels."""
        return [f"label_{index}" for index in range(self.num_labels)]

    def model_config(self, gamma=0.0):
        """The task as this project's configuration says it.

        Args:
            gamma: weight of linear small towers; 0 for none, as peers have none.

        Returns:
            `ModelConfig`.
        """
        features = [{"kind": "categorical", "name": name, "dimension": self.embedding_dimension} for name in self.categories]
        features += [{"kind": "numeric", "name": name} for name in self.numbers]
        return ModelConfig.model_validate(
            {
                "features": features,
                "body": {"kind": "mmoe", "num_experts": self.num_experts, "expert_units": [self.expert_units]},
                "tower_units": [self.tower_units],
                "small_tower": {"kind": "linear", "gamma": gamma},
                "tasks": [{"label": name, "head": "binary"} for name in self.labels],
            }
        )

    def train_config(self):
        """The training as this project's configuration says it; what is not asked of peers stays as shipped.

        Returns:
            `TrainConfig`.
        """
        return TrainConfig(batch_size=self.batch_size, epochs=self.epochs, learning_rate=self.learning_rate)


def random_columns(task, num_rows, seed):
    """Rows whose labels follow from their columns, but for chance.

    Args:
        task: `Task`.
        num_rows: at least 1.
        seed: of everything.

    Returns:
        Dict of `CATEGORIES`, (rows, num_categories) int64; `NUMBERS`, (rows, num_numbers) float32; `LABELS`,
        (rows, num_labels) float32 in {0, 1}.
    """
    rng = np.random.default_rng(seed)
    weights = 1 / np.arange(1, task.vocabulary_size + 1)
    shape = num_rows, task.num_categories
    categories = rng.choice(task.vocabulary_size, size=shape, p=weights / weights.sum())
    numbers = rng.normal(size=(num_rows, task.num_numbers)).astype(np.float32)
    labels = np.empty((num_rows, task.num_labels), np.float32)
    for label in range(task.num_labels):
        effects = rng.normal(size=(task.num_categories, task.vocabulary_size))
        logits = effects[np.arange(task.num_categories), categories].sum(axis=1) + numbers @ rng.normal(size=task.num_numbers)
        scaled = _POSITIVE_LOGIT + _LOGIT_SCALE * (logits - logits.mean()) / max(logits.std(), 1e-9)
        labels[:, label] = rng.uniform(size=num_rows) < 1 / (1 + np.exp(-scaled))
    return {CATEGORIES: categories, NUMBERS: numbers, LABELS: labels}


def as_table(task, columns):
    """Rows as this project's transform takes them, every label known.

    Args:
        task: `Task`.
        columns: as of `random_columns`.

    Returns:
        `pyarrow.Table` of the named columns, labels and masks.
    """
    named = {}
    for names, key in ((task.categories, CATEGORIES), (task.numbers, NUMBERS), (task.labels, LABELS)):
        named |= {name: pa.array(np.ascontiguousarray(columns[key][:, index])) for index, name in enumerate(names)}
    known = pa.array(np.ones(len(columns[LABELS]), np.float32))
    return pa.table({**named, **{mask_name(name): known for name in task.labels}})


def base_entropy(columns):
    """Mean cross entropy of who knows the labels' rates and nothing else, over all labels.

    Args:
        columns: as of `random_columns`.

    Returns:
        float.
    """
    rates = columns[LABELS].mean(axis=0, dtype=np.float64)
    return float(np.mean(-rates * np.log(rates) - (1 - rates) * np.log1p(-rates)))
