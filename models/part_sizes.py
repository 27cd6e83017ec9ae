"""How large the parts of a ranker are, for the table that a training starts with."""

from typing import NamedTuple

import numpy as np

from models.layers.small_tower import SmallTower
from models.layers.tower import Tower


class PartSize(NamedTuple):
    """Size of one part.

    Attributes:
        part: its name.
        parameters: trainable numbers.
        rank: of a tower, how many directions of the representation its output can depend on with the present weights; None
            for other parts.
    """

    part: str
    parameters: int
    rank: int | None


def part_sizes(layer_by_name):
    """Sizes of layers.

    Args:
        layer_by_name: built Keras layers, or None for a part that the ranker lacks.

    Returns:
        Tuple of `PartSize`, without the parts that are lacking.
    """
    return tuple(
        PartSize(name, sum(int(np.prod(variable.shape)) for variable in layer.trainable_variables), tower_rank(layer))
        for name, layer in layer_by_name.items()
        if layer is not None
    )


def tower_rank(layer):
    """How many directions of the representation the output of a tower depends on.

    A row of the representation enters a tower through its linear map up to the first ReLU, so that map's rank counts; averages
    over groups come before it and can only lower it to the number of groups, which is the height of the kernel.

    Args:
        layer: a built `Tower` or `SmallTower`; of another layer nothing is known.

    Returns:
        Rank, at least 0, or None.
    """
    if not isinstance(layer, Tower | SmallTower):
        return None
    kernels = [variable.numpy() for variable in layer.trainable_variables if variable.shape.rank == 2]
    is_linear = not layer.units if isinstance(layer, Tower) else layer.kind != "mlp"
    # In NumPy's order: an input passes the first kernel first.
    return int(np.linalg.matrix_rank(np.linalg.multi_dot(kernels) if is_linear and len(kernels) > 1 else kernels[0]))
