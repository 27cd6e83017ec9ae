"""Scores labelled rows through a model's served signature."""

import dataclasses
import functools
from pathlib import Path

import numpy as np
import tensorflow as tf

from data.schema import mask_name
from models.metrics import lists_of
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
        predictions: (rows,) float32 by label: probabilities, grades, or seconds; without the labels that the model lacks.
    """

    keys: dict
    labels: dict
    masks: dict
    predictions: dict

    @functools.cached_property
    def users(self):
        """(rows,) int user of each row."""
        return np.unique(self.keys["user_id"], return_inverse=True)[1]

    @functools.cached_property
    def user_days(self):
        """(rows,) int group of each row's user and day, in which GAUC ranks."""
        return self._groups("day")

    @functools.cached_property
    def lists(self):
        """(rows,) int list in which NDCG ranks each row: its user's request, else its user and day."""
        is_known = np.asarray(self.keys["request_id"], object).astype(bool)
        return lists_of(self.user_days, np.where(is_known, self._groups("request_id").astype("U"), ""))

    def are_since(self, day):
        """Which rows are of a day or a later one.

        Args:
            day: YYYY-MM-DD.

        Returns:
            (rows,) bool.
        """
        return self.keys["day"].astype(bytes) >= day.encode()

    def where(self, is_kept):
        """Some of the rows.

        Args:
            is_kept: (rows,) bool.

        Returns:
            `ScoredRows`.
        """
        parts = (self.keys, self.labels, self.masks, self.predictions)
        return ScoredRows(*({name: column[is_kept] for name, column in part.items()} for part in parts))

    def _groups(self, name):
        values = np.unique(self.keys[name], return_inverse=True)[1]
        return np.unique(self.users * (values.max(initial=0) + 1) + values, return_inverse=True)[1]


@dataclasses.dataclass(frozen=True)
class InService:
    """The model in service on the evaluation rows.

    Attributes:
        name: as "version 17".
        rows: what it makes of them.
        unseen_from: first day that it was not trained on, YYYY-MM-DD; None where that is not known.
    """

    name: str
    rows: ScoredRows
    unseen_from: str | None


def score(model_folder, examples_folder, labels):
    """Scores every row of a folder of TFRecords, in the order of its files.

    Args:
        model_folder: folder with `saved_model.pb`.
        examples_folder: folder of gzipped TFRecords of raw labelled tf.Examples.
        labels: names of the tasks' labels; one that the model has no output for gets no predictions.

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
    predictions = {label: [] for label in labels if label in predict_fn.structured_outputs}
    for serialized in tf.data.TFRecordDataset(files, compression_type="GZIP").batch(_BATCH_ROWS):
        for name, values in tf.io.parse_example(serialized, spec).items():
            columns[name].append(values.numpy())
        outputs = predict_fn(examples=serialized)
        for label, parts in predictions.items():
            parts.append(outputs[label].numpy())
    columns = {name: np.concatenate(parts) for name, parts in columns.items()}
    return ScoredRows(
        keys={name: columns[name] for name in _KEYS},
        labels={label: columns[label] for label in labels},
        masks={label: columns[mask_name(label)] for label in labels},
        predictions={label: np.concatenate(parts) for label, parts in predictions.items()},
    )
