"""The one Keras of this project, and TensorFlow Recommenders on top of it; import both from here.

TensorFlow Recommenders is written for Keras 2 and raises ImportError unless the variable below is set before TensorFlow's
Keras is touched.
"""

import os

os.environ["TF_USE_LEGACY_KERAS"] = "1"

import tensorflow_recommenders as tfrs
import tf_keras as keras

__all__ = ["keras", "tfrs"]
