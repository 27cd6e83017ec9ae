"""The head of a task, by the kind of its configuration."""

from models.heads.binary import BinaryHead
from models.heads.duration_quantile import DurationQuantileHead
from models.heads.graded import GradedHead
from models.heads.log1p import Log1pHead
from models.heads.ordinal import OrdinalHead
from models.heads.tweedie import TweedieHead
from models.heads.weighted_logistic import WeightedLogisticHead

HEAD_BY_KIND = {
    "binary": BinaryHead,
    "graded": GradedHead,
    "log1p": Log1pHead,
    "weighted_logistic": WeightedLogisticHead,
    "tweedie": TweedieHead,
    "duration_quantile": DurationQuantileHead,
    "ordinal": OrdinalHead,
}


def make_head(task):
    """Head of a task.

    Args:
        task: `TaskConfig`.

    Returns:
        `Head`.
    """
    return HEAD_BY_KIND[task.head.kind](task.label, task.head)
