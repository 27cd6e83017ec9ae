"""Feature transforms for tf.Transform: raw columns to vocabulary ids, standardised numbers and bucket ids.

Shapes: B batch.
"""

import numpy as np
import tensorflow as tf
import tensorflow_transform as tft

from data.schema import mask_name
from models.errors import FeatureError

# Stands in for a missing integer category whose default is "": a value that no log holds.
MISSING_INTEGER = int(np.iinfo(np.int64).min)

# A standard deviation below this share of the mean is rounding of a constant float32 column.
RELATIVE_STD_FLOOR = 1e-6


def preprocess(inputs, config):
    """Transformed columns of a batch: every feature, and label and mask of every task.

    A column that is absent, or whose type does not suit the feature or its default, is a `FeatureError`.

    Args:
        inputs: raw columns by name, (batch,) or (batch, 1) dense, or (batch, at most 1) sparse where rows may lack them.
        config: `ModelConfig`.

    Returns:
        Dict of (batch,) tensors by the columns' own names: int64 ids for categories and buckets, float32 for other
        numbers, labels and masks.
    """
    outputs = {}
    for feature in config.features:
        column_B = _column(inputs, feature.name, missing_value(feature, _dtype(inputs, feature.name)))
        outputs[feature.name] = (
            _categorical(column_B, feature) if feature.kind == "categorical" else _numeric(column_B, feature)
        )
    for task in config.tasks:
        for name in (task.label, mask_name(task.label)):
            _dtype(inputs, name)
            outputs[name] = tf.cast(_column(inputs, name, 0.0), tf.float32)
    return outputs


def missing_value(feature, dtype):
    """Value that stands in where a row or a request lacks a feature.

    Args:
        feature: feature configuration.
        dtype: `tf.DType` of its raw column.

    Returns:
        Value of the column's own type; `MISSING_INTEGER` for an integer category whose default is "".

    Raises:
        FeatureError: If the type does not suit the feature or its default.
    """
    key = f"features.{feature.name}"
    if feature.kind == "numeric":
        if not (dtype.is_floating or dtype.is_integer):
            raise FeatureError(f"{key} must name a column of numbers, as its kind is numeric. Received: {dtype.name}")
        if dtype.is_integer and not float(feature.default).is_integer():
            raise FeatureError(f"{key}.default must be whole, as the column holds integers. Received: {feature.default}")
        return int(feature.default) if dtype.is_integer else float(feature.default)
    if dtype == tf.string:
        return str(feature.default)
    if not dtype.is_integer:
        raise FeatureError(
            f"{key} must name a column of strings or integers, as its kind is categorical. Received: {dtype.name}"
        )
    if feature.default == "":
        return MISSING_INTEGER
    if not isinstance(feature.default, int):
        raise FeatureError(f"{key}.default must be an integer, as the column holds integers. Received: {feature.default!r}")
    return feature.default


def _dtype(inputs, name):
    if name not in inputs:
        raise FeatureError(f"features and tasks must name columns of the data ({', '.join(sorted(inputs))}). Received: {name}")
    return inputs[name].dtype


def _column(inputs, name, missing):
    """(batch,) dense tensor of one raw column, `missing` where a row lacks it."""
    column = inputs[name]
    if isinstance(column, tf.SparseTensor):
        # One value a row is the contract: a second one lies outside this shape and fails here.
        shape = tf.stack([column.dense_shape[0], 1])
        column = tf.SparseTensor(column.indices, column.values, shape)
        column = tf.sparse.to_dense(column, default_value=tf.constant(missing, column.dtype))
    return tf.reshape(column, [-1])


def _categorical(column_B, feature):
    return tft.compute_and_apply_vocabulary(
        column_B,
        frequency_threshold=feature.min_count if feature.min_count > 1 else None,
        num_oov_buckets=feature.num_oov_buckets,
        vocab_filename=feature.name,
        name=feature.name,
    )


def _numeric(column_B, feature):
    numbers_B = tf.cast(column_B, tf.float32)
    numbers_B = tf.where(tf.math.is_finite(numbers_B), numbers_B, feature.default)
    if feature.transform == "bucket":
        return tft.bucketize(numbers_B, feature.num_buckets, name=feature.name)
    if feature.transform == "log":
        numbers_B = tf.math.log1p(tf.maximum(numbers_B, 0.0))
    mean = tft.mean(numbers_B)
    std = tf.sqrt(tft.var(numbers_B))
    varies = std > RELATIVE_STD_FLOOR * tf.abs(mean)
    return tf.where(varies, (numbers_B - mean) / tf.where(varies, std, 1.0), 0.0)
