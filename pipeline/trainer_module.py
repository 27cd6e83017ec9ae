"""TFX's entry point for the Trainer."""

import dataclasses
import json
from pathlib import Path

import tensorflow_transform as tft

from models.export import export
from models.training import fit
from pipeline.config import Config

CONFIG_FILE = "assets.extra/smalltowers.json"
HISTORY_FILE = "history.json"


def run_fn(fn_args):
    """Trains the ranker, exports it, and writes the resolved configuration beside it.

    Args:
        fn_args: TFX's `FnArgs`; `custom_config["config"]` is the JSON of a `pipeline.config.Config`.
    """
    config = Config.model_validate_json(fn_args.custom_config["config"])
    tft_output = tft.TFTransformOutput(fn_args.transform_output)
    fitted = fit(config.model, config.train, tft_output, fn_args.train_files, fn_args.eval_files)
    export(fitted.ranker, tft_output, fn_args.serving_model_dir)
    beside = Path(fn_args.serving_model_dir, CONFIG_FILE)
    beside.parent.mkdir(parents=True, exist_ok=True)
    beside.write_text(config.model_dump_json(indent=2), encoding="utf-8")
    epochs = [dataclasses.asdict(epoch) for epoch in fitted.epochs]
    run_folder = Path(fn_args.model_run_dir)
    run_folder.mkdir(parents=True, exist_ok=True)
    Path(run_folder, HISTORY_FILE).write_text(json.dumps(epochs, indent=2), encoding="utf-8")
