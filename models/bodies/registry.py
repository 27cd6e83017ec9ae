"""The body of a configuration."""

import importlib

from models.bodies.body import Body
from models.bodies.mmoe import MMoE
from models.bodies.ple import PLE
from models.bodies.shared_bottom import SharedBottom
from models.errors import BodyError

BODY_BY_KIND = {"shared_bottom": SharedBottom, "mmoe": MMoE, "ple": PLE}


def make_body(config, num_tasks, dropout, seed):
    """Body of a configuration.

    Args:
        config: `models.bodies.config.BodyConfig`.
        num_tasks: at least 1.
        dropout: rate in [0, 1) after every hidden layer, in training.
        seed: of initial values and dropout.

    Returns:
        `models.bodies.body.Body`.

    Raises:
        BodyError: If a body of the user's own cannot be imported, does not take its options, or is no `Body`.
    """
    arguments = {"num_tasks": num_tasks, "dropout": dropout, "seed": seed}
    if config.kind != "custom":
        return BODY_BY_KIND[config.kind](**arguments, **config.model_dump(exclude={"kind"}), name="body")
    layer_class = _imported(config.layer)
    try:
        body = layer_class(**arguments, **config.options)
    except (TypeError, ValueError) as error:
        raise BodyError(f"body.options must suit {config.layer}. Received: {config.options} ({error})") from error
    if not isinstance(body, Body):
        raise BodyError(f"body.layer must derive from models.bodies.body.Body. Received: {config.layer}")
    return body


def _imported(path):
    module, _, name = path.partition(":")
    try:
        return getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise BodyError(f"body.layer must be a class that can be imported. Received: {path} ({error})") from error
