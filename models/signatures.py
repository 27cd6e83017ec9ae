"""The functions that a served model offers: what each takes, and how it becomes what the ranker reads.

Shapes: B batch, N candidates, K entries of a vector or of a sequence.
"""

import math

import numpy as np
import tensorflow as tf

from data.columns import input_name
from models.errors import ExportError
from models.features import MISSING_INTEGER, missing_value

EXAMPLES, RANK, TRANSFORMED = "serving_default", "rank", "transformed"
EXAMPLES_INPUT = "examples"
UNCALIBRATED_SUFFIX = "_uncalibrated"


class ServedColumns:
    """What a ranker reads when it serves: transformed columns, and the raw ones that they are made of.

    Attributes:
        features: configurations of the features that body and heads read; what the bias tower alone reads is not among them.
        raw: configuration of the feature that says type and default, by raw column.
        raw_spec: feature spec by raw column, as the training data declare it.
        transformed_spec: feature spec by transformed column.
    """

    def __init__(self, ranker, tft_output):
        """Columns of a ranker.

        Args:
            ranker: `MultiTaskRanker`.
            tft_output: `tft.TFTransformOutput` that it was trained with.

        Raises:
            ExportError: If a raw column is absent from the training data, or neither dense nor of variable length.
        """
        by_name = {feature.name: feature for feature in ranker.config.features}
        names = {feature.name for feature in ranker.config.body_features}
        names |= {feature.query for feature in ranker.config.body_features if getattr(feature, "query", None) is not None}
        names |= {name for head in ranker.heads.values() for name in head.columns}
        self.features = tuple(feature for feature in ranker.config.features if feature.name in names)
        sources = [name for feature in self.features for name in (feature.of if feature.kind == "cross" else [feature.name])]
        self.raw = {name: by_name[name] for name in dict.fromkeys(sources)}
        raw_spec = tft_output.raw_feature_spec()
        for name in self.raw:
            if not isinstance(raw_spec.get(name), tf.io.FixedLenFeature | tf.io.VarLenFeature | tf.io.RaggedFeature):
                raise ExportError(f"features.{name} must be dense or of variable length. Received: {raw_spec.get(name)}")
        self.raw_spec = {name: raw_spec[name] for name in self.raw}
        spec = tft_output.transformed_feature_spec()
        self.transformed_spec = {feature.name: spec[feature.name] for feature in self.features}

    def size(self, name):
        """Numbers or strings in a row of a raw column; None for a sequence.

        Args:
            name: raw column.

        Returns:
            int or None.
        """
        feature = self.raw[name]
        if feature.kind == "sequence":
            return None
        declared = getattr(self.raw_spec[name], "shape", None)
        return getattr(feature, "size", None) or math.prod(declared or ())


def examples_function(columns, predict_fn):
    """The signature `serving_default`: serialized tf.Examples to outputs.

    Args:
        columns: `ServedColumns`.
        predict_fn: raw columns as the transform graph takes them to outputs.

    Returns:
        `tf.function` of `examples`, (batch,) strings.
    """
    spec = examples_spec(columns)

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name=EXAMPLES_INPUT)], autograph=False)
    def serve(examples):
        raw = tf.io.parse_example(examples, spec)
        with tf.control_dependencies(_checks_of_lengths(columns, raw)):
            return predict_fn({name: _as_in_training(column, columns.raw_spec[name]) for name, column in raw.items()})

    return serve


def examples_spec(columns):
    """How the served model parses an example: the columns that it reads only, defaults included.

    Args:
        columns: `ServedColumns`.

    Returns:
        Dict from column to `tf.io.FixedLenFeature` with a default, or `tf.io.VarLenFeature` or `tf.io.RaggedFeature`, which
        the transform graph fills with the default. A sequence is never dense: requests hold sequences of any length.
    """
    spec = {}
    for name, raw in columns.raw_spec.items():
        feature = columns.raw[name]
        spec[name] = raw
        if isinstance(raw, tf.io.FixedLenFeature):
            if feature.kind == "sequence":
                spec[name] = tf.io.VarLenFeature(raw.dtype)
            else:
                default = np.full(raw.shape, missing_value(feature, raw.dtype)).tolist()
                spec[name] = tf.io.FixedLenFeature(raw.shape, raw.dtype, default_value=default)
    return spec


def rank_function(columns, candidate_columns, predict_fn):
    """The signature `rank`: columns of a user and of candidates to outputs by candidate.

    Args:
        columns: `ServedColumns`.
        candidate_columns: names of raw columns with a value for each candidate; all others have one value.
        predict_fn: as of `examples_function`.

    Returns:
        Concrete function of one tensor a column, as `rank_spec` says. What a missing value is, is written there.
    """

    def rank(**inputs):
        raw = {name: _with_defaults(inputs[input_name(name)], columns.raw[name]) for name in columns.raw}
        sizes = [tf.shape(raw[name])[0] for name in columns.raw if name in candidate_columns]
        with tf.control_dependencies([_check_of_candidates(tf.stack(sizes))]):
            raw = {name: tf.identity(column) for name, column in raw.items()}
        grids = {}
        return predict_fn({name: _from_dense(raw[name], columns.raw_spec[name], grids) for name in raw})

    return tf.function(rank, autograph=False).get_concrete_function(**rank_spec(columns, candidate_columns))


def rank_spec(columns, candidate_columns):
    """Inputs of the signature `rank`.

    A value is missing, and takes the feature's default, where a string is "", a float is NaN or an integer is the least of 64
    bits. A sequence may be of any length, and "" in it is no entry.

    Args:
        columns: `ServedColumns`.
        candidate_columns: as of `rank_function`.

    Returns:
        Dict from `data.columns.input_name` of the raw column to `tf.TensorSpec` of its own type: (candidates,) or (1,), of a
        vector (candidates, size) or (1, size), of a sequence (candidates, any) or (1, any).

    Raises:
        ExportError: If no candidate column is read, or two columns have one input name.
    """
    if not set(candidate_columns) & columns.raw.keys():
        raise ExportError(
            f"features must hold a column of the candidates, of {sorted(candidate_columns)}. Received: {sorted(columns.raw)}"
        )
    specs = {}
    for name, raw in columns.raw_spec.items():
        size = columns.size(name)
        shape = [None if name in candidate_columns else 1] + ([] if size == 1 else [size])
        if input_name(name) in specs:
            raise ExportError(f"features must have names that differ in letters and digits. Received: {input_name(name)} twice")
        specs[input_name(name)] = tf.TensorSpec(shape, raw.dtype, name=input_name(name))
    return specs


def transformed_function(columns, outputs_fn):
    """The signature `transformed`: transformed columns to outputs.

    Args:
        columns: `ServedColumns`.
        outputs_fn: transformed columns to outputs.

    Returns:
        Concrete function of one tensor (batch,) or (batch, entries) a column, by `data.columns.input_name`.
    """

    def transformed(**inputs):
        return outputs_fn({name: inputs[input_name(name)] for name in columns.transformed_spec})

    specs = {
        input_name(name): tf.TensorSpec([None, *spec.shape], spec.dtype, name=input_name(name))
        for name, spec in columns.transformed_spec.items()
    }
    return tf.function(transformed, autograph=False).get_concrete_function(**specs)


def _checks_of_lengths(columns, raw):
    """Assertions that rows of variable length hold as many values as their feature, or none; messages name the column."""
    checks = []
    for name, column in raw.items():
        size = columns.size(name)
        if size is None or isinstance(column, tf.Tensor):
            continue
        wanted = "at most one value" if size == 1 else f"{size} values or none"
        lengths_B = _row_lengths(column)
        checks.append(
            tf.debugging.Assert(tf.reduce_all((lengths_B == 0) | (lengths_B == size)), [f"feature {name} must hold {wanted}"])
        )
    return checks


def _row_lengths(column):
    if isinstance(column, tf.RaggedTensor):
        return column.row_lengths()
    return tf.math.unsorted_segment_sum(tf.ones_like(column.indices[:, 0]), column.indices[:, 0], column.dense_shape[0])


def _as_in_training(column, raw):
    """A parsed column as the transform graph takes it: dense where the training data were."""
    if isinstance(column, tf.SparseTensor) and isinstance(raw, tf.io.FixedLenFeature):
        # Sequences alone come this way.
        return _of_length(tf.sparse.to_dense(column, default_value=""), raw.shape[0])
    return tf.identity(column)


def _of_length(column_BK, length):
    """Sequences of one length; what exceeds the length of training is older than what the transform reads."""
    column_BK = column_BK[:, :length]
    padding = [[0, 0], [0, length - tf.shape(column_BK)[1]]]
    return tf.ensure_shape(tf.pad(column_BK, padding, constant_values=""), [column_BK.shape[0], length])


def _check_of_candidates(sizes):
    return tf.debugging.Assert(
        tf.reduce_all(sizes == sizes[0]), ["columns of candidates must hold as many rows each. Received:", sizes]
    )


def _with_defaults(column, feature):
    """A column of a request with its missing values filled in; those of floats the transform fills."""
    if feature.kind == "sequence" or column.dtype.is_floating:
        return column
    missing, default = ("" if column.dtype == tf.string else MISSING_INTEGER), missing_value(feature, column.dtype)
    return column if default == missing else tf.where(column == missing, tf.constant(default, column.dtype), column)


def _from_dense(column, raw, grids):
    """A dense column as the transform graph takes it; `grids` holds the indices that columns of one form share."""
    if isinstance(raw, tf.io.FixedLenFeature):
        if column.shape.rank == 2 and column.shape[1] is None:
            return _of_length(column, raw.shape[0])
        return tf.reshape(column, [-1, *raw.shape])
    column_BK = column if column.shape.rank == 2 else column[:, None]
    if isinstance(raw, tf.io.RaggedFeature):
        return tf.RaggedTensor.from_tensor(column_BK, row_splits_dtype=raw.row_splits_dtype)
    # All values, as a NaN or an entry of the default stands for itself.
    num_rows, size = column_BK.shape
    if size is None or (num_rows, size) not in grids:
        shape = tf.shape(column_BK, out_type=tf.int64)
        rows, entries = tf.meshgrid(tf.range(shape[0]), tf.range(shape[1]), indexing="ij")
        grids[num_rows, size] = tf.reshape(tf.stack([rows, entries], axis=-1), [-1, 2]), shape
    indices, shape = grids[num_rows, size]
    return tf.SparseTensor(indices, tf.reshape(column, [-1]), shape)
