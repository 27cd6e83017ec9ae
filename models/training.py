"""Training of the ranker: transformed examples in, a fitted ranker and the losses of every epoch out."""

import dataclasses
import math
import time

import tensorflow as tf

from models.errors import DivergedError
from models.inputs import table_sizes
from models.keras import keras
from models.ranker import MultiTaskRanker

# Files read at a time; the rest of the parallelism is TensorFlow's to choose.
FILES_AT_ONCE = 4


@dataclasses.dataclass(frozen=True)
class Epoch:
    """Losses of one pass over the training rows.

    Attributes:
        train_losses: by label, main tower's mean over rows with a known label, while training.
        validation_losses: the same on the validation rows after the pass; empty without validation files.
        seconds: wall time of training and validation.
    """

    train_losses: dict[str, float]
    validation_losses: dict[str, float]
    seconds: float


@dataclasses.dataclass(frozen=True)
class Fitted:
    """Result of a training run.

    Attributes:
        ranker: `MultiTaskRanker`.
        epochs: one `Epoch` a pass.
    """

    ranker: MultiTaskRanker
    epochs: tuple[Epoch, ...]


def make_dataset(file_patterns, feature_spec, train_config, shuffle):
    """Batches of transformed columns.

    Args:
        file_patterns: globs of gzipped TFRecord files of transformed tf.Examples; each must match a file.
        feature_spec: of those examples, as `TFTransformOutput.transformed_feature_spec` gives it.
        train_config: `TrainConfig`; gives batch size, shuffle buffer and seed.
        shuffle: whether rows and files are shuffled, anew in every pass.

    Returns:
        `tf.data.Dataset` of dicts of (batch,) columns; the last batch may be smaller.
    """
    files = tf.data.Dataset.list_files(file_patterns, shuffle=shuffle, seed=train_config.seed)
    # Parallel, yet in a fixed order: a seed names one run.
    rows = files.interleave(
        lambda file: tf.data.TFRecordDataset(file, compression_type="GZIP", buffer_size=1 << 20),
        cycle_length=FILES_AT_ONCE,
        block_length=256,
        num_parallel_calls=FILES_AT_ONCE,
        deterministic=True,
    )
    if shuffle:
        rows = rows.shuffle(train_config.shuffle_rows, seed=train_config.seed)
    # Parsing a batch costs a fraction of parsing its rows one by one.
    batches = rows.batch(train_config.batch_size)
    batches = batches.map(
        lambda examples: tf.io.parse_example(examples, feature_spec), num_parallel_calls=tf.data.AUTOTUNE, deterministic=True
    )
    return batches.prefetch(tf.data.AUTOTUNE)


def fit(model_config, train_config, tft_output, train_files, validation_files=(), callbacks=()):
    """Ranker trained on transformed examples.

    A training loss that is infinite or not a number stops the run with `DivergedError`.

    Args:
        model_config: `ModelConfig`.
        train_config: `TrainConfig`.
        tft_output: `tft.TFTransformOutput` of `models.features.preprocess` with the same configuration.
        train_files: globs of gzipped TFRecord files of transformed tf.Examples.
        validation_files: the same for validation; none skips it.
        callbacks: further Keras callbacks.

    Returns:
        `Fitted`.
    """
    keras.utils.set_random_seed(train_config.seed)
    spec = tft_output.transformed_feature_spec()
    ranker = MultiTaskRanker(model_config, table_sizes(model_config, tft_output), seed=train_config.seed)
    ranker.compile(optimizer=make_optimizer(train_config))
    recorder = _EpochRecorder([task.label for task in model_config.tasks])
    ranker.fit(
        make_dataset(train_files, spec, train_config, shuffle=True),
        validation_data=make_dataset(validation_files, spec, train_config, shuffle=False) if validation_files else None,
        epochs=train_config.epochs,
        callbacks=[_FiniteLoss(), recorder, *callbacks],
        verbose=0,
    )
    return Fitted(ranker, tuple(recorder.epochs))


def make_optimizer(train_config):
    """Keras optimizer of a configuration.

    Args:
        train_config: `TrainConfig`.

    Returns:
        `keras.optimizers.Optimizer`.
    """
    optimizers = {"adam": keras.optimizers.Adam, "adagrad": keras.optimizers.Adagrad}
    return optimizers[train_config.optimizer](learning_rate=train_config.learning_rate)


class _FiniteLoss(keras.callbacks.Callback):
    """Stops a run at the first batch whose loss is not a finite number."""

    def __init__(self):
        super().__init__()
        self._epoch = 0

    def on_epoch_begin(self, epoch, logs=None):
        self._epoch = epoch

    def on_train_batch_end(self, batch, logs=None):
        loss = float(logs["total_loss"])
        if not math.isfinite(loss):
            raise DivergedError(
                "the training loss must stay finite; lower train.learning_rate. "
                f"Received: loss={loss} in epoch {self._epoch + 1}, batch {batch + 1}"
            )


class _EpochRecorder(keras.callbacks.Callback):
    """Collects an `Epoch` a pass."""

    def __init__(self, labels):
        super().__init__()
        self.epochs = []
        self._labels = labels
        self._started_at = 0.0

    def on_epoch_begin(self, epoch, logs=None):
        self._started_at = time.monotonic()

    def on_epoch_end(self, epoch, logs=None):
        train_losses = {label: float(logs[f"{label}_loss"]) for label in self._labels}
        validation_losses = {label: float(logs[f"val_{label}_loss"]) for label in self._labels if f"val_{label}_loss" in logs}
        self.epochs.append(Epoch(train_losses, validation_losses, time.monotonic() - self._started_at))
