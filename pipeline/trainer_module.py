"""TFX's entry point for the Trainer."""

import dataclasses
import json
from pathlib import Path

import tensorflow_transform as tft

from models.config import ModelConfig
from models.export import export
from models.train_config import TrainConfig
from models.training import fit

HISTORY_FILE = "history.json"


def run_fn(fn_args):
    """Trains the ranker and exports it.

    Args:
        fn_args: TFX's `FnArgs`; `custom_config` holds `model`, the JSON of a `ModelConfig`, and `train`, of a `TrainConfig`.
    """
    model = ModelConfig.model_validate_json(fn_args.custom_config["model"])
    train = TrainConfig.model_validate_json(fn_args.custom_config["train"])
    tft_output = tft.TFTransformOutput(fn_args.transform_output)
    fitted = fit(model, train, tft_output, fn_args.train_files, fn_args.eval_files)
    export(fitted.ranker, tft_output, fn_args.serving_model_dir)
    epochs = [dataclasses.asdict(epoch) for epoch in fitted.epochs]
    run_folder = Path(fn_args.model_run_dir)
    run_folder.mkdir(parents=True, exist_ok=True)
    Path(run_folder, HISTORY_FILE).write_text(json.dumps(epochs, indent=2), encoding="utf-8")
