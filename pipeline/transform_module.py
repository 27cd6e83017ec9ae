"""TFX's entry point for Transform."""

from models.config import ModelConfig
from models.features import preprocess


def preprocessing_fn(inputs, custom_config):
    """Transforms raw columns as the model's features declare.

    Args:
        inputs: tensor by column name.
        custom_config: `model`, the JSON of a `ModelConfig`.

    Returns:
        (batch,) tensor by feature, label and mask name.
    """
    return preprocess(inputs, ModelConfig.model_validate_json(custom_config["model"]))
