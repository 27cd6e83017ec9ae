"""The shallow tower of what surrounds an item: its position, the surface it was shown on.

Shapes: B batch, T tasks.
"""

import tensorflow as tf

from models.keras import keras
from models.layers.dropout import CountedDropout
from models.layers.hidden import HiddenLayers
from models.layers.matrix_layer import MatrixLayer
from models.seeds import derive_seed


@keras.saving.register_keras_serializable(package="smalltowers")
class BiasTower(MatrixLayer):
    """What is added to a task's outputs in training, centred so that leaving it out keeps their mean.

    Maps (batch, inputs) and the weights (batch, num_tasks) of the rows to (batch, num_tasks). The weighted mean of every
    task over the batch is 0 before dropout: whatever a constant could explain is left to the main tower.

    Args:
        num_tasks: with a bias, at least 1.
        units: widths of the hidden layers; none for a linear tower.
        dropout: rate in [0, 1) at which a row's bias is 0 in training; that of the other rows is not scaled up, as the main
            tower is served without any.
        seed: of initial values and dropout.
        **kwargs: of `keras.layers.Layer`.

    Reference:
        Zhao et al., "Recommending What Video to Watch Next: A Multitask Ranking System", RecSys 2019, section 4.3: the
        shallow tower's output is added to the logit of the main model, position is dropped out at 10% in training and is
        missing when served.
    """

    def __init__(self, num_tasks, units=(), dropout=0.0, seed=0, **kwargs):
        super().__init__(**kwargs)
        self.num_tasks = num_tasks
        self.units = tuple(units)
        self.dropout = dropout
        self.seed = seed
        self._hidden = HiddenLayers(units, seed=derive_seed(seed, "hidden"), name="hidden")
        initializer = keras.initializers.GlorotUniform(derive_seed(seed, "output"))
        # Without a bias of its own, which centring would take away again.
        self._output = keras.layers.Dense(num_tasks, use_bias=False, kernel_initializer=initializer, name="output")
        self._dropout = CountedDropout(dropout, by_row=True, seed=derive_seed(seed, "dropout"), name="dropout")

    def call(self, inputs, weights, training=False):
        """Biases of a batch.

        Args:
            inputs: (batch, inputs) float, vectors of what surrounds the items.
            weights: (batch, num_tasks) float of at least 0; 0 where a task's label is unknown.
            training: whether dropout is applied.

        Returns:
            (batch, num_tasks) float.
        """
        biases_BT = self._output(self._hidden(inputs))
        weights_BT = tf.cast(weights, biases_BT.dtype)
        means_T = tf.math.divide_no_nan(tf.reduce_sum(biases_BT * weights_BT, axis=0), tf.reduce_sum(weights_BT, axis=0))
        kept_BT = self._dropout(biases_BT - means_T, training=training)
        return kept_BT * (1 - self.dropout) if training else kept_BT

    def get_config(self):
        """Constructor arguments."""
        return {
            **super().get_config(),
            "num_tasks": self.num_tasks,
            "units": list(self.units),
            "dropout": self.dropout,
            "seed": self.seed,
        }
