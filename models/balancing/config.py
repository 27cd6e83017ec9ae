"""Configuration of how the tasks' losses are balanced."""

from typing import Annotated, Literal

import pydantic

from data.config import FrozenConfig


class StaticConfig(FrozenConfig):
    """The weights of the tasks as they are.

    Attributes:
        kind: "static".
    """

    kind: Literal["static"] = "static"


class UncertaintyConfig(FrozenConfig):
    """A learned noise variance per task divides its loss; trained by the ranker's own optimizer.

    Attributes:
        kind: "uncertainty".
    """

    kind: Literal["uncertainty"] = "uncertainty"


class DWAConfig(FrozenConfig):
    """Dynamic weight average: a task whose loss fell less over the last two epochs weighs more in the next.

    Attributes:
        kind: "dwa".
        temperature: of the softmax over the ratios of the losses, positive; the larger, the closer the weights are to equal.
    """

    kind: Literal["dwa"] = "dwa"
    temperature: float = pydantic.Field(2.0, gt=0)


class FAMOConfig(FrozenConfig):
    """Fast adaptive multitask optimization: all losses fall at one relative rate; costs one more forward pass a step.

    Attributes:
        kind: "famo".
        learning_rate: of the method's own Adam step on the logits of the weights, positive.
        decay: pull of the logits towards equal weights, at least 0.
    """

    kind: Literal["famo"] = "famo"
    learning_rate: float = pydantic.Field(0.025, gt=0)
    decay: float = pydantic.Field(0.001, ge=0)


class GradientBalancingConfig(FrozenConfig):
    """Base of the methods that compare the tasks' gradients, and so need one backward pass a task.

    Attributes:
        gradients_of: "parameters" compares gradients of all parameters that the tasks share; "representation" those of the
            shared representation alone, where a backward pass ends at the towers.
    """

    gradients_of: Literal["parameters", "representation"] = "parameters"


class GradNormConfig(GradientBalancingConfig):
    """Gradient normalization: weighted gradients are steered to one norm, larger for tasks that learn slowly.

    Attributes:
        kind: "gradnorm".
        alpha: how much a slow task's norm is raised, at least 0; 0 makes all norms equal.
        learning_rate: of the method's own step on the logarithms of the weights, positive.
    """

    kind: Literal["gradnorm"] = "gradnorm"
    alpha: float = pydantic.Field(1.5, ge=0)
    learning_rate: float = pydantic.Field(0.025, gt=0)


class PCGradConfig(GradientBalancingConfig):
    """Gradient surgery: of two conflicting gradients, each loses its part against the other.

    Attributes:
        kind: "pcgrad".
    """

    kind: Literal["pcgrad"] = "pcgrad"


class MGDAConfig(GradientBalancingConfig):
    """Multiple-gradient descent: the shortest convex combination of the gradients, along which every task descends.

    Attributes:
        kind: "mgda".
        normalize: what every gradient is divided by before: "none", "l2" (its norm) or "loss+" (its norm times its loss).
    """

    kind: Literal["mgda"] = "mgda"
    normalize: Literal["none", "l2", "loss+"] = "none"


class CAGradConfig(GradientBalancingConfig):
    """Conflict-averse gradient descent: near the mean gradient, the direction along which the worst-off task gains most.

    Attributes:
        kind: "cagrad".
        c: radius of the search around the mean gradient, in units of its norm and in [0, 1); 0 is the mean itself.
    """

    kind: Literal["cagrad"] = "cagrad"
    c: float = pydantic.Field(0.4, ge=0, lt=1)


BalancingConfig = Annotated[
    StaticConfig | UncertaintyConfig | DWAConfig | GradNormConfig | PCGradConfig | MGDAConfig | CAGradConfig | FAMOConfig,
    pydantic.Field(discriminator="kind"),
]
