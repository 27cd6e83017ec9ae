"""Transformed columns to one dense vector a row.

Shapes: B batch, K entries of a vector or of a sequence, N entries of several columns side by side, D dimensions of one
feature, W width of several.
"""

import collections
import itertools
import math
from typing import NamedTuple

import numpy as np
import pydantic
import tensorflow as tf

from models.config import FeatureConfig
from models.errors import FeatureError
from models.keras import keras
from models.layers.embedding_tables import EmbeddingTables
from models.layers.entry_pooling import AttentionPooling, max_of_entries, mean_of_entries
from models.layers.piecewise import PiecewiseEmbedding
from models.layers.repeated_rows import concat_columns, joined
from models.seeds import derive_seed

_FEATURES = pydantic.TypeAdapter(tuple[FeatureConfig, ...])

_RANKS = {"categorical": (1,), "cross": (1,), "numeric": (1, 2), "sequence": (2,)}

# Operations that make vectors, in the order in which their vectors stand side by side.
_LOOKUP, _PIECEWISE, _POOLING, _PLAIN = range(4)


class TableRows(NamedTuple):
    """Where an embedding table lies.

    Attributes:
        variable: (rows of several tables, dimension).
        first_row: of the table in it.
        num_rows: of the table.
    """

    variable: tf.Variable
    first_row: int
    num_rows: int


def table_sizes(config, tft_output):
    """Rows of the embedding table of every embedded feature.

    Args:
        config: `ModelConfig`.
        tft_output: `tft.TFTransformOutput` of `models.features.preprocess` with the same configuration.

    Returns:
        Dict from feature name to table rows: vocabulary and out-of-vocabulary buckets, hash buckets, or quantile buckets of
        all entries. A feature that shares another one's table has none.
    """
    spec = tft_output.transformed_feature_spec()
    sizes = {}
    for feature in filter(_has_table, config.features):
        if feature.kind == "numeric":
            sizes[feature.name] = feature.num_buckets * math.prod(spec[feature.name].shape)
        elif getattr(feature, "hash_buckets", None) is not None:
            sizes[feature.name] = feature.hash_buckets
        else:
            sizes[feature.name] = tft_output.vocabulary_size_by_name(feature.name) + feature.num_oov_buckets
    return sizes


def embedding_dimension(num_rows):
    """Width of an embedding whose configured dimension is "auto".

    Args:
        num_rows: of its table.

    Returns:
        Twice the fourth root of the rows, rounded up to a multiple of 4, as tables of one width are looked up together.

    Reference:
        The fourth root is that of Wang et al., "Deep & Cross Network for Ad Click Predictions", ADKDD 2017, section 4.1 (6
        times it, for tables of millions of rows); twice it is the default of NVIDIA Merlin's
        `get_embedding_size_from_cardinality`.
    """
    return 4 * math.ceil(2 * num_rows**0.25 / 4)


def _has_table(feature):
    if feature.kind == "numeric":
        return feature.is_embedded
    return getattr(feature, "shares", None) is None


@keras.saving.register_keras_serializable(package="smalltowers")
class FeatureInputs(keras.layers.Layer):
    """Embeddings of ids beside plain numbers.

    Maps a dict of (batch,) or (batch, entries) columns to (batch, width), or with `vectors` to a vector a feature. Every
    entry of a vector has an input, or an embedding, of its own. Columns that are no feature are ignored.

    Tables of one width lie in one variable and are looked up at once; side by side the features' vectors therefore stand by
    their width, then those of piecewise numbers, sequences and plain numbers, each in the configuration's order.

    A column may come with one row beside others with many, if its shape says so: the user's in a request. Its vector is
    computed once and goes with every row; the least work is left where such features stand before all others.

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
        # Positions among buckets and large numbers do not bear 16 bits; the layers that read the vectors cast them.
        super().__init__(**{"dtype": "float32", **kwargs})
        self.features = tuple(features)
        self.sizes = dict(sizes)
        self.l2 = l2
        self.seed = seed
        for feature in filter(_has_table, self.features):
            if feature.name not in self.sizes:
                raise FeatureError(f"features.{feature.name} needs a table size. Received: {sorted(self.sizes)}")
        self._feature_by_name = {feature.name: feature for feature in self.features}
        self._tables = self._make_tables()
        self._piecewise = self._make_piecewise()
        self._attention = {
            feature.name: AttentionPooling(
                feature.attention_units,
                derive_seed(seed, f"attention_{feature.name}"),
                name=f"attention_{feature.name}",
                dtype="float32",
            )
            for feature in self.features
            if feature.kind == "sequence" and feature.pooling == "attention"
        }
        # Names of features whose vectors come from one operation, in the order of `call`.
        grouped = itertools.groupby(sorted(self.features, key=self._group), key=self._group)
        self._groups = [(kind, [feature.name for feature in group]) for (kind, *_), group in grouped]

    def _make_tables(self):
        sizes_by_dimension = collections.defaultdict(dict)
        for feature in filter(_has_table, self.features):
            if getattr(feature, "transform", None) != "piecewise":
                sizes_by_dimension[self._dimension(feature)][feature.name] = self.sizes[feature.name]
        # Keys of what Keras keeps in checkpoints must be strings.
        return {
            str(dimension): EmbeddingTables(sizes, dimension, self.seed, name=f"tables_{dimension}", dtype="float32")
            for dimension, sizes in sorted(sizes_by_dimension.items())
        }

    def _make_piecewise(self):
        entries_by_shape = collections.defaultdict(dict)
        for feature in self.features:
            if getattr(feature, "transform", None) == "piecewise":
                shape = feature.num_buckets, feature.dimension
                entries_by_shape[shape][feature.name] = self._num_entries(feature)
        layers = {}
        for (num_buckets, dimension), entries in entries_by_shape.items():
            name = f"piecewise_{num_buckets}_{dimension}"
            layers[name] = PiecewiseEmbedding(entries, num_buckets, dimension, self.seed, name=name, dtype="float32")
        return layers

    def _owner(self, feature):
        return self._feature_by_name[getattr(feature, "shares", None) or feature.name]

    def _dimension(self, feature):
        owner = self._owner(feature)
        return embedding_dimension(self.sizes[owner.name]) if owner.dimension == "auto" else owner.dimension

    def _num_entries(self, feature):
        return self.sizes[feature.name] // feature.num_buckets if feature.kind == "numeric" else 1

    def _group(self, feature):
        """What is computed together: the kind of operation, and what tells two of a kind apart."""
        if feature.kind == "sequence":
            return _POOLING, 0, 0
        if feature.kind == "numeric" and not feature.is_embedded:
            return _PLAIN, 0, 0
        if feature.kind == "numeric" and feature.transform == "piecewise":
            return _PIECEWISE, feature.num_buckets, feature.dimension
        return _LOOKUP, self._dimension(feature), 0

    @property
    def table_rows(self):
        """Where every embedding table lies: dict from feature name to `TableRows`; shared tables stand once."""
        rows = {}
        for table in self._tables.values():
            for name, num_rows in table.sizes.items():
                rows[name] = TableRows(table.embeddings, table.first_rows[name], num_rows)
        return rows

    def vectors(self, inputs, training=False):
        """Every feature's vector apart.

        Args:
            inputs: as of `call`.
            training: as of `call`.

        Returns:
            Dict from feature name, in the configuration's order, to (batch, its width) float32; (1, its width) of a column
            with one row.
        """
        return self(inputs, training=training, apart=True)

    def call(self, inputs, training=False, apart=False):
        """Vector of every row.

        Args:
            inputs: dict of (batch,) or (batch, entries) columns, int64 ids or float32 numbers, as
                `models.features.preprocess` makes them.
            training: whether the embedding penalty is added to the layer's losses.
            apart: whether features are given apart, as by `vectors`.

        Returns:
            (batch, width) float32.

        Raises:
            ValueError: If a feature is absent or not of its kind's rank.
        """
        for feature in self.features:
            _require_column(inputs, feature)
        blocks = [(names, self._block(kind, names, inputs, training)) for kind, names in self._parts(inputs)]
        if not apart and len({block_BW.shape[0] == 1 for _, block_BW in blocks}) == 1:
            return concat_columns([block_BW for _, block_BW in blocks])
        order = [name for _, group in self._groups for name in group]
        if not apart and order == [name for names, _ in blocks for name in names]:
            return joined([block_BW for _, block_BW in blocks])
        vectors = {}
        for names, block_BW in blocks:
            widths = [self._width(self._feature_by_name[name], inputs[name]) for name in names]
            vectors |= zip(names, tf.split(block_BW, widths, axis=1), strict=True)
        if apart:
            return {feature.name: vectors[feature.name] for feature in self.features}
        return joined([vectors[name] for name in order])

    def _parts(self, inputs):
        """Groups, of which one whose columns have one row or many becomes two."""
        for kind, group in self._groups:
            for has_one_row in (True, False):
                names = [name for name in group if self._has_one_row(self._feature_by_name[name], inputs) == has_one_row]
                if names:
                    yield kind, names

    def _has_one_row(self, feature, inputs):
        query = getattr(feature, "query", None)
        return all(inputs[name].shape[0] == 1 for name in (feature.name, query) if name is not None)

    def _block(self, kind, names, inputs, training):
        """(batch, width) of features whose vectors come from one operation."""
        columns = [inputs[name] for name in names]
        if kind == _PLAIN:
            return _side_by_side(columns)
        features = [self._feature_by_name[name] for name in names]
        if kind == _LOOKUP:
            block_BW = self._looked_up(features, _side_by_side(columns))
        elif kind == _PIECEWISE:
            layer = next(layer for layer in self._piecewise.values() if names[0] in layer.entries)
            block_BW = layer(_side_by_side(columns), names=names)
        else:
            block_BW = concat_columns([self._pooled(feature, inputs) for feature in features])
        if training and self.l2:
            num_rows = tf.cast(tf.shape(block_BW)[0], block_BW.dtype)
            self.add_loss(self.l2 * tf.reduce_sum(tf.square(block_BW)) / num_rows)
        return block_BW

    def _width(self, feature, column):
        if feature.kind == "numeric" and not feature.is_embedded:
            return column.shape[1] if column.shape.rank == 2 else 1
        return self._num_entries(feature) * self._dimension(feature)

    def _first_rows(self, feature):
        """(entries,) row of the variable at which each entry's part of its table begins."""
        owner = self._owner(feature)
        first_row = self._tables[str(self._dimension(feature))].first_rows[owner.name]
        return first_row + np.arange(self._num_entries(feature)) * getattr(feature, "num_buckets", 0)

    def _looked_up(self, features, ids_BN):
        """Vectors of categories, crosses and buckets of one width."""
        first_rows_N = np.concatenate([self._first_rows(feature) for feature in features])
        table = self._tables[str(self._dimension(features[0]))]
        vectors_BND = table(ids_BN + tf.constant(first_rows_N, ids_BN.dtype))
        return tf.reshape(vectors_BND, [-1, len(first_rows_N) * table.dimension])

    def _pooled(self, feature, inputs):
        """(batch, dimensions) of one sequence, whose entries are 1 + id; 0 fills up and does not count."""
        ids_BK = inputs[feature.name]
        (first_row,) = self._first_rows(feature).tolist()
        table, is_entry_BK = self._tables[str(self._dimension(feature))], ids_BK > 0
        entries_BKD = table(tf.maximum(ids_BK - 1, 0) + first_row)
        if feature.pooling == "attention":
            candidate_BD = table(inputs[feature.query] + first_row)
            return self._attention[feature.name]((entries_BKD, is_entry_BK, candidate_BD))
        pool_fn = {"mean": mean_of_entries, "max": max_of_entries}[feature.pooling]
        return pool_fn(entries_BKD, is_entry_BK)

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


def _require_column(inputs, feature):
    ranks = _RANKS[feature.kind]
    shape = getattr(inputs.get(feature.name), "shape", None)
    if shape is None or shape.rank not in ranks:
        shapes = " or ".join(("(batch,)", "(batch, entries)")[rank - 1] for rank in ranks)
        raise ValueError(f"inputs must hold {feature.name} with shape {shapes}. Received: shape={shape}")


def _side_by_side(columns):
    """(batch, entries) of (batch,) and (batch, entries) columns; one operation for neighbours of rank 1."""
    parts = []
    for rank, group in itertools.groupby(columns, key=lambda column: column.shape.rank):
        neighbours = list(group)
        parts += [tf.stack(neighbours, axis=1)] if rank == 1 else neighbours
    return concat_columns(parts)
