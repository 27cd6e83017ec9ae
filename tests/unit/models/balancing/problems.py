"""Problems whose losses, gradients and best directions are known in closed form, in NumPy."""

import dataclasses

import numpy as np
import tensorflow as tf


@dataclasses.dataclass(frozen=True)
class Quadratics:
    """One task a centre: L_t = scale_t |theta - centre_t|^2 / 2; its Pareto set is the hull of the centres."""

    centres: np.ndarray
    scales: np.ndarray | float = 1.0

    def losses(self, theta):
        return np.asarray(self.scales * ((theta - self.centres) ** 2).sum(axis=1) / 2, "f4")

    def gradients(self, theta):
        return np.reshape(self.scales, (-1, 1)) * (theta - self.centres)

    def gram(self, theta):
        return gram(self.gradients(theta))


def gram(gradients):
    return np.asarray(gradients @ np.transpose(gradients), "f4")


def random_steps(num_tasks, num_steps, seed, size=12):
    """List of losses and inner products of gradients, as a run would give them step after step."""
    generator = np.random.default_rng(seed)
    return [
        (generator.uniform(0.2, 3, num_tasks).astype("f4"), gram(generator.normal(size=(num_tasks, size))))
        for _ in range(num_steps)
    ]


def drive(method, steps, first=0, learning_rate=0.1):
    """Weights of every step, with all calls that a ranker makes; an epoch ends after every second step."""
    weights = []
    for number, (losses, gram_of_step) in enumerate(steps, first):
        weights.append(method.weights(losses, gram_of_step if method.needs_gram else None).numpy())
        with tf.GradientTape() as tape:
            regularizer = method.regularizer(losses)
        for variable, gradient in zip(
            method.trainable_variables, tape.gradient(regularizer, method.trainable_variables), strict=True
        ):
            variable.assign_sub(learning_rate * gradient)
        if method.needs_losses_after:
            # Each task falls at a rate of its own.
            method.observe(losses, losses * np.exp(-0.05 * losses))
        if number % 2:
            method.end_epoch(losses)
    return np.array(weights)
