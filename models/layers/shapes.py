"""The checks of input ranks that layers make when they are built."""


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


def require_parts(shape, num_parts):
    """Number of units of an input that all parts of a layer share, or of which each part has its own.

    Args:
        shape: static shape of a layer's input.
        num_parts: of the layer.

    Returns:
        Units, at least 1.

    Raises:
        ValueError: If the shape is neither (batch, units) nor (batch, num_parts, units) with known units.
    """
    dimensions = tuple(shape)
    if len(dimensions) == 3 and dimensions[1] == num_parts and dimensions[2] is not None:
        return dimensions[2]
    if len(dimensions) != 2 or dimensions[1] is None:
        raise ValueError(
            f"inputs must have shape (batch, units) or (batch, {num_parts}, units) with known units. "
            f"Received: shape={dimensions}"
        )
    return dimensions[1]
