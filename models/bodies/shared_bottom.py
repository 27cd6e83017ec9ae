"""The shared bottom: one representation that all towers read."""

from models.bodies.body import Body, BodyOutput
from models.keras import keras
from models.layers.hidden import HiddenLayers
from models.seeds import derive_seed


@keras.saving.register_keras_serializable(package="smalltowers")
class SharedBottom(Body):
    """Hidden layers shared by all tasks.

    Maps (batch, inputs) to one representation (batch, units[-1]) for all tasks.

    Args:
        num_tasks: at least 1.
        units: widths of the layers, at least one.
        dropout: rate in [0, 1) after every layer, in training.
        seed: of initial values and dropout.
        **kwargs: of `keras.layers.Layer`.

    Raises:
        ValueError: If `units` is empty.

    Reference:
        Caruana, "Multitask Learning", Machine Learning 28, 1997: hard parameter sharing.
    """

    def __init__(self, num_tasks, units, dropout=0.0, seed=0, **kwargs):
        super().__init__(num_tasks, dropout, seed, **kwargs)
        self.units = tuple(units)
        if not self.units:
            raise ValueError("units must hold at least one width. Received: units=()")
        self._hidden = HiddenLayers(units, dropout, seed=derive_seed(seed, "hidden"), name="hidden")

    def call(self, inputs, training=False):
        """Representation of a batch.

        Args:
            inputs: (batch, inputs) float.
            training: whether dropout is applied.

        Returns:
            `BodyOutput` of one tensor.
        """
        hidden = self._hidden(inputs, training=training)
        return BodyOutput((hidden,) * self.num_tasks, hidden)

    def get_config(self):
        """Constructor arguments."""
        return {**super().get_config(), "units": list(self.units)}
