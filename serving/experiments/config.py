"""Configuration of the traffic split."""

from typing import Annotated

import pydantic

from data.config import FrozenConfig

DEFAULT_ARM = "default"


class ExperimentConfig(FrozenConfig):
    """How users are parted into arms; who is not in the experiment gets the arm "default".

    Attributes:
        salt: part of every hash; another one parts the users anew.
        ramp: share of the users that is in the experiment, from 0 to 1. More of it moves nobody from arm to arm.
        weights: by arm its share of those in the experiment, relative to the others.
    """

    salt: str = pydantic.Field(min_length=1)
    ramp: float = pydantic.Field(1.0, ge=0, le=1)
    weights: dict[str, Annotated[float, pydantic.Field(gt=0)]] = pydantic.Field(min_length=1)

    @property
    def arm_names(self):
        """Names of all arms, that of users outside the experiment last."""
        return (*self.weights, DEFAULT_ARM)

    @pydantic.model_validator(mode="after")
    def _default_is_outside(self):
        if DEFAULT_ARM in self.weights:
            raise ValueError(f"weights must not name {DEFAULT_ARM}, the arm of those outside. Received: {DEFAULT_ARM}")
        return self
