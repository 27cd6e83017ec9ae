"""Training of the ranker: transformed examples in, a fitted ranker, its history and its calibrators out."""

import contextlib
import dataclasses
import functools
import math

import tensorflow as tf

from data.schema import mask_name
from models.calibration import fit_calibrator
from models.course import CourseRun
from models.curves import Curves
from models.errors import TrainingError
from models.history import History
from models.inputs import table_sizes
from models.keras import keras
from models.measures.registry import require_stopping_name
from models.optimizers import make_optimizer
from models.ranker import MultiTaskRanker
from models.rows import TransformedRows
from models.schedules import WarmupThenDecay
from models.validation import Validator
from models.warm_start import start_from

# Within the folder of a training.
CURVES_FOLDER = "tensorboard"

_ROWS_TO_BUILD = 8


@dataclasses.dataclass(frozen=True)
class Fitted:
    """Result of a training.

    Attributes:
        ranker: `MultiTaskRanker` with the weights that are to be served.
        history: `models.history.History`.
        calibrators: `models.calibration.Calibrator` by label, of the tasks that are calibrated.
    """

    ranker: MultiTaskRanker
    history: History
    calibrators: dict

    @property
    def epochs(self):
        """One `Epoch` a pass of the training on the training rows."""
        return self.history.training.epochs


def fit(
    model_config,
    train_config,
    tft_output,
    train_files,
    validation_files=(),
    *,
    folder=None,
    warm_start=None,
    on_progress=None,
):
    """Ranker trained on transformed examples.

    A loss that is infinite or not a number stops the run with `DivergedError`.

    Args:
        model_config: `ModelConfig`.
        train_config: `TrainConfig`.
        tft_output: `tft.TFTransformOutput` of `models.features.preprocess` with the same configuration.
        train_files: globs of gzipped TFRecord files of transformed, packed tf.Examples.
        validation_files: the same for validation; none skips it.
        folder: of checkpoints and, in `CURVES_FOLDER`, of curves; a training that was killed goes on from what lies there, so
            it must belong to these arguments alone. None keeps neither.
        warm_start: folder of an exported ranker that weights are taken from, or None.
        on_progress: called with a `models.progress.Progress` every few dozen steps, or None.

    Returns:
        `Fitted`.

    Raises:
        TrainingError: If the configuration asks for validation rows and there are none, or cannot be had as a whole.
    """
    spec = tft_output.transformed_feature_spec()
    validation = TransformedRows(validation_files, spec) if validation_files else None
    _require_fitting(model_config, train_config, validation)
    keras.utils.set_random_seed(train_config.seed)
    with _policy(train_config) as strategy:
        fit_fn = functools.partial(
            _fit_once, model_config, train_config, tft_output, strategy=strategy, warm_start=warm_start, folder=folder
        )
        rows = TransformedRows(train_files, spec)
        ranker, report, parts, training = fit_fn(
            rows, name="training", num_epochs=train_config.epochs, validation=validation, on_progress=on_progress
        )
        calibrators = _calibrators(ranker, validation)
        refit = None
        if train_config.refit:
            rows = TransformedRows([*train_files, *validation_files], spec)
            tell = on_progress and (lambda progress: on_progress(dataclasses.replace(progress, is_refit=True)))
            ranker, report, _, refit = fit_fn(rows, name="refit", num_epochs=training.best_epoch, on_progress=tell)
    return Fitted(ranker, History(parts, training, refit, report), calibrators)


def _require_fitting(model_config, train_config, validation):
    wanted = {
        "train.early_stopping": train_config.early_stopping is not None,
        "train.refit": train_config.refit,
        **{f"model.tasks.{n}.calibration": task.calibration != "none" for n, task in enumerate(model_config.tasks)},
    }
    for key, is_wanted in wanted.items():
        if is_wanted and not validation:
            raise TrainingError(f"{key} needs validation rows; set data.split.validation_days. Received: none")
    if train_config.early_stopping:
        try:
            require_stopping_name("train.early_stopping.measure", train_config.early_stopping.measure, model_config.tasks)
        except ValueError as error:
            raise TrainingError(str(error)) from None
    if train_config.xla and train_config.strategy != "none":
        raise TrainingError(f"train.xla needs train.strategy none. Received: {train_config.strategy}")


@contextlib.contextmanager
def _policy(train_config):
    """Numeric policy and distribution of a training."""
    before = keras.mixed_precision.global_policy()
    has_gpu = bool(tf.config.list_logical_devices("GPU"))
    if train_config.mixed_precision:
        keras.mixed_precision.set_global_policy("mixed_float16" if has_gpu else "mixed_bfloat16")
    try:
        if train_config.strategy == "mirrored":
            yield tf.distribute.MirroredStrategy(
                [each.name for each in tf.config.list_logical_devices("GPU" if has_gpu else "CPU")]
            )
        else:
            yield tf.distribute.get_strategy()
    finally:
        keras.mixed_precision.set_global_policy(before)


def _fit_once(
    model_config,
    train_config,
    tft_output,
    rows,
    *,
    strategy,
    warm_start,
    folder,
    name,
    num_epochs,
    on_progress,
    validation=None,
):
    """A ranker from initial weights to trained ones, what it began from, its parts, and its `Course`."""
    with rows.held(train_config.cache_mib if num_epochs > 1 else 0):
        with strategy.scope():
            ranker = MultiTaskRanker(model_config, table_sizes(model_config, tft_output), seed=train_config.seed)
            num_rows = _adapt(ranker, rows)
            _build(ranker, rows)
            report = warm_start and start_from(ranker, tft_output, warm_start)
            ranker.compile(optimizer=make_optimizer(train_config, _learning_rate(train_config, rows, num_rows)))
        validator = validation and Validator(validation, ranker)
        with contextlib.closing(Curves(folder and train_config.tensorboard and f"{folder}/{CURVES_FOLDER}/{name}")) as curves:
            run = CourseRun(
                ranker,
                rows,
                train_config,
                num_epochs,
                strategy,
                curves,
                validator,
                folder and f"{folder}/{name}",
                on_progress,
            )
            parts = ranker.describe()
            return ranker, report, parts, run.run()


def _adapt(ranker, rows):
    """Lets heads learn from all rows at once; the number of rows if they were read for that, else None."""
    heads = [head for head in ranker.heads.values() if head.needs_adapting]
    if not heads:
        return None
    columns, num_rows = rows.read(
        list(dict.fromkeys(name for head in heads for name in (head.label, mask_name(head.label), *head.columns)))
    )
    ranker.adapt_heads(columns)
    return num_rows


def _build(ranker, rows):
    """Makes all variables, on rows without a known label: nothing is learned from them."""
    packed = next(iter(rows.batches(_ROWS_TO_BUILD)), None)
    if packed is None:
        raise TrainingError("training needs rows. Received: none")
    columns = rows.columns(packed)
    ranker.batch_losses(
        {**columns, **{mask_name(label): tf.zeros_like(columns[label]) for label in ranker.labels}}, training=True
    )


def _learning_rate(train_config, rows, num_rows):
    if train_config.schedule == "constant" and not train_config.warmup_steps:
        return train_config.learning_rate
    total_steps = None
    if train_config.schedule != "constant":
        num_rows = num_rows or rows.read([])[1]
        total_steps = train_config.epochs * math.ceil(num_rows / train_config.batch_size)
    return WarmupThenDecay(train_config.learning_rate, train_config.schedule, train_config.warmup_steps, total_steps)


def _calibrators(ranker, validation):
    calibrated = [task for task in ranker.config.tasks if task.calibration != "none"]
    if not calibrated:
        return {}
    validated = Validator(validation, ranker).validate()
    return {
        task.label: fit_calibrator(
            task.calibration,
            validated.predictions[task.label],
            validated.labels[task.label],
            validated.weights[task.label],
            task.head.serves,
        )
        for task in calibrated
    }
