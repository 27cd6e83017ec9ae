"""Configuration of heads."""

from typing import Annotated, Literal

import pydantic

from data.config import FrozenConfig

# What a head serves, and so by which measures it is judged.
PROBABILITY, GRADE, SECONDS = "probability", "grade", "seconds"


class BinaryHeadConfig(FrozenConfig):
    """Probability of a label in {0, 1}, by cross entropy.

    Attributes:
        kind: "binary".
    """

    kind: Literal["binary"] = "binary"

    @property
    def serves(self):
        """PROBABILITY."""
        return PROBABILITY


class GradedHeadConfig(FrozenConfig):
    """Expected value of a label within 0 and 1, by cross entropy against the grade.

    Attributes:
        kind: "graded".
    """

    kind: Literal["graded"] = "graded"

    @property
    def serves(self):
        """GRADE."""
        return GRADE


class _SecondsHeadConfig(FrozenConfig):
    @property
    def serves(self):
        """SECONDS."""
        return SECONDS


class Log1pHeadConfig(_SecondsHeadConfig):
    """Regression of log(1 + seconds).

    Attributes:
        kind: "log1p".
        huber_delta: error of log(1 + seconds) beyond which the loss grows linearly; None for the squared error.
    """

    kind: Literal["log1p"] = "log1p"
    huber_delta: float | None = pydantic.Field(None, gt=0)


class WeightedLogisticHeadConfig(_SecondsHeadConfig):
    """Logistic regression in which watched rows weigh their seconds: the odds are the expected watch time.

    Attributes:
        kind: "weighted_logistic".
    """

    kind: Literal["weighted_logistic"] = "weighted_logistic"


class TweedieHeadConfig(_SecondsHeadConfig):
    """Tweedie deviance of seconds: a mass at zero beside a continuous part.

    Attributes:
        kind: "tweedie".
        power: of the variance in the mean, within 1 and 2 (both exclusive).
    """

    kind: Literal["tweedie"] = "tweedie"
    power: float = pydantic.Field(1.5, gt=1, lt=2)


class DurationQuantileHeadConfig(_SecondsHeadConfig):
    """Quantile of the watch time among items of like duration (D2Q).

    Attributes:
        kind: "duration_quantile".
        duration: numeric feature of the model whose quantiles group the rows; any monotone transform will do, so not
            "piecewise".
        num_groups: of like duration.
        num_quantiles: points of each group's table.
    """

    kind: Literal["duration_quantile"] = "duration_quantile"
    duration: str
    num_groups: int = pydantic.Field(20, ge=1)
    num_quantiles: int = pydantic.Field(100, ge=2)


class OrdinalHeadConfig(_SecondsHeadConfig):
    """Probabilities of watching beyond thresholds.

    Attributes:
        kind: "ordinal".
        num_thresholds: at quantiles of the training rows' watch times.
        serve: "mean" (expected seconds, the area under the probabilities) or "rank" (the seconds at the expected rank among
            the training rows' watch times: orders rows best, and lies near their median as long times do not pull it up).
    """

    kind: Literal["ordinal"] = "ordinal"
    num_thresholds: int = pydantic.Field(20, ge=2)
    serve: Literal["mean", "rank"] = "mean"


HeadConfig = Annotated[
    BinaryHeadConfig
    | GradedHeadConfig
    | Log1pHeadConfig
    | WeightedLogisticHeadConfig
    | TweedieHeadConfig
    | DurationQuantileHeadConfig
    | OrdinalHeadConfig,
    pydantic.Field(discriminator="kind"),
    # `head = "binary"` is short for `head = { kind = "binary" }`.
    pydantic.BeforeValidator(lambda head: {"kind": head} if isinstance(head, str) else head),
]
