"""The check of input ranks that every layer makes when it is built."""


def require_matrix(shape):
    """Number of units of a (batch, units) input.

    Args:
        shape: static shape of a layer's input.

    Returns:
        Units, at least 1.

    Raises:
        ValueError: If the shape is not (batch, units) with known units.
    """
    dimensions = tuple(shape)
    if len(dimensions) != 2 or dimensions[1] is None:
        raise ValueError(f"inputs must have shape (batch, units) with known units. Received: shape={dimensions}")
    return dimensions[1]
