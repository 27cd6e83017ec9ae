"""Transformed columns to one dense vector a row.

Shapes: B batch, K entries of a vector or of a sequence, D dimensions of one feature.
"""

import math

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
        Dict from feature name to table rows: vocabulary and out-of-vocabulary buckets, or quantile buckets of all entries.
        A sequence that shares another feature's table has none.
    """
    spec = tft_output.transformed_feature_spec()
    sizes = {}
    for feature in filter(_has_table, config.features):
        if feature.kind == "numeric":
            sizes[feature.name] = feature.num_buckets * math.prod(spec[feature.name].shape)
        else:
            sizes[feature.name] = tft_output.vocabulary_size_by_name(feature.name) + feature.num_oov_buckets
    return sizes


def _has_table(feature):
    if feature.kind == "sequence":
        return feature.shares is None
    return feature.kind == "categorical" or feature.transform == "bucket"


@keras.saving.register_keras_serializable(package="smalltowers")
class FeatureInputs(keras.layers.Layer):
    """Embeddings of ids beside plain numbers, in the order of the configuration.

    Maps a dict of (batch,) or (batch, entries) columns to (batch, width). Every entry of a vector has an input, or an
    embedding, of its own; a sequence is the mean of its embeddings. Columns that are no feature are ignored.

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
        for feature in filter(_has_table, self.features):
            if feature.name not in self.sizes:
                raise FeatureError(f"features.{feature.name} needs a table size. Received: {sorted(self.sizes)}")
            self._embedding_by_name[feature.name] = keras.layers.Embedding(
                self.sizes[feature.name],
                feature.dimension,
                embeddings_initializer=keras.initializers.RandomUniform(-0.05, 0.05, derive_seed(seed, feature.name)),
                name=f"embedding_{feature.name}",
            )
        for feature in self.features:
            if feature.kind == "sequence" and feature.shares is not None:
                self._embedding_by_name[feature.name] = self._embedding_by_name[feature.shares]

    def call(self, inputs, training=False):
        """Vector of every row.

        Args:
            inputs: dict of (batch,) or (batch, entries) columns, int64 ids or float32 numbers, as
                `models.features.preprocess` makes them.
            training: whether the embedding penalty is added to the layer's losses.

        Returns:
            (batch, width) float32.

        Raises:
            ValueError: If a feature is absent or not of its kind's rank.
        """
        parts_BD = []
        for feature in self.features:
            ranks = {"categorical": (1,), "numeric": (1, 2), "sequence": (2,)}[feature.kind]
            if feature.name not in inputs or inputs[feature.name].shape.rank not in ranks:
                shapes = " or ".join(("(batch,)", "(batch, entries)")[rank - 1] for rank in ranks)
                received = getattr(inputs.get(feature.name), "shape", None)
                raise ValueError(f"inputs must hold {feature.name} with shape {shapes}. Received: shape={received}")
            column = inputs[feature.name]
            embedding = self._embedding_by_name.get(feature.name)
            if embedding is None:
                parts_BD.append(column if column.shape.rank == 2 else tf.expand_dims(column, axis=1))
                continue
            embed_fn = {"categorical": _embedded, "numeric": _embedded_entries, "sequence": _embedded_mean}[feature.kind]
            parts_BD.append(embed_fn(embedding, column))
            if training and self.l2:
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


def _embedded(embedding, ids_B):
    return embedding(ids_B)


def _embedded_entries(embedding, buckets):
    """(batch, entries x dimensions); every entry has its own rows of the table."""
    buckets_BK = buckets if buckets.shape.rank == 2 else tf.expand_dims(buckets, axis=1)
    num_entries = buckets_BK.shape[1]
    first_row_K = tf.range(num_entries, dtype=buckets.dtype) * (embedding.input_dim // num_entries)
    return tf.reshape(embedding(buckets_BK + first_row_K), [-1, num_entries * embedding.output_dim])


def _embedded_mean(embedding, ids_BK):
    """(batch, dimensions): mean over the entries, which are 1 + id; 0 fills up and does not count."""
    is_entry_BK = tf.cast(ids_BK > 0, tf.float32)
    total_BD = tf.einsum("bk,bkd->bd", is_entry_BK, embedding(tf.maximum(ids_BK - 1, 0)))
    return tf.math.divide_no_nan(total_BD, tf.reduce_sum(is_entry_BK, axis=1, keepdims=True))
