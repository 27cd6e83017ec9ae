"""Feature transforms for tf.Transform: raw columns to vocabulary ids, standardised numbers and bucket ids.

Shapes: B batch, K entries of a vector or of a sequence.
"""

import numpy as np
import tensorflow as tf

from data.schema import SAMPLING_RATE, mask_name, weight_name
from models.categories import category_ids
from models.errors import FeatureError
from models.numbers import transformed_numbers

# Stands in for a missing integer category whose default is "": a value that no log holds.
MISSING_INTEGER = int(np.iinfo(np.int64).min)


def preprocess(inputs, config):
    """Transformed columns of a batch: every feature, and label and mask of every task.

    A column that is absent, or whose type or size does not suit the feature or its default, is a `FeatureError`. The mask
    of a label that has a weight is multiplied by it. A row that negative sampling kept counts for those that it did not: its
    masks are divided by its sampling rate, so that every task learns the expectation over all rows. A correction of the
    probability instead (He et al., "Practical Lessons from Predicting Clicks on Ads at Facebook", 2014, section 6.3) is right
    where all rows with label 0 are thinned alike, which those of satisfaction and watch time are not.

    Args:
        inputs: raw columns by name, (batch,) or (batch, entries) dense, or sparse or ragged where rows may lack them.
        config: `ModelConfig`.

    Returns:
        Dict by the columns' own names, of a cross by the feature's: int64 ids for categories, crosses and buckets, float32
        for other numbers, labels and masks, all (batch,) or, of a vector, (batch, entries); of a sequence (batch,
        max_length) int64, 0 after its end and otherwise 1 + id.
    """
    columns = {feature.name: _READERS[feature.kind](inputs, feature) for feature in config.features if feature.kind in _READERS}
    numeric = [feature for feature in config.features if feature.kind == "numeric"]
    outputs = category_ids(columns, [feature for feature in config.features if feature.kind != "numeric"])
    for name, numbers_BK in transformed_numbers({feature.name: columns[feature.name] for feature in numeric}, numeric).items():
        outputs[name] = numbers_BK[:, 0] if numbers_BK.shape[1] == 1 else numbers_BK
    for task in config.tasks:
        mask, weight = mask_name(task.label), weight_name(task.label)
        outputs[task.label], outputs[mask] = (_float_column(inputs, name, 0.0) for name in (task.label, mask))
        if weight in inputs:
            outputs[mask] *= _float_column(inputs, weight, 1.0)
        if SAMPLING_RATE in inputs:
            outputs[mask] /= _float_column(inputs, SAMPLING_RATE, 1.0)
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


def _require_shared_dtype(inputs, feature, values):
    """A table that is shared holds `values` of the same type, "strings" or "integers"."""
    if feature.shares is None:
        return
    dtype = _dtype(inputs, feature.shares)
    if (dtype == tf.string) != (values == "strings"):
        raise FeatureError(
            f"features.{feature.name}.shares must name a column of {values}, as {feature.name} holds {values}. "
            f"Received: {feature.shares} ({dtype.name})"
        )


def _category(inputs, feature):
    """(batch,) values."""
    dtype = _dtype(inputs, feature.name)
    missing_value(feature, dtype)
    _require_shared_dtype(inputs, feature, "strings" if dtype == tf.string else "integers")
    return _column(inputs, feature, 1)[:, 0]


def _sequence(inputs, feature):
    """(batch, entries) ragged strings, at most `max_length`: a one-byte filler is no entry."""
    if _dtype(inputs, feature.name) != tf.string:
        raise FeatureError(
            f"features.{feature.name} must name a column of strings, as its kind is sequence. "
            f"Received: {inputs[feature.name].dtype.name}"
        )
    _require_shared_dtype(inputs, feature, "strings")
    column = inputs[feature.name]
    if isinstance(column, tf.SparseTensor):
        column = tf.RaggedTensor.from_sparse(column)
    elif isinstance(column, tf.Tensor):
        column = tf.RaggedTensor.from_tensor(tf.reshape(column, [-1, _declared_size(column)]))
    return tf.ragged.boolean_mask(column, tf.not_equal(column, ""))[:, : feature.max_length]


def _number(inputs, feature):
    """(batch, entries) finite float32; of a log, its logarithm."""
    missing_value(feature, _dtype(inputs, feature.name))
    size = feature.size or _declared_size(inputs[feature.name])
    numbers_BK = tf.cast(_column(inputs, feature, size), tf.float32)
    numbers_BK = tf.where(tf.math.is_finite(numbers_BK), numbers_BK, feature.default)
    return tf.math.log1p(tf.maximum(numbers_BK, 0.0)) if feature.transform == "log" else numbers_BK


_READERS = {"categorical": _category, "sequence": _sequence, "numeric": _number}
