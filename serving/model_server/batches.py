"""Rows of several requests as one input, and its outputs given back to each. Arrays only; knows no TensorFlow.

Shapes: R rows of one request, B rows of the batch.
"""

import numpy as np

from serving.errors import RequestError


def num_rows(arrays):
    """Rows of a request.

    Args:
        arrays: its inputs, each with rows in the first dimension.

    Returns:
        int.

    Raises:
        RequestError: If the inputs differ in it.
    """
    sizes = {len(array) for array in arrays}
    if len(sizes) > 1:
        raise RequestError("INVALID_ARGUMENT", "Batching Run() input tensors must have equal 0th-dimension size")
    return sizes.pop()


def row_shapes(arrays):
    """What must agree between requests that are put together without padding.

    Args:
        arrays: inputs of one request.

    Returns:
        Tuple of the shapes without the first dimension.
    """
    return tuple(array.shape[1:] for array in arrays)


def padded_size(size, allowed_sizes):
    """The size to which a batch is padded.

    Args:
        size: rows that it has.
        allowed_sizes: increasing; empty for no padding.

    Returns:
        The smallest allowed size that holds them, or `size` where none does.
    """
    return next((allowed for allowed in allowed_sizes if allowed >= size), size)


def merged(requests, size, has_padding):
    """Inputs of a batch.

    Args:
        requests: list of the inputs of each request, in one order.
        size: rows that the batch is to have, at least those of the requests; what is missing is the first row of the last
            request that has one.
        has_padding: whether rows of other shapes are filled up to the largest, with the first value of their request, as in
            TF Serving.

    Returns:
        List of (B, ...) arrays.
    """
    columns = []
    for column in zip(*requests, strict=True):
        arrays = _filled_up(column) if has_padding else list(column)
        missing = size - sum(len(array) for array in arrays)
        with_rows = [array for array in arrays if len(array)]
        if missing and with_rows:
            arrays.append(np.repeat(with_rows[-1][:1], missing, axis=0))
        columns.append(arrays[0] if len(arrays) == 1 else np.concatenate(arrays))
    return columns


def split(arrays, sizes, size):
    """Outputs of every request of a batch.

    Args:
        arrays: outputs of the batch, each (B, ...).
        sizes: rows of each request, in the order in which they were put together.
        size: rows of the batch, B.

    Returns:
        List of lists of (R, ...) arrays.

    Raises:
        RequestError: If an output does not have a row for every row of the input.
    """
    for array in arrays:
        if array.ndim == 0:
            raise RequestError("FAILED_PRECONDITION", "Batched output tensor has 0 dimensions")
        if len(array) != size:
            raise RequestError(
                "FAILED_PRECONDITION",
                "Batched output tensor's 0th dimension does not equal the sum of the 0th dimension sizes of the input tensors",
            )
    ends = np.cumsum(sizes).tolist()
    return [[array[end - rows : end] for array in arrays] for rows, end in zip(sizes, ends, strict=True)]


def _filled_up(arrays):
    shape = np.max([array.shape[1:] for array in arrays], axis=0).astype(int)
    filled = []
    for array in arrays:
        margins = [(0, 0), *((0, want - have) for want, have in zip(shape, array.shape[1:], strict=True))]
        if not any(after for _, after in margins):
            filled.append(array)
            continue
        # A request without a single value has none to repeat.
        value = array.flat[0] if array.size else (b"" if array.dtype.hasobject else 0)
        filled.append(np.pad(array, margins, constant_values=value))
    return filled
