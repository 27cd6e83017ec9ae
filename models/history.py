"""What a training leaves to read: losses, measures, learning rates and speed, as one typed tree that travels as JSON."""

import dataclasses

import pydantic

from models.part_sizes import PartSize
from models.warm_start_report import WarmStartReport


@dataclasses.dataclass(frozen=True)
class Point:
    """A few dozen steps of a training.

    Attributes:
        step: number of the last of them, counted from 1 over all epochs.
        losses: by label, means of the batches' losses as they were balanced: task weight times (main + gamma x small).
        total_loss: mean of what was minimised, penalties included.
        weights: by label, means of the balancing method's weights.
        conflict: means of what is known of the tasks' gradients, `gradient_cosine`, `gradient_dominance` and
            `gradient_reciprocal_condition` as of `MultiTaskRanker.train_step`, each over the steps that define it; empty where
            the method does not compare them.
        learning_rate: of the last step.
    """

    step: int
    losses: dict[str, float]
    total_loss: float
    weights: dict[str, float]
    conflict: dict[str, float]
    learning_rate: float


@dataclasses.dataclass(frozen=True)
class Epoch:
    """One pass over the training rows.

    Attributes:
        train_losses: by label, main tower's mean over rows with a known label, while training.
        validation_losses: the same on the validation rows after the pass, by the weights that are served; empty without
            validation files.
        validation_measures: by label and name of `models.metrics`, on the validation rows before calibration; None where the
            rows do not define one.
        stopping_value: what early stopping looked at; None without it.
        learning_rate: of the last step.
        num_steps: of the pass.
        num_rows: of the pass.
        train_seconds: wall time of the pass.
        validation_seconds: wall time of the validation after it.
    """

    train_losses: dict[str, float]
    validation_losses: dict[str, float]
    validation_measures: dict[str, dict[str, float | None]]
    stopping_value: float | None
    learning_rate: float
    num_steps: int
    num_rows: int
    train_seconds: float
    validation_seconds: float

    @property
    def rows_per_second(self):
        """Training rows a second, validation apart."""
        return self.num_rows / self.train_seconds


@dataclasses.dataclass(frozen=True)
class Course:
    """One training from initial weights to those that are kept.

    Attributes:
        epochs: one `Epoch` a pass.
        points: curve over the steps, at most a few hundred `Point`s.
        best_epoch: number, from 1, of the epoch whose weights are kept.
        is_stopped_early: whether early stopping ended it before the last configured epoch.
    """

    epochs: tuple[Epoch, ...]
    points: tuple[Point, ...]
    best_epoch: int
    is_stopped_early: bool

    @property
    def num_rows(self):
        """Rows trained on, each as often as it was."""
        return sum(epoch.num_rows for epoch in self.epochs)

    @property
    def train_seconds(self):
        """Wall time of all passes, validation apart."""
        return sum(epoch.train_seconds for epoch in self.epochs)


@dataclasses.dataclass(frozen=True)
class History:
    """All that is told of how a ranker was trained.

    Attributes:
        parts: sizes of the ranker's parts, as `MultiTaskRanker.describe` gives them at the start.
        training: on the training rows.
        refit: on training and validation rows together, whose weights are then served; None without it.
        warm_start: what was taken over from the model in service, or why nothing was; None where there was none to begin from.
    """

    parts: tuple[PartSize, ...]
    training: Course
    refit: Course | None
    warm_start: WarmStartReport | None

    @property
    def served(self):
        """`Course` that ended in the served weights."""
        return self.refit or self.training


_HISTORY = pydantic.TypeAdapter(History)


def to_json(history):
    """JSON text of a history.

    Args:
        history: `History`.

    Returns:
        str.
    """
    return _HISTORY.dump_json(history, indent=2).decode()


def from_json(text):
    """History of a JSON text.

    Args:
        text: as `to_json` gave it.

    Returns:
        `History`.
    """
    return _HISTORY.validate_json(text)
