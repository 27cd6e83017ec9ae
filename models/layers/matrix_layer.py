"""The base of layers that read a matrix: what each of them would check when it is built."""

from models.keras import keras
from models.layers.shapes import require_matrix


class MatrixLayer(keras.layers.Layer):
    """A layer whose first input is (batch, inputs), with inputs known."""

    def build(self, input_shape):
        """Checks the input's shape.

        Args:
            input_shape: (batch, inputs).
        """
        require_matrix(input_shape)
        super().build(input_shape)
