"""One training from initial weights to those that are kept: epochs, validation, early stopping, checkpoints."""

import contextlib
import dataclasses
import time

import pydantic
import tensorflow as tf

from models.averaging import AveragedWeights
from models.checkpoints import Checkpoints
from models.errors import DivergedError
from models.history import Course, Epoch, Point
from models.progress import Progress
from models.seeds import derive_seed
from models.step_loop import StepLoop
from models.validation import stopping_value

# Steps between two looks at the losses: each costs a synchronisation.
STEPS_AT_ONCE = 32
MAX_POINTS = 400


@dataclasses.dataclass
class _State:
    """What a course knows beside its variables.

    Attributes:
        epochs: those that are through.
        points: of the curve over the steps.
        stretches_by_point: of so many stretches one is kept as a point.
        num_stretches: so far.
        num_batches: of the epoch under way.
        num_rows: of the epoch under way.
        seconds: of the epoch under way.
        best_epoch: number from 1; the newest without early stopping.
        best_value: what early stopping looks at, as low as it was.
        is_stopped_early: whether early stopping has ended the course.
    """

    epochs: list[Epoch] = dataclasses.field(default_factory=list)
    points: list[Point] = dataclasses.field(default_factory=list)
    stretches_by_point: int = 1
    num_stretches: int = 0
    num_batches: int = 0
    num_rows: int = 0
    seconds: float = 0.0
    best_epoch: int = 0
    best_value: float | None = None
    is_stopped_early: bool = False


_STATE = pydantic.TypeAdapter(_State)


class CourseRun:
    """Trains a ranker, from the newest checkpoint if there is one.

    Args:
        ranker: compiled `MultiTaskRanker` that has seen a batch, made under the strategy's scope.
        rows: `TransformedRows` to train on.
        train_config: `TrainConfig`.
        num_epochs: passes at most.
        strategy: `tf.distribute.Strategy`.
        curves: `models.curves.Curves`.
        validator: `models.validation.Validator`, or None; it also decides when to stop, if that is configured.
        folder: of checkpoints; None keeps none.
        on_progress: called with a `Progress`, its `is_refit` False, or None.
    """

    def __init__(self, ranker, rows, train_config, num_epochs, strategy, curves, validator=None, folder=None, on_progress=None):
        self._ranker = ranker
        self._rows = rows
        self._config = train_config
        self._num_epochs = num_epochs
        self._strategy = strategy
        self._curves = curves
        self._validator = validator
        self._stopping = train_config.early_stopping if validator else None
        self._on_progress = on_progress
        self._parts = ranker.describe()
        self._estimated_rows = rows.estimate()
        with strategy.scope():
            self._averaged = train_config.ema_decay and AveragedWeights(ranker.served_variables, train_config.ema_decay)
            self._best = [tf.Variable(value, trainable=False) for value in ranker.served_variables] if self._stopping else []
        self._loop = StepLoop(ranker, rows.columns, strategy, self._averaged, train_config.xla)
        # An iterator by where it begins: it fills its first window while the graph is built, or the epoch before runs.
        self._ahead = {}
        self._read_ahead(0)
        self._loop.run(self._ahead[0, 0], 0)
        self._checkpoints = self._make_checkpoints(folder)
        self._state = self._restored()

    def run(self):
        """Trains to the end; the ranker then has the weights that are to be served.

        Returns:
            `Course`.

        Raises:
            DivergedError: If a loss is infinite or not a number; names the task and the batch.
            TrainingError: If the validation rows do not define the measure of early stopping.
        """
        state = self._state
        while len(state.epochs) < self._num_epochs and not state.is_stopped_early:
            self._run_epoch()
            self._end_epoch()
            self._save()
        kept = self._best or (self._averaged.averages if self._averaged else self._ranker.served_variables)
        _assign(self._ranker.served_variables, kept)
        return Course(tuple(state.epochs), tuple(state.points), state.best_epoch, state.is_stopped_early)

    def _make_checkpoints(self, folder):
        if folder is None:
            return None
        tracked = {"ranker": self._ranker, "optimizer": self._ranker.optimizer, "step": self._loop.step, "best": self._best}
        if self._averaged:
            tracked["averaged"] = self._averaged
        return Checkpoints(folder, tracked)

    def _restored(self):
        text = self._checkpoints and self._checkpoints.restore()
        return _STATE.validate_json(text) if text else _State()

    def _save(self):
        if self._checkpoints:
            self._checkpoints.save(_STATE.dump_json(self._state).decode())

    def _batches(self, epoch, first_batch):
        config, is_shared_out = self._config, self._strategy.num_replicas_in_sync > 1
        # A replica without a row has no mean; of the last batch some could be without.
        batches = self._rows.shuffled_batches(
            config.batch_size, config.shuffle_rows, derive_seed(config.seed, "rows"), epoch, first_batch, is_shared_out
        )
        return iter(self._strategy.experimental_distribute_dataset(batches) if is_shared_out else batches)

    def _read_ahead(self, epoch):
        self._ahead = {(epoch, 0): self._batches(epoch, 0)} if epoch < self._num_epochs else {}

    def _run_epoch(self):
        state = self._state
        if not state.num_batches:
            self._ranker.reset_metrics()
        begin = (len(state.epochs), state.num_batches)
        iterator = self._ahead[begin] if begin in self._ahead else self._batches(*begin)
        self._read_ahead(len(state.epochs) + 1)
        self._tell_progress()
        is_last = False
        while not is_last:
            started_at = time.monotonic()
            until_checkpoint = self._config.checkpoint_steps - int(self._loop.step) % self._config.checkpoint_steps
            stretch = self._loop.run(iterator, min(STEPS_AT_ONCE, until_checkpoint))
            state.seconds += time.monotonic() - started_at
            self._require_finite(stretch.divergence)
            state.num_batches += stretch.num_steps
            state.num_rows += stretch.num_rows
            if stretch.num_steps:
                self._keep_point(stretch)
            is_last = stretch.is_last
            if not is_last:
                self._tell_progress()
                if stretch.num_steps == until_checkpoint:
                    self._save()

    def _end_epoch(self):
        state, ranker = self._state, self._ranker
        means = ranker.mean_losses()
        train_losses = {label: float(means[f"{label}_loss"]) for label in ranker.labels}
        ranker.balancing.end_epoch(tf.stack([means[f"{label}_loss"] for label in ranker.labels]))
        started_at, validated, value = time.monotonic(), None, None
        if self._validator:
            with self._averaged.in_place() if self._averaged else contextlib.nullcontext():
                validated = self._validator.validate()
        number = len(state.epochs) + 1
        if self._stopping:
            value = stopping_value(self._stopping.measure, validated, ranker.config.tasks)
            self._judge(number, value)
        else:
            state.best_epoch = number
        epoch = Epoch(
            train_losses=train_losses,
            validation_losses=validated.losses if validated else {},
            validation_measures=validated.measures if validated else {},
            stopping_value=value,
            learning_rate=self._learning_rate(),
            num_steps=state.num_batches,
            num_rows=state.num_rows,
            train_seconds=state.seconds,
            validation_seconds=time.monotonic() - started_at,
        )
        self._curves.write_epoch(number, epoch)
        state.epochs.append(epoch)
        state.num_batches, state.num_rows, state.seconds = 0, 0, 0.0

    def _judge(self, number, value):
        state = self._state
        if state.best_value is None or value < state.best_value:
            state.best_epoch, state.best_value = number, value
            _assign(self._best, self._averaged.averages if self._averaged else self._ranker.served_variables)
        elif number - state.best_epoch > self._stopping.patience:
            state.is_stopped_early = number < self._num_epochs

    def _keep_point(self, stretch):
        state, labels = self._state, self._ranker.labels
        state.num_stretches += 1
        if state.num_stretches % state.stretches_by_point:
            return
        means = stretch.means
        point = Point(
            step=int(self._loop.step),
            losses={label: means[f"batch_{label}_loss"] for label in labels},
            total_loss=means["total_loss"],
            weights={label: means[f"weight_{label}"] for label in labels},
            conflict={name: value for name, value in means.items() if name.startswith("gradient_")},
            learning_rate=self._learning_rate(),
        )
        self._curves.write_point(point)
        state.points.append(point)
        if len(state.points) == MAX_POINTS:
            state.points, state.stretches_by_point = state.points[1::2], 2 * state.stretches_by_point

    def _learning_rate(self):
        rate = self._ranker.optimizer.learning_rate
        return float(tf.convert_to_tensor(rate(self._loop.step - 1) if callable(rate) else rate))

    def _require_finite(self, divergence):
        if divergence is None:
            return
        kind = "weight" if divergence.name.startswith("weight_") else "loss"
        task = divergence.name.removeprefix("weight_").removeprefix("batch_").removesuffix("_loss")
        of = "of all tasks with their penalties" if divergence.name == "total_loss" else f"of the task {task}"
        batch = divergence.step - sum(epoch.num_steps for epoch in self._state.epochs)
        raise DivergedError(
            "the training loss must stay finite; lower train.learning_rate. "
            f"Received: {kind}={divergence.value} {of} in epoch {len(self._state.epochs) + 1}, batch {batch}"
        )

    def _tell_progress(self):
        if self._on_progress is None:
            return
        state, means = self._state, self._ranker.mean_losses()
        self._on_progress(
            Progress(
                parts=self._parts,
                is_refit=False,
                epoch=len(state.epochs) + 1,
                num_epochs=self._num_epochs,
                num_rows=state.num_rows,
                total_rows=state.epochs[0].num_rows if state.epochs else self._estimated_rows,
                rows_per_second=state.num_rows / state.seconds if state.seconds else 0.0,
                losses={label: float(means[f"{label}_loss"]) for label in self._ranker.labels},
            )
        )


def _assign(variables, values):
    for variable, value in zip(variables, values, strict=True):
        variable.assign(value)
