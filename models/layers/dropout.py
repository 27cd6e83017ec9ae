"""Dropout whose random state is a variable."""

from models.keras import keras
from models.seeds import derive_seed


def make_dropout(rate, seed, noise_shape=None, name="dropout"):
    """Dropout layer whose draws a checkpoint can resume.

    By default Keras draws from a kernel's hidden state, which no checkpoint holds; a training that goes on after a kill would
    draw other masks than one that was never stopped.

    Args:
        rate: in [0, 1); 0 gives a layer that changes nothing and holds no state.
        seed: of the draws.
        noise_shape: dimensions over which draws are independent, 1 where they are shared; None for every number by itself.
        name: of the layer.

    Returns:
        Keras layer whose call takes (inputs, training).
    """
    if rate == 0:
        return keras.layers.Activation("linear", name=name)
    return keras.layers.Dropout(rate, noise_shape, seed, rng_type="stateful", name=name)


def make_dropouts(rate, num_layers, seed):
    """A dropout layer for each of several hidden layers.

    Args:
        rate: as of `make_dropout`.
        num_layers: at least 0.
        seed: of the layer around them.

    Returns:
        List of Keras layers.
    """
    return [make_dropout(rate, derive_seed(seed, f"dropout_{index}"), name=f"dropout_{index}") for index in range(num_layers)]
