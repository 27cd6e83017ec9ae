"""The balancing methods by their name in the configuration."""

from models.balancing.cagrad import CAGrad
from models.balancing.dwa import DWA
from models.balancing.famo import FAMO
from models.balancing.gradnorm import GradNorm
from models.balancing.mgda import MGDA
from models.balancing.pcgrad import PCGrad
from models.balancing.static import Static
from models.balancing.uncertainty import Uncertainty

METHOD_BY_KIND = {
    "static": Static,
    "uncertainty": Uncertainty,
    "dwa": DWA,
    "gradnorm": GradNorm,
    "pcgrad": PCGrad,
    "mgda": MGDA,
    "cagrad": CAGrad,
    "famo": FAMO,
}


def make_balancing(config, num_tasks, seed=0):
    """Balancing method of a configuration.

    Args:
        config: one of `models.balancing.config.BalancingConfig`.
        num_tasks: at least 1.
        seed: of the method's random draws.

    Returns:
        `BalancingMethod` in its initial state.

    Raises:
        ValueError: If the method cannot balance so many tasks.
    """
    # Whose gradients are compared is the ranker's affair: a method sees their inner products only.
    options = config.model_dump(exclude={"kind", "gradients_of"})
    return METHOD_BY_KIND[config.kind](num_tasks, seed, **options)
