"""Transformed columns to one dense vector a row.

Shapes: B batch, D dimensions of one feature.
"""

import pydantic
import tensorflow as tf

from models.config import FeatureConfig
from models.errors import FeatureError
from models.keras import keras
from models.seeds import derive_seed

_FEATURES = pydantic.TypeAdapter(tuple[FeatureConfig, ...])


def table_sizes(config, tft_output):
    """Rows of the embedding table of every embedded feature.

    Args:
        config: `ModelConfig`.
        tft_output: `tft.TFTransformOutput` of `models.features.preprocess` with the same configuration.

    Returns:
        Dict from feature name to table rows: vocabulary and out-of-vocabulary buckets, or quantile buckets.
    """
    sizes = {}
    for feature in config.features:
        if feature.kind == "categorical":
            sizes[feature.name] = tft_output.vocabulary_size_by_name(feature.name) + feature.num_oov_buckets
        elif feature.transform == "bucket":
            sizes[feature.name] = feature.num_buckets
    return sizes


@keras.saving.register_keras_serializable(package="smalltowers")
class FeatureInputs(keras.layers.Layer):
    """Embeddings of ids beside plain numbers, in the order of the configuration.

    Maps a dict of (batch,) columns to (batch, width). Columns that are no feature are ignored.

    Args:
        features: feature configurations.
        sizes: table rows by name of embedded feature, as `table_sizes` gives them.
        l2: weight in the training loss of a row's squared embeddings, summed over its features, mean over the batch.
        seed: of initial values.
        **kwargs: of `keras.layers.Layer`.

    Raises:
        FeatureError: If an embedded feature has no table size.
    """

    def __init__(self, features, sizes, l2=0.0, seed=0, **kwargs):
        super().__init__(**kwargs)
        self.features = tuple(features)
        self.sizes = dict(sizes)
        self.l2 = l2
        self.seed = seed
        self._embedding_by_name = {}
        for feature in self.features:
            if feature.kind == "numeric" and feature.transform != "bucket":
                continue
            if feature.name not in self.sizes:
                raise FeatureError(f"features.{feature.name} needs a table size. Received: {sorted(self.sizes)}")
            self._embedding_by_name[feature.name] = keras.layers.Embedding(
                self.sizes[feature.name],
                feature.dimension,
                embeddings_initializer=keras.initializers.RandomUniform(-0.05, 0.05, derive_seed(seed, feature.name)),
                name=f"embedding_{feature.name}",
            )

    def call(self, inputs, training=False):
        """Vector of every row.

        Args:
            inputs: dict of (batch,) columns, int64 ids or float32 numbers.
            training: whether the embedding penalty is added to the layer's losses.

        Returns:
            (batch, width) float32.

        Raises:
            ValueError: If a feature is absent or not of rank 1.
        """
        parts_BD = []
        for feature in self.features:
            if feature.name not in inputs or inputs[feature.name].shape.rank != 1:
                received = getattr(inputs.get(feature.name), "shape", None)
                raise ValueError(f"inputs must hold {feature.name} with shape (batch,). Received: shape={received}")
            column_B = inputs[feature.name]
            embedding = self._embedding_by_name.get(feature.name)
            parts_BD.append(tf.expand_dims(column_B, axis=1) if embedding is None else embedding(column_B))
            if training and self.l2 and embedding is not None:
                self.add_loss(self.l2 * tf.reduce_mean(tf.reduce_sum(tf.square(parts_BD[-1]), axis=1)))
        return tf.concat(parts_BD, axis=1)

    def get_config(self):
        """Constructor arguments, features as plain dicts."""
        features = [feature.model_dump() for feature in self.features]
        return {**super().get_config(), "features": features, "sizes": self.sizes, "l2": self.l2, "seed": self.seed}

    @classmethod
    def from_config(cls, config):
        """Layer of a `get_config` result.

        Args:
            config: what `get_config` returned.

        Returns:
            `FeatureInputs`.
        """
        return cls(**{**config, "features": _FEATURES.validate_python(config["features"])})
