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
    label, mask or key column. A feature that an example lacks takes its configured default, an unknown category an
    out-of-vocabulary bucket. An example whose feature has the wrong type fails with an error that names the feature.

    Args:
        ranker: built `MultiTaskRanker`; its small towers are left behind.
        tft_output: `tft.TFTransformOutput` that the ranker was trained with, raw metadata included.
        path: folder to write, a numbered version by the convention of model servers.

    Raises:
        ExportError: If the ranker has not seen a batch yet, or a raw feature is neither dense nor variable-length.
    """
    if not ranker.served_variables:
        raise ExportError("ranker must have been called on a batch before it is exported. Received: no variables")
    spec = serving_feature_spec(ranker.config, tft_output.raw_feature_spec())
    module = tf.Module(name="served_ranker")
    # A SavedModel holds what hangs on the module: the tables and assets of the transform, and these variables alone.
    module.transform = tft_output.transform_features_layer()
    module.model_variables = ranker.served_variables

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="examples")])
    def serve(examples):
        raw = tf.io.parse_example(examples, spec)
        with tf.control_dependencies(_at_most_one_value(raw)):
            raw = {name: tf.identity(column) for name, column in raw.items()}
        return ranker(module.transform(raw), training=False)

    tf.saved_model.save(module, path, signatures={SIGNATURE: serve})


def serving_feature_spec(config, raw_feature_spec):
    """How the served model parses an example: the declared features only, defaults included.

    Args:
        config: `ModelConfig`.
        raw_feature_spec: of the raw training data, as `TFTransformOutput.raw_feature_spec` gives it.

    Returns:
        Dict from feature name to `tf.io.FixedLenFeature` with a default, or `tf.io.VarLenFeature`, which the transform
        graph fills with the default.

    Raises:
        ExportError: If a feature is absent from the raw data, or neither dense nor variable-length.
    """
    spec = {}
    for feature in config.features:
        raw = raw_feature_spec.get(feature.name)
        if isinstance(raw, tf.io.FixedLenFeature):
            default = np.full(raw.shape, missing_value(feature, raw.dtype)).tolist()
            spec[feature.name] = tf.io.FixedLenFeature(raw.shape, raw.dtype, default_value=default)
        elif isinstance(raw, tf.io.VarLenFeature):
            spec[feature.name] = raw
        else:
            raise ExportError(f"features.{feature.name} must be dense or of variable length. Received: {raw}")
    return spec


def _at_most_one_value(raw):
    """Assertions that no sparse column holds two values in a row; the message names the column."""
    return [
        tf.debugging.assert_less_equal(
            column.dense_shape[1], tf.constant(1, tf.int64), message=f"feature {name} must hold at most one value"
        )
        for name, column in raw.items()
        if isinstance(column, tf.SparseTensor)
    ]
