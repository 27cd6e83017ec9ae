"""TFX's entry point for the Trainer."""

import hashlib
import json

import tensorflow as tf
import tensorflow_transform as tft

from models.config import ModelConfig
from models.export import export
from models.train_config import TrainConfig
from models.training import CURVES_FOLDER, fit
from models.warm_start import save_inputs
from pipeline.training_history import write_history
from pipeline.training_watch import tell
from pipeline.tuner_config import values_of, with_values


def run_fn(fn_args):
    """Trains the ranker, going on where a killed run of the same training was, and exports it.

    Args:
        fn_args: TFX's `FnArgs`; `custom_config` holds `model`, the JSON of a `ModelConfig`, `train`, of a `TrainConfig`,
            `has_validation` and `candidate_columns` as JSON, and `unfinished`, a folder for what is needed until a training
            has come to its end.
    """
    config = fn_args.custom_config
    tft_output = tft.TFTransformOutput(fn_args.transform_output)
    folder = f"{config['unfinished']}/{training_digest(fn_args)}"
    tree = {"model": json.loads(config["model"]), "train": json.loads(config["train"])}
    tuned = with_values(tree, values_of(fn_args.hyperparameters))
    of_candidates = tuple(json.loads(config["candidate_columns"]))
    fitted = fit(
        # Tuned values count features in the configuration's order, so the order changes last.
        ModelConfig.model_validate(tuned["model"]).with_last(of_candidates),
        TrainConfig.model_validate(tuned["train"]),
        tft_output,
        fn_args.train_files,
        fn_args.eval_files if json.loads(config["has_validation"]) else (),
        folder=folder,
        warm_start=fn_args.base_model,
        on_progress=tell,
    )
    export(
        fitted.ranker,
        tft_output,
        fn_args.serving_model_dir,
        fitted.calibrators,
        of_candidates,
    )
    save_inputs(fitted.ranker, tft_output, fn_args.serving_model_dir)
    write_history(fitted.history, fn_args.model_run_dir)
    _copy_folder(f"{folder}/{CURVES_FOLDER}", f"{fn_args.model_run_dir}/{CURVES_FOLDER}")
    # Of other trainings too: a job has one at a time, and those that were given up are not gone on with.
    tf.io.gfile.rmtree(config["unfinished"])


def training_digest(fn_args):
    """Digest by which a killed training is found again, equal where every input is.

    Args:
        fn_args: as of `run_fn`.

    Returns:
        Hexadecimal string; TFX gives a new folder to every attempt, so that only what goes in can be asked.
    """
    inputs = [
        fn_args.custom_config,
        fn_args.hyperparameters,
        fn_args.train_files,
        fn_args.eval_files,
        fn_args.transform_output,
        fn_args.base_model,
    ]
    return hashlib.sha256(json.dumps(inputs, sort_keys=True).encode()).hexdigest()[:16]


def _copy_folder(source, target):
    if not tf.io.gfile.exists(source):
        return
    for folder, _, files in tf.io.gfile.walk(source):
        into = target + folder.rstrip("/").removeprefix(source)
        tf.io.gfile.makedirs(into)
        for file in files:
            tf.io.gfile.copy(f"{folder}/{file}", f"{into}/{file}", overwrite=True)
