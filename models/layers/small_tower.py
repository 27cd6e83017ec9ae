"""The under-parameterised auxiliary tower of a task."""

import tensorflow as tf

from models.keras import keras
from models.layers.matrix_layer import MatrixLayer
from models.layers.pooling import GroupPooling
from models.seeds import derive_seed

KINDS = ("linear", "pooled", "bottleneck", "mlp")


@keras.saving.register_keras_serializable(package="smalltowers")
class SmallTower(MatrixLayer):
    """A tower that is simpler than the main one: linear, or linear after averages or a narrow layer.

    Maps (batch, units) to (batch,), or to (batch, num_outputs) where they are several. Present in training only: it predicts
    its task's label beside the main tower, so that the representation becomes useful to a weak reader too.

    Args:
        kind: "linear" (one layer), "pooled" (averages of groups of units, then one layer), "bottleneck" (a linear layer, then
            the output) or "mlp" (a ReLU layer, then the output).
        width: units averaged into one by "pooled"; units of the layer before the output of "bottleneck" and "mlp"; 1 for
            "linear".
        num_outputs: at least 1.
        seed: of initial values; towers of one model need different seeds.
        **kwargs: of `keras.layers.Layer`.

    Raises:
        ValueError: If the kind is none of these, or has no use for the width.

    Reference:
        Wang et al., "Small Towers Make Big Differences", arXiv 2008.05808: under-parameterised self-auxiliary tasks, with
        a linear tower and a pooled one among the authors' released settings.
    """

    def __init__(self, kind="linear", width=1, num_outputs=1, seed=0, **kwargs):
        super().__init__(**kwargs)
        if kind not in KINDS:
            raise ValueError(f"kind must be one of {', '.join(KINDS)}. Received: kind={kind}")
        if kind == "linear" and width != 1:
            raise ValueError(f"width must be 1 for kind linear. Received: width={width}")
        self.kind = kind
        self.width = width
        self.num_outputs = num_outputs
        self.seed = seed
        self._narrowing = None
        if kind == "pooled":
            self._narrowing = GroupPooling(width, name="pooling")
        elif kind != "linear":
            activation, initializer = {"bottleneck": (None, "GlorotUniform"), "mlp": ("relu", "HeUniform")}[kind]
            initializer = getattr(keras.initializers, initializer)(derive_seed(seed, "narrow"))
            self._narrowing = keras.layers.Dense(width, activation, kernel_initializer=initializer, name="narrow")
        initializer = keras.initializers.GlorotUniform(derive_seed(seed, "output"))
        self._output = keras.layers.Dense(num_outputs, kernel_initializer=initializer, name="output")

    def call(self, inputs):
        """Output of the tower.

        Args:
            inputs: (batch, units) float, the representation.

        Returns:
            (batch,) or (batch, num_outputs) float.
        """
        outputs = self._output(self._narrowing(inputs) if self._narrowing else inputs)
        return tf.squeeze(outputs, axis=1) if self.num_outputs == 1 else outputs

    def get_config(self):
        """Constructor arguments."""
        return {
            **super().get_config(),
            "kind": self.kind,
            "width": self.width,
            "num_outputs": self.num_outputs,
            "seed": self.seed,
        }
