"""Feature transforms for tf.Transform: raw columns to vocabulary ids, standardised numbers and bucket ids.

Shapes: B batch, K entries of a vector or of a sequence, Q quantiles.
"""

import numpy as np
import tensorflow as tf
import tensorflow_transform as tft

from data.schema import mask_name, weight_name
from models.errors import FeatureError

# Stands in for a missing integer category whose default is "": a value that no log holds.
MISSING_INTEGER = int(np.iinfo(np.int64).min)

# A standard deviation below this share of the mean is rounding of a constant float32 column.
RELATIVE_STD_FLOOR = 1e-6


# Error of a quantile's rank, as a share of the rows.
QUANTILE_ERROR = 0.01


def preprocess(inputs, config):
    """Transformed columns of a batch: every feature, and label and mask of every task.

    A column that is absent, or whose type or size does not suit the feature or its default, is a `FeatureError`. The mask
    of a label that has a weight is multiplied by it.

    Args:
        inputs: raw columns by name, (batch,) or (batch, entries) dense, or sparse or ragged where rows may lack them.
        config: `ModelConfig`.

    Returns:
        Dict by the columns' own names: int64 ids for categories and buckets, float32 for other numbers, labels and masks,
        all (batch,) or, of a vector, (batch, entries); of a sequence (batch, max_length) int64, 0 after its end and
        otherwise 1 + id.
    """
    outputs, vocabulary_by_name = {}, {}
    # Sequences come last: they may read the vocabulary of a category.
    for feature in sorted(config.features, key=lambda feature: feature.kind == "sequence"):
        if feature.kind == "categorical":
            outputs[feature.name], vocabulary_by_name[feature.name] = _categorical(inputs, feature)
        elif feature.kind == "numeric":
            outputs[feature.name] = _numeric(inputs, feature)
        else:
            outputs[feature.name] = _sequence(inputs, feature, vocabulary_by_name.get(feature.shares))
    for task in config.tasks:
        mask, weight = mask_name(task.label), weight_name(task.label)
        outputs[task.label], outputs[mask] = (_float_column(inputs, name, 0.0) for name in (task.label, mask))
        if weight in inputs:
            outputs[mask] *= _float_column(inputs, weight, 1.0)
    return outputs


def missing_value(feature, dtype):
    """Value that stands in where a row or a request lacks a categorical or numeric feature.

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


def _column(inputs, feature, size):
    """(batch, size) dense tensor of one raw column; a row that lacks it holds the feature's default."""
    column = inputs[feature.name]
    if not isinstance(column, tf.Tensor):
        return _filled(column, size, missing_value(feature, column.dtype))
    declared = _declared_size(column)
    if declared != size:
        raise FeatureError(
            f"features.{feature.name} must have {size} value{'s' * (size > 1)} a row. Received: {declared} in the data"
        )
    return tf.reshape(column, [-1, size])


def _float_column(inputs, name, missing):
    """(batch,) float32 of a label, mask or weight."""
    _dtype(inputs, name)
    column = inputs[name]
    if not isinstance(column, tf.Tensor):
        column = _filled(column, 1, missing)
    return tf.cast(tf.reshape(column, [-1]), tf.float32)


def _filled(column, size, missing):
    """(batch, size) dense tensor of a sparse or ragged one; a value beyond `size` lies outside this shape and fails here."""
    if isinstance(column, tf.RaggedTensor):
        column = column.to_sparse()
    column = tf.SparseTensor(column.indices, column.values, tf.stack([column.dense_shape[0], size]))
    return tf.sparse.to_dense(column, default_value=tf.constant(missing, column.dtype))


def _declared_size(column):
    return column.shape[1] if isinstance(column, tf.Tensor) and column.shape.rank == 2 else 1


class _Vocabulary:
    """Ids of the values that a feature saw in training; further features may apply it."""

    def __init__(self, values, feature):
        self._num_oov_buckets = feature.num_oov_buckets
        self._file = tft.vocabulary(
            values,
            frequency_threshold=feature.min_count if feature.min_count > 1 else None,
            vocab_filename=feature.name,
            name=feature.name,
        )

    def ids(self, values, name):
        return tft.apply_vocabulary(values, self._file, num_oov_buckets=self._num_oov_buckets, name=name)


def _categorical(inputs, feature):
    """(batch,) ids, and the vocabulary."""
    missing_value(feature, _dtype(inputs, feature.name))
    column_B = _column(inputs, feature, 1)[:, 0]
    vocabulary = _Vocabulary(column_B, feature)
    return vocabulary.ids(column_B, feature.name), vocabulary


def _sequence(inputs, feature, shared):
    """(batch, max_length) ids plus 1, and 0 after the end: a one-byte filler, and no id."""
    if _dtype(inputs, feature.name) != tf.string:
        raise FeatureError(
            f"features.{feature.name} must name a column of strings, as its kind is sequence. "
            f"Received: {inputs[feature.name].dtype.name}"
        )
    if feature.shares is not None and inputs[feature.shares].dtype != tf.string:
        raise FeatureError(
            f"features.{feature.name}.shares must name a column of strings, as {feature.name} holds strings. "
            f"Received: {feature.shares} ({inputs[feature.shares].dtype.name})"
        )
    column = inputs[feature.name]
    if isinstance(column, tf.SparseTensor):
        column = tf.RaggedTensor.from_sparse(column)
    elif isinstance(column, tf.Tensor):
        column = tf.RaggedTensor.from_tensor(tf.reshape(column, [-1, _declared_size(column)]))
    newest = tf.ragged.boolean_mask(column, tf.not_equal(column, ""))[:, : feature.max_length]
    vocabulary = shared or _Vocabulary(newest.values, feature)
    return newest.with_values(vocabulary.ids(newest.values, feature.name) + 1).to_tensor(
        default_value=0, shape=[None, feature.max_length]
    )


def _numeric(inputs, feature):
    """(batch,) or, of a vector, (batch, entries): all entries of a column in one operation each."""
    missing_value(feature, _dtype(inputs, feature.name))
    size = feature.size or _declared_size(inputs[feature.name])
    numbers_BK = tf.cast(_column(inputs, feature, size), tf.float32)
    numbers_BK = tf.where(tf.math.is_finite(numbers_BK), numbers_BK, feature.default)
    transformed_BK = _buckets(numbers_BK, feature) if feature.transform == "bucket" else _standardised(numbers_BK, feature)
    return transformed_BK[:, 0] if size == 1 else transformed_BK


def _buckets(numbers_BK, feature):
    error = min(1 / feature.num_buckets, QUANTILE_ERROR)
    boundaries_KQ = tft.quantiles(numbers_BK, feature.num_buckets, error, reduce_instance_dims=False, name=feature.name)
    # tft.bucketize would do the same with a dozen operations for every entry.
    return tf.transpose(tf.searchsorted(boundaries_KQ, tf.transpose(numbers_BK), side="right", out_type=tf.int64))


def _standardised(numbers_BK, feature):
    if feature.transform == "log":
        numbers_BK = tf.math.log1p(tf.maximum(numbers_BK, 0.0))
    mean_K = tft.mean(numbers_BK, reduce_instance_dims=False)
    std_K = tf.sqrt(tft.var(numbers_BK, reduce_instance_dims=False))
    varies_K = std_K > RELATIVE_STD_FLOOR * tf.abs(mean_K)
    return tf.where(varies_K, (numbers_BK - mean_K) / tf.where(varies_K, std_K, 1.0), 0.0)
