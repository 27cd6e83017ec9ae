"""Initial values of kernels that hold several parts, each part with a seed of its own."""

import tensorflow as tf

from models.keras import keras
from models.seeds import derive_seed


class Stacked(keras.initializers.Initializer):
    """Kernels of like shape in one variable, each drawn as if it stood alone.

    Experts that start equal and read the same input stay equal; and a fan computed over all of them would shrink each.

    Args:
        initializer: class of `keras.initializers` that takes a seed.
        axis: of the variable along which the parts are stacked.
        seed: of the whole; a part's seed follows from it and from the part's place, so that parts added at the end leave the
            others as they are.
    """

    def __init__(self, initializer, axis, seed):
        self.initializer = initializer
        self.axis = axis
        self.seed = seed

    def __call__(self, shape, dtype=None, **kwargs):
        """Initial values.

        Args:
            shape: of the variable, with the parts along `axis`.
            dtype: of the variable.
            **kwargs: of Keras, about partitions; ignored.

        Returns:
            Tensor of that shape.
        """
        shape = list(shape)
        num_parts = shape.pop(self.axis)
        parts = [self.initializer(derive_seed(self.seed, f"part_{part}"))(shape, dtype) for part in range(num_parts)]
        return tf.stack(parts, axis=self.axis)


class SeededByShape(keras.initializers.Initializer):
    """Truncated normal values whose seed depends on the shape.

    For layers that build several kernels with copies of one initializer.

    Args:
        seed: of the layer.
        stddev: of the values, positive.
    """

    def __init__(self, seed, stddev=0.05):
        self.seed = seed
        self.stddev = stddev

    def __call__(self, shape, dtype=None, **kwargs):
        """Initial values.

        Args:
            shape: of the variable.
            dtype: of the variable.
            **kwargs: of Keras, about partitions; ignored.

        Returns:
            Tensor of that shape.
        """
        seed = derive_seed(self.seed, "x".join(map(str, shape)))
        return keras.initializers.TruncatedNormal(stddev=self.stddev, seed=seed)(shape, dtype)

    def get_config(self):
        """Constructor arguments."""
        return {"seed": self.seed, "stddev": self.stddev}
