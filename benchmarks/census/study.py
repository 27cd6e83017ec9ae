"""Bodies with and without small towers on Census-Income KDD, trained with the same seeds."""

import dataclasses
import statistics

import numpy as np

from benchmarks.census.records import CATEGORIES, LABELS, NUMBERS, TEST, TRAIN, VALIDATION
from benchmarks.figures import Figure, markdown_table
from benchmarks.gains import interval
from benchmarks.transformed import fit_transform, write_transformed
from models.bootstrap import paired_estimates
from models.config import ModelConfig
from models.keras import keras
from models.rows import TransformedRows
from models.train_config import TrainConfig
from models.training import fit
from models.validation import Validator

# About 40,000 parameters each behind the embeddings, and equally wide representations.
BODIES = {
    "shared bottom": {"kind": "shared_bottom", "units": [128, 16]},
    "MMoE": {"kind": "mmoe", "num_experts": 8, "expert_units": [16]},
    "PLE": {"kind": "ple", "num_levels": 1, "num_shared_experts": 2, "num_task_experts": 3, "expert_units": [16]},
}
EMBEDDING_DIMENSION = 8
TOWER_UNITS = (8,)
GAMMA = 1.0
DROPOUT = 0.1
TRAINING = {
    "batch_size": 512,
    "epochs": 8,
    "learning_rate": 6e-3,
    "schedule": "cosine",
    "ema_decay": 0.999,
    "early_stopping": {"measure": "loss", "patience": 2},
}

LEAST_AUC = dict(zip(LABELS, (0.957, 0.994), strict=True))
NUM_FILES = 4


@dataclasses.dataclass(frozen=True)
class Scored:
    """What one training is worth on the test rows.

    Attributes:
        predictions: (rows,) float32 probabilities by label, before calibration.
        labels: (rows,) float32 by label.
        auc: by label.
        epochs: passes until the best one.
    """

    predictions: dict
    labels: dict
    auc: dict
    epochs: int


@dataclasses.dataclass(frozen=True)
class Prepared:
    """Rows through one transform, which was fitted to the training rows.

    Attributes:
        tft_output: `tft.TFTransformOutput`.
        globs: of files, by split.
    """

    tft_output: object
    globs: dict


def model_config(body, gamma):
    """Configuration of one contender.

    Args:
        body: one of `BODIES`.
        gamma: weight of linear small towers; 0 for none.

    Returns:
        `ModelConfig`.
    """
    features = [{"kind": "categorical", "name": name, "dimension": EMBEDDING_DIMENSION} for name in CATEGORIES]
    features += [
        {"kind": "numeric", "name": name, "transform": "piecewise", "dimension": EMBEDDING_DIMENSION} for name in NUMBERS
    ]
    return ModelConfig.model_validate(
        {
            "features": features,
            "body": BODIES[body],
            "tower_units": TOWER_UNITS,
            "dropout": DROPOUT,
            "small_tower": {"kind": "linear", "gamma": gamma},
            "tasks": [{"label": label, "head": "binary"} for label in LABELS],
        }
    )


def prepare(splits, folder):
    """Transforms the splits.

    Args:
        splits: dict of `pyarrow.Table` as of `benchmarks.census.records.read_splits`.
        folder: `pathlib.Path` for everything that is written.

    Returns:
        `Prepared`.
    """
    tft_output = fit_transform(splits[TRAIN], model_config("MMoE", 0.0), folder)
    globs = {split: write_transformed(rows, tft_output, folder / split / "rows", NUM_FILES) for split, rows in splits.items()}
    return Prepared(tft_output, globs)


def train(prepared, body, gamma, seed, training=None):
    """One training with early stopping on the validation rows, scored on the test rows.

    Args:
        prepared: `Prepared`.
        body: one of `BODIES`.
        gamma: weight of small towers; 0 for none.
        seed: of initial values, shuffling and dropout.
        training: `TrainConfig` as dict, without a seed; None for `TRAINING`.

    Returns:
        `Scored`.
    """
    # Graphs of earlier trainings are of no use any more.
    keras.backend.clear_session()
    config = TrainConfig.model_validate({**(training or TRAINING), "seed": seed})
    model, globs = model_config(body, gamma), prepared.globs
    fitted = fit(model, config, prepared.tft_output, [globs[TRAIN]], [globs[VALIDATION]])
    rows = TransformedRows([globs[TEST]], prepared.tft_output.transformed_feature_spec())
    tested = Validator(rows, fitted.ranker).validate()
    auc = {label: tested.measures[label]["auc"] for label in LABELS}
    return Scored(tested.predictions, tested.labels, auc, fitted.history.training.best_epoch)


@dataclasses.dataclass(frozen=True)
class Comparison:
    """A body with and without small towers, on one label.

    Attributes:
        body: one of `BODIES`.
        label: of the task.
        without: mean AUC over seeds, with the ends of its 95% interval.
        with_towers: the same with small towers.
        gain: mean paired difference, with the ends of its 95% interval.
        by_seed: AUC pairs (without, with), one a seed.
    """

    body: str
    label: str
    without: tuple
    with_towers: tuple
    gain: tuple
    by_seed: tuple


def compare(body, label, without, with_towers, num_replicates):
    """Paired comparison over seeds and test rows.

    Args:
        body: one of `BODIES`.
        label: of the task.
        without: list of `Scored`, one a seed, at least two.
        with_towers: the same seeds with small towers.
        num_replicates: of the bootstrap over test rows.

    Returns:
        `Comparison`; intervals count what other seeds and what other test rows would change.
    """
    truth = without[0].labels[label]
    rows = np.arange(len(truth))
    first, second = (np.mean([each.predictions[label] for each in scored], axis=0) for scored in (without, with_towers))
    of_rows = paired_estimates("auc", truth, first, second, rows, num_replicates=num_replicates)
    pairs = tuple((one.auc[label], two.auc[label]) for one, two in zip(without, with_towers, strict=True))
    by_seed = [pair[0] for pair in pairs], [pair[1] for pair in pairs], [pair[1] - pair[0] for pair in pairs]
    summaries = [
        (statistics.fmean(values), *interval(values, max(found.estimate - found.low, 0), max(found.high - found.estimate, 0)))
        for values, found in zip(by_seed, of_rows, strict=True)
    ]
    return Comparison(body, label, *summaries, pairs)


def study(prepared, seeds, say, num_replicates, training=None):
    """Every body with and without small towers.

    Args:
        prepared: `Prepared`.
        seeds: at least two.
        say: called with what happens now.
        num_replicates: of the bootstrap over test rows.
        training: as of `train`.

    Returns:
        List of `Comparison`, a body and label each.
    """
    found = []
    for body in BODIES:
        scored = {0.0: [], GAMMA: []}
        for seed in seeds:
            for gamma in scored:
                say(f"{body}, gamma {gamma:g}, seed {seed} ...")
                scored[gamma].append(train(prepared, body, gamma, seed, training))
        say(f"{body}, intervals ...")
        found += [compare(body, label, scored[0.0], scored[GAMMA], num_replicates) for label in LABELS]
    return found


def study_figures(comparisons):
    """Figures: every mean AUC and gain, and the best AUC of each label against its target.

    Args:
        comparisons: list of `Comparison`.

    Returns:
        `Figure` by name.
    """
    figures = {}
    for each in comparisons:
        name = f"{each.body} {each.label}"
        columns = {"auc": each.without, "auc with small towers": each.with_towers, "gain": each.gain}
        values = {"auc": 0, "auc with small towers": 1}
        for column, (mean, low, high) in columns.items():
            by_seed = [pair[values[column]] for pair in each.by_seed] if column in values else [b - a for a, b in each.by_seed]
            figures[f"{name} {column}"] = Figure(mean, "", None, None, min(by_seed), max(by_seed), len(by_seed))
            figures[f"{name} {column}, interval from"] = Figure(low, "")
            figures[f"{name} {column}, interval to"] = Figure(high, "")
    for label, target in LEAST_AUC.items():
        best = max(mean for each in comparisons if each.label == label for mean in (each.without[0], each.with_towers[0]))
        figures[f"best {label} auc"] = Figure(best, "", at_least=target)
    return figures


def study_table(comparisons):
    """Comparisons as a table in Markdown.

    Args:
        comparisons: list of `Comparison`.

    Returns:
        Text without a final newline.
    """

    def cell(summary, form):
        mean, low, high = (format(value, form) for value in summary)
        return f"{mean} ({low} to {high})"

    rows = [
        [
            each.body,
            each.label.replace("_", " "),
            cell(each.without, ".4f"),
            cell(each.with_towers, ".4f"),
            cell(each.gain, "+.4f"),
        ]
        for each in comparisons
    ]
    return markdown_table(["body", "label", "AUC without small towers", "AUC with them", "paired gain"], rows)
