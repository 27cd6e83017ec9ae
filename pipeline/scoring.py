"""Scores labelled rows through a model's served signature, and measures the scores by task."""

import dataclasses
from pathlib import Path

import numpy as np
import tensorflow as tf

from data.schema import mask_name
from models.metrics import evaluate, lists_of
from pipeline.errors import VersionError

_BATCH_ROWS = 4_096
_KEYS = ("user_id", "item_id", "day", "request_id")


@dataclasses.dataclass(frozen=True)
class ScoredRows:
    """Rows of an evaluation split with a model's predictions.

    Attributes:
        keys: (rows,) strings by name: user_id, item_id, day, and request_id, empty where unknown.
        labels: (rows,) float32 by label.
        masks: (rows,) float32 in {0, 1} by label.
        predictions: (rows,) float32 by label: probabilities, grades, or seconds.
    """

    keys: dict
    labels: dict
    masks: dict
    predictions: dict

    @property
    def user_days(self):
        """(rows,) int group of each row's user and day, in which GAUC ranks."""
        both = np.char.add(np.char.add(self.keys["user_id"].astype("U"), "\t"), self.keys["day"].astype("U"))
        return np.unique(both, return_inverse=True)[1]

    @property
    def lists(self):
        """(rows,) int list in which NDCG ranks each row: its request, else its user and day."""
        return lists_of(self.user_days, self.keys["request_id"])


def score(model_folder, examples_folder, labels):
    """Scores every row of a folder of TFRecords, in the order of its files.

    Args:
        model_folder: folder with `saved_model.pb`.
        examples_folder: folder of gzipped TFRecords of raw labelled tf.Examples.
        labels: names of the tasks' labels.

    Returns:
        `ScoredRows`.

    Raises:
        VersionError: If there is no model or there are no rows.
    """
    if not Path(model_folder, "saved_model.pb").exists():
        raise VersionError(f"no model in {model_folder}: saved_model.pb is missing")
    files = sorted(str(path) for path in Path(examples_folder).glob("*.gz"))
    if not files:
        raise VersionError(f"no evaluation rows in {examples_folder}; run the pipeline of this model again")
    predict_fn = tf.saved_model.load(str(model_folder)).signatures["serving_default"]
    spec = {name: tf.io.FixedLenFeature([], tf.string, "") for name in _KEYS}
    for label in labels:
        spec[label] = spec[mask_name(label)] = tf.io.FixedLenFeature([], tf.float32)
    columns = {name: [] for name in spec}
    predictions = {label: [] for label in labels}
    for serialized in tf.data.TFRecordDataset(files, compression_type="GZIP").batch(_BATCH_ROWS):
        for name, values in tf.io.parse_example(serialized, spec).items():
            columns[name].append(values.numpy())
        outputs = predict_fn(examples=serialized)
        for label in labels:
            predictions[label].append(outputs[label].numpy())
    columns = {name: np.concatenate(parts) for name, parts in columns.items()}
    return ScoredRows(
        keys={name: columns[name] for name in _KEYS},
        labels={label: columns[label] for label in labels},
        masks={label: columns[mask_name(label)] for label in labels},
        predictions={label: np.concatenate(parts) for label, parts in predictions.items()},
    )


def measure(rows, tasks):
    """Measures scores by task.

    Args:
        rows: `ScoredRows`.
        tasks: `TaskConfig`s.

    Returns:
        Dict from label to dict from measure to `models.metrics.Metric`.
    """
    return evaluate(rows.labels, rows.masks, rows.predictions, rows.user_days, tasks, rows.keys["request_id"])
