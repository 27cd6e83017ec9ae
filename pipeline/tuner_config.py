"""Configuration of the tuner: which keys of `model` and `train` are searched, and how long."""

import itertools
import json
from typing import Annotated, Literal

import pydantic

from data.config import FrozenConfig
from models.measures.registry import measures_of, require_stopping_name

# Candidates of a key that are checked when the configuration is loaded.
_MAX_CHECKED = 1_000


class RangeConfig(FrozenConfig):
    """Any number between two.

    Attributes:
        min: smallest.
        max: largest.
        log: whether numbers are tried evenly by their logarithm; both ends are then positive.
    """

    min: float
    max: float
    log: bool = False

    @pydantic.model_validator(mode="after")
    def _is_a_range(self):
        if self.min >= self.max:
            raise ValueError(f"min must be below max. Received: min={self.min:g}, max={self.max:g}")
        if self.log and self.min <= 0:
            raise ValueError(f"min must be positive where log is true. Received: {self.min:g}")
        return self

    @property
    def candidates(self):
        """Both ends."""
        return (self.min, self.max)


class StepsConfig(FrozenConfig):
    """Whole numbers at a distance from each other.

    Attributes:
        min: smallest.
        max: largest that may be reached.
        step: distance.
    """

    min: int
    max: int
    step: int = pydantic.Field(ge=1)

    @pydantic.model_validator(mode="after")
    def _is_a_range(self):
        if self.min >= self.max:
            raise ValueError(f"min must be below max. Received: min={self.min}, max={self.max}")
        return self

    @property
    def candidates(self):
        """All of them, up to a thousand."""
        return tuple(itertools.islice(range(self.min, self.max + 1, self.step), _MAX_CHECKED))


class ValuesConfig(FrozenConfig):
    """Values of any kind.

    Attributes:
        values: at least two.
    """

    values: tuple[pydantic.JsonValue, ...] = pydantic.Field(min_length=2)

    @property
    def candidates(self):
        """All of them."""
        return self.values

    @property
    def as_written(self):
        """All of them as a search writes them down: numbers and truth values as they are, anything else as JSON."""
        kinds = {type(value) for value in self.values}
        if kinds <= {int, float}:
            return [max(kinds, key=lambda kind: kind is float)(value) for value in self.values]
        return list(self.values) if kinds == {bool} else [json.dumps(value) for value in self.values]


def _kind(choice):
    """Which of the three a table is meant to be."""
    if isinstance(choice, dict):
        return "values" if "values" in choice else "steps" if "step" in choice else "range"
    return {ValuesConfig: "values", StepsConfig: "steps"}.get(type(choice), "range")


Choice = Annotated[
    Annotated[RangeConfig, pydantic.Tag("range")]
    | Annotated[StepsConfig, pydantic.Tag("steps")]
    | Annotated[ValuesConfig, pydantic.Tag("values")],
    pydantic.Discriminator(_kind),
]


class TunerConfig(FrozenConfig):
    """A search for better values of the configuration, before the training.

    Attributes:
        trials: trainings that the search may cost.
        algorithm: "random", or "bayesian": where a Gaussian process over the trials so far expects the most.
        measure: by which trials are compared on the validation rows, each by its best epoch: "loss" (tasks' losses by their
            weights), or a task's label and a measure as of `train.early_stopping`, as "click auc".
        epochs: of a trial, at most; None for `train.epochs`.
        patience: epochs of a trial without a better value that are borne.
        seed: of the search; every trial trains by `train.seed`.
        space: by dotted key of `model` or `train`, as "train.learning_rate", what is tried.
    """

    trials: int = pydantic.Field(ge=1)
    algorithm: Literal["random", "bayesian"] = "bayesian"
    measure: str = "loss"
    epochs: int | None = pydantic.Field(None, ge=1)
    patience: int = pydantic.Field(1, ge=0)
    seed: int = 0
    space: dict[str, Choice] = pydantic.Field(min_length=1)

    @pydantic.field_validator("space", mode="before")
    @classmethod
    def _keys_are_quoted(cls, space):
        for branch in ("model", "train"):
            if isinstance(space, dict) and isinstance(space.get(branch), dict):
                raise ValueError(f'put the keys into quotes, as "{branch}.{next(iter(space[branch]), "key")}"')
        return space


def values_of(hyperparameters):
    """Values of a trial as the configuration has them.

    Args:
        hyperparameters: KerasTuner's configuration of a trial, as TFX's Tuner writes it; None where there was no search.

    Returns:
        Dict from dotted key to value.
    """
    values = hyperparameters["values"] if hyperparameters else {}
    return {key: json.loads(value) if isinstance(value, str) else value for key, value in values.items()}


def with_values(tree, values):
    """A tree with other values at some keys.

    Args:
        tree: nested dicts and lists; it is left as it is.
        values: value by dotted key; a part of a key that is a number counts entries of a list.

    Returns:
        A new tree.

    Raises:
        KeyError: If there is no such key; it holds the dotted key.
    """
    changed = json.loads(json.dumps(tree))
    for key, value in values.items():
        branch = changed
        *parents, leaf = key.split(".")
        for part in parents:
            branch = branch[_place(branch, part, key)]
        branch[_place(branch, leaf, key)] = value
    return changed


def _place(branch, part, key):
    """Key of a dict or index of a list, if it is there."""
    if isinstance(branch, dict) and part in branch:
        return part
    if isinstance(branch, list) and part.isdecimal() and int(part) < len(branch):
        return int(part)
    raise KeyError(key)


def check_tuner(config):
    """Refuses a search that cannot be made.

    Args:
        config: `pipeline.config.Config` with a tuner.

    Raises:
        ValueError: If a key is none of the configuration or is read before the training, a value is not allowed there or
            changes what trials are compared by, or the measure is none of a task; names the key.
    """
    tuner = config.tuner
    require_stopping_name("tuner.measure", tuner.measure, config.model.tasks)
    alone = config.model_copy(update={"tuner": None})
    for key, choice in tuner.space.items():
        _require_trainable(key)
        if tuner.measure == "loss" and key.startswith("model.tasks"):
            raise ValueError(
                f"tuner.space.{key} changes the loss that trials would be compared by; set tuner.measure to one of a task, "
                f"as {config.model.tasks[0].label} {measures_of(config.model.tasks[0])[0]}"
            )
        for value in choice.candidates:
            try:
                alone.with_values({key: value})
            except KeyError:
                raise ValueError(f"tuner.space.{key}: no such key in this configuration") from None
            except pydantic.ValidationError as error:
                problem = error.errors()[0]
                raise ValueError(
                    f"tuner.space.{key} must not be {value!r}: {problem['msg'].removeprefix('Value error, ')}"
                ) from None


def _require_trainable(key):
    branch, *rest = key.split(".")
    if branch not in ("model", "train") or not rest:
        raise ValueError(f"tuner.space.{key} must be a key of model or train")
    # What the transform has made of the columns stands before a trial begins.
    if rest[0] == "features" and rest[-1] != "dimension":
        raise ValueError(f"tuner.space.{key} is read before the training; of model.features a dimension alone can be searched")
