"""Configuration of how the tasks' losses are balanced."""

from typing import Literal

from data.config import FrozenConfig


class StaticConfig(FrozenConfig):
    """The weights of the tasks as they are.

    Attributes:
        kind: "static".
    """

    kind: Literal["static"] = "static"


BalancingConfig = StaticConfig
