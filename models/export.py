"""The served model: transform graph, inputs, body and main towers in one SavedModel. The only write in this package.

Shapes: B batch.
"""

import numpy as np
import tensorflow as tf

from models.errors import ExportError
from models.features import missing_value

SIGNATURE = "serving_default"


def export(ranker, tft_output, path):
    """Writes the served model.

    The signature `serving_default` maps `examples`, (batch,) serialized tf.Examples of raw features, to one (batch,)
    float32 output a task by its label: a probability, or seconds. It reads the configured features and nothing else: no
    label, mask or key column. A feature that an example lacks takes its configured default, a sequence is then empty, an
    unknown category takes an out-of-vocabulary bucket. An example whose feature has the wrong type, or a vector of another
    length, fails with an error that names the feature.

    Python callers pass `examples` by keyword: given a tensor by position, TensorFlow prints all of it into an error message
    that it then drops, which takes longer than the model itself.

    Args:
        ranker: built `MultiTaskRanker`; its small towers are left behind.
        tft_output: `tft.TFTransformOutput` that the ranker was trained with, raw metadata included.
        path: folder to write, a numbered version by the convention of model servers.

    Raises:
        ExportError: If the ranker has not seen a batch yet, or a raw feature is neither dense nor of variable length.
    """
    if not ranker.served_variables:
        raise ExportError("ranker must have been called on a batch before it is exported. Received: no variables")
    raw_spec = tft_output.raw_feature_spec()
    spec = serving_feature_spec(ranker.config, raw_spec)
    module = tf.Module(name="served_ranker")
    # A SavedModel holds what hangs on the module: the tables and assets of the transform, and these variables alone.
    module.transform = tft_output.transform_features_layer()
    module.model_variables = ranker.served_variables

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="examples")])
    def serve(examples):
        raw = tf.io.parse_example(examples, spec)
        with tf.control_dependencies(_checks_of_lengths(ranker.config, raw)):
            raw = {name: _shaped(column, raw_spec[name]) for name, column in raw.items()}
        return ranker(module.transform(raw), training=False)

    tf.saved_model.save(module, path, signatures={SIGNATURE: serve})


def serving_feature_spec(config, raw_feature_spec):
    """How the served model parses an example: the declared features only, defaults included.

    Args:
        config: `ModelConfig`.
        raw_feature_spec: of the raw training data, as `TFTransformOutput.raw_feature_spec` gives it.

    Returns:
        Dict from feature name to `tf.io.FixedLenFeature` with a default, or `tf.io.VarLenFeature` or `tf.io.RaggedFeature`,
        which the transform graph fills with the default. A sequence is never dense: requests hold sequences of any length.

    Raises:
        ExportError: If a feature is absent from the raw data, or neither dense nor variable-length.
    """
    spec = {}
    for feature in config.features:
        raw = raw_feature_spec.get(feature.name)
        if isinstance(raw, tf.io.VarLenFeature | tf.io.RaggedFeature):
            spec[feature.name] = raw
        elif not isinstance(raw, tf.io.FixedLenFeature):
            raise ExportError(f"features.{feature.name} must be dense or of variable length. Received: {raw}")
        elif feature.kind == "sequence":
            spec[feature.name] = tf.io.VarLenFeature(raw.dtype)
        else:
            default = np.full(raw.shape, missing_value(feature, raw.dtype)).tolist()
            spec[feature.name] = tf.io.FixedLenFeature(raw.shape, raw.dtype, default_value=default)
    return spec


def _checks_of_lengths(config, raw):
    """Assertions that rows of variable length hold as many values as their feature, or none; messages name the column."""
    checks = []
    for feature in config.features:
        column = raw[feature.name]
        if feature.kind == "sequence" or isinstance(column, tf.Tensor):
            continue
        size = (feature.kind == "numeric" and feature.size) or 1
        wanted = "at most one value" if size == 1 else f"{size} values or none"
        lengths_B = _row_lengths(column)
        checks.append(
            tf.debugging.Assert(
                tf.reduce_all((lengths_B == 0) | (lengths_B == size)), [f"feature {feature.name} must hold {wanted}"]
            )
        )
    return checks


def _row_lengths(column):
    if isinstance(column, tf.RaggedTensor):
        return column.row_lengths()
    return tf.math.unsorted_segment_sum(tf.ones_like(column.indices[:, 0]), column.indices[:, 0], column.dense_shape[0])


def _shaped(column, raw):
    """A parsed column as the transform graph takes it: dense where the training data were."""
    if isinstance(column, tf.SparseTensor) and isinstance(raw, tf.io.FixedLenFeature):
        # Sequences alone come this way; what exceeds the length of training is older than what the transform reads.
        dense = tf.sparse.to_dense(column, default_value="")[:, : raw.shape[0]]
        missing = raw.shape[0] - tf.shape(dense)[1]
        return tf.ensure_shape(tf.pad(dense, [[0, 0], [0, missing]]), [None, raw.shape[0]])
    return tf.identity(column)
