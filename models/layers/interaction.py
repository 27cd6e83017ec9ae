"""Interactions of features in front of the body, on the layers of TensorFlow Recommenders.

Shapes: B batch, F features, D dimensions that features are projected to.
"""

import numpy as np
import tensorflow as tf

from models.keras import keras, tfrs
from models.layers.initializers import SeededByShape
from models.layers.parallel_dense import ParallelDense
from models.layers.shapes import require_matrix
from models.seeds import derive_seed


@keras.saving.register_keras_serializable(package="smalltowers")
class CrossInteraction(keras.layers.Layer):
    """Cross layers of DCN-v2 over the features side by side.

    Maps a list of (batch, width of the feature) to (batch, sum of the widths).

    Args:
        num_layers: at least 1; the output holds interactions of up to one feature more.
        projection: rank of the layers' matrices; None for full rank.
        seed: of initial values.
        **kwargs: of `keras.layers.Layer`.

    Reference:
        Wang et al., "DCN V2: Improved Deep & Cross Network", WWW 2021, eq. 1 and 2:
        x_{l+1} = x_0 * (W_l x_l + b_l) + x_l, with W_l = U_l V_l' where the rank is bounded.
    """

    def __init__(self, num_layers, projection=None, seed=0, **kwargs):
        super().__init__(**kwargs)
        self.num_layers = num_layers
        self.projection = projection
        self.seed = seed
        self._cross_layers = [
            tfrs.layers.dcn.Cross(
                projection_dim=projection,
                kernel_initializer=SeededByShape(derive_seed(seed, f"cross_{index}")),
                name=f"cross_{index}",
            )
            for index in range(num_layers)
        ]

    def build(self, input_shape):
        """Checks the inputs' shapes.

        Args:
            input_shape: list of (batch, width).
        """
        for shape in input_shape:
            require_matrix(shape)
        super().build(input_shape)

    def call(self, inputs):
        """Output of the last cross layer.

        Args:
            inputs: list of (batch, width) float.

        Returns:
            (batch, sum of widths) float.
        """
        first = tf.concat(inputs, axis=1)
        crossed = first
        for cross in self._cross_layers:
            crossed = cross(first, crossed)
        return crossed

    def get_config(self):
        """Constructor arguments."""
        return {**super().get_config(), "num_layers": self.num_layers, "projection": self.projection, "seed": self.seed}


@keras.saving.register_keras_serializable(package="smalltowers")
class PairwiseDot(keras.layers.Layer):
    """Inner products of all pairs of features as in DLRM, after the features themselves.

    Maps a list of F tensors (batch, width of the feature) to (batch, sum of the widths + F (F - 1) / 2). Features have their
    own widths, so each is projected to one dimension before.

    Args:
        dimension: that features are projected to, at least 1.
        seed: of initial values.
        **kwargs: of `keras.layers.Layer`.

    Reference:
        Naumov et al., "Deep Learning Recommendation Model for Personalization and Recommendation Systems", arXiv 1906.00091.
    """

    def __init__(self, dimension, seed=0, **kwargs):
        super().__init__(**kwargs)
        self.dimension = dimension
        self.seed = seed
        # The zeros above the diagonal are dropped below, by places: TFRS's own way has no static shape, and XLA refuses it.
        self._dots = tfrs.layers.feature_interaction.DotInteraction(skip_gather=True, name="dots")

    def build(self, input_shape):
        """Checks the inputs' shapes and creates the projections.

        Args:
            input_shape: list of (batch, width).
        """
        widths = [require_matrix(shape) for shape in input_shape]
        # Features of one width are projected together.
        self._places_by_width = {
            width: [place for place, other in enumerate(widths) if other == width] for width in sorted(set(widths))
        }
        self._projections = {}
        for width, places in self._places_by_width.items():
            seed = derive_seed(self.seed, f"width_{width}")
            self._projections[str(width)] = ParallelDense(
                len(places), self.dimension, initializer="GlorotUniform", seed=seed, name=f"projection_{width}"
            )
        self._pairs = np.array([row * len(widths) + column for row, column in _pairs(len(widths))], np.int32)
        super().build(input_shape)

    def call(self, inputs):
        """Features, then the products of every feature with those before it.

        Args:
            inputs: list of (batch, width) float.

        Returns:
            (batch, sum of widths + F (F - 1) / 2) float.
        """
        projected = [None] * len(inputs)
        for width, places in self._places_by_width.items():
            alike = tf.stack([inputs[place] for place in places], axis=1)
            for place, vectors_BD in zip(places, tf.unstack(self._projections[str(width)](alike), axis=1), strict=True):
                projected[place] = vectors_BD
        dots = tf.gather(self._dots(projected), self._pairs, axis=1)
        return tf.concat([*inputs, dots], axis=1)

    def get_config(self):
        """Constructor arguments."""
        return {**super().get_config(), "dimension": self.dimension, "seed": self.seed}


def _pairs(num_features):
    return [(later, earlier) for later in range(num_features) for earlier in range(later)]


def make_interaction(config, seed):
    """Interaction of a configuration.

    Args:
        config: `models.bodies.config.InteractionConfig`, or None.
        seed: of initial values.

    Returns:
        Keras layer from a list of (batch, width) to (batch, its own width); None without a configuration.
    """
    if config is None:
        return None
    if config.kind == "cross":
        return CrossInteraction(config.num_layers, config.projection, seed=seed, name="interaction")
    return PairwiseDot(config.dimension, seed=seed, name="interaction")
