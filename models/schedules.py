"""Learning rates over the steps of a training."""

import math

import tensorflow as tf

from models.errors import TrainingError
from models.keras import keras


class WarmupThenDecay(keras.optimizers.schedules.LearningRateSchedule):
    """A rise to the peak over the first steps, then a fall to 0 at the end, or none.

    With n the number of the step from 1, w the warm-up's steps, N all steps and p = (n - 1 - w) / (N - w) within 0 and 1, the
    rate is the peak times n / w while n <= w, then times 1 ("constant"), 1 - p ("linear") or (1 + cos(pi p)) / 2 ("cosine").

    Args:
        peak: highest learning rate, positive.
        decay: "constant", "linear" or "cosine".
        warmup_steps: at least 0.
        total_steps: steps after which the rate is 0; not read for "constant".

    Raises:
        TrainingError: If a decay has no step after the warm-up.

    Reference:
        Loshchilov and Hutter, "SGDR: Stochastic Gradient Descent with Warm Restarts", ICLR 2017, eq. 5, without restarts; the
        warm-up is that of Goyal et al., "Accurate, Large Minibatch SGD", arXiv 1706.02677, section 2.2.
    """

    def __init__(self, peak, decay="constant", warmup_steps=0, total_steps=None):
        if decay != "constant" and total_steps <= warmup_steps:
            raise TrainingError(
                f"train.warmup_steps must be fewer than the steps of all epochs, {total_steps}. Received: {warmup_steps}"
            )
        self.peak = peak
        self.decay = decay
        self.warmup_steps = warmup_steps
        self.total_steps = total_steps

    def __call__(self, step):
        """Learning rate of a step.

        Args:
            step: steps before this one.

        Returns:
            Scalar float32.
        """
        step = tf.cast(step, tf.float32)
        rate = self.peak * self._share(step)
        return tf.minimum(rate, self.peak * (step + 1) / self.warmup_steps) if self.warmup_steps else rate

    def _share(self, step):
        if self.decay == "constant":
            return tf.ones_like(step)
        passed = tf.clip_by_value((step - self.warmup_steps) / (self.total_steps - self.warmup_steps), 0.0, 1.0)
        return 1 - passed if self.decay == "linear" else (1 + tf.cos(math.pi * passed)) / 2

    def get_config(self):
        """Constructor arguments."""
        return {
            "peak": self.peak,
            "decay": self.decay,
            "warmup_steps": self.warmup_steps,
            "total_steps": self.total_steps,
        }
