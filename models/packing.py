"""Transformed columns packed into two for storage: all ids side by side, and all numbers.

A tf.Example holds the name of every column in every row, and finding dozens of them costs more than the step that trains on
the row. Packed rows are read at a third of that. Packing is a matter of the files alone: transform graphs and models name
their columns.

Shapes: B batch, N entries of all columns of a type.
"""

import math

import numpy as np
import pyarrow as pa
import tensorflow as tf
from tfx_bsl.coders.example_coder import RecordBatchToExamplesEncoder

from models.errors import FeatureError

IDS, NUMBERS = "ids", "numbers"

_DTYPES = {IDS: tf.int64, NUMBERS: tf.float32}


def packed_spec(spec):
    """How packed examples are parsed.

    Args:
        spec: of the columns, as `TFTransformOutput.transformed_feature_spec` gives it.

    Returns:
        Dict from `IDS` and `NUMBERS`, where there are such columns, to (entries,) `tf.io.FixedLenFeature`.

    Raises:
        FeatureError: If a column is neither int64 nor float32, or its rows differ in shape.
    """
    return {
        packed: tf.io.FixedLenFeature([sum(sizes.values())], _DTYPES[packed]) for packed, sizes in _sizes_in_order(spec).items()
    }


def unpack(packed, spec):
    """Columns of parsed examples by name.

    Args:
        packed: dict of what `packed_spec` names, or a part of it: (batch, entries).
        spec: of the columns, as `TFTransformOutput.transformed_feature_spec` gives it.

    Returns:
        Dict from name to (batch,) or (batch, entries) tensor, of the columns that lie in `packed`.
    """
    columns = {}
    for name, sizes in _sizes_in_order(spec).items():
        if name not in packed:
            continue
        singles = [column for column, size in sizes.items() if size == 1]
        vectors = {column: size for column, size in sizes.items() if size > 1}
        columns |= zip(singles, tf.unstack(packed[name][:, : len(singles)], axis=1), strict=True)
        if vectors:
            columns |= zip(vectors, tf.split(packed[name][:, len(singles) :], list(vectors.values()), axis=1), strict=True)
    return {
        name: tf.expand_dims(column, axis=1) if list(spec[name].shape) == [1] else column for name, column in columns.items()
    }


def packed_examples(record_batch):
    """Serialized tf.Examples of a batch.

    Args:
        record_batch: `pyarrow.RecordBatch` of int64 and float32 columns, as TensorFlow Transform makes them: a list in every
            row, of one length in a column.

    Returns:
        List of bytes, one a row, which `packed_spec` parses.
    """
    if not record_batch.num_rows:
        return []
    entries_by_name = {}
    for name, column in zip(record_batch.schema.names, record_batch.columns, strict=True):
        entries_by_name[name] = column.flatten().to_numpy().reshape(record_batch.num_rows, -1)
    by_type = {IDS: {}, NUMBERS: {}}
    for name, entries_BK in entries_by_name.items():
        by_type[IDS if entries_BK.dtype == np.int64 else NUMBERS][name] = entries_BK
    arrays = {}
    for packed, columns in by_type.items():
        names = _in_order({name: entries_BK.shape[1] for name, entries_BK in columns.items()})
        if names:
            arrays[packed] = _lists(np.concatenate([columns[name] for name in names], axis=1))
    return RecordBatchToExamplesEncoder().encode(pa.RecordBatch.from_arrays(list(arrays.values()), list(arrays)))


def _in_order(sizes):
    """Names as they stand side by side: columns of one entry a row first, which one operation takes apart."""
    return sorted(sizes, key=lambda name: (sizes[name] > 1, name))


def _sizes_in_order(spec):
    """Entries by column, in their order, of each packed column that there is."""
    sizes = {IDS: {}, NUMBERS: {}}
    for name, feature in spec.items():
        if not isinstance(feature, tf.io.FixedLenFeature) or len(feature.shape) > 1:
            raise FeatureError(
                f"transformed column {name} must have one shape, (batch,) or (batch, entries). Received: {feature}"
            )
        if feature.dtype not in _DTYPES.values():
            raise FeatureError(f"transformed column {name} must be int64 or float32. Received: {feature.dtype.name}")
        sizes[IDS if feature.dtype == tf.int64 else NUMBERS][name] = math.prod(feature.shape)
    return {packed: {name: columns[name] for name in _in_order(columns)} for packed, columns in sizes.items() if columns}


def _lists(entries_BN):
    offsets = np.arange(0, entries_BN.size + 1, entries_BN.shape[1])
    return pa.LargeListArray.from_arrays(offsets, pa.array(entries_BN.reshape(-1)))
