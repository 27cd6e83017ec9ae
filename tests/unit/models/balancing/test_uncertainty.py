import numpy as np
import pytest
import tensorflow as tf

from models.balancing.uncertainty import Uncertainty

LOSSES = np.array([0.05, 1.0, 6.0])


def paper_objective(losses, sigmas):
    """Kendall et al. 2018, eq. 7."""
    return sum(loss / (2 * sigma**2) + np.log(sigma) for loss, sigma in zip(losses, sigmas, strict=True))


def trained(method, num_steps=60):
    for _ in range(num_steps):
        with tf.GradientTape() as tape:
            regularizer = method.regularizer(LOSSES)
        for variable, gradient in zip(
            method.trainable_variables, tape.gradient(regularizer, method.trainable_variables), strict=True
        ):
            variable.assign_sub(0.5 * gradient)
    return method


def check_weights_settle_at_inverse_losses(method_class):
    weights = trained(method_class(3)).weights(LOSSES).numpy()
    np.testing.assert_allclose(1 / weights, LOSSES, rtol=1e-3)


def test_variances_settle_at_the_losses():
    check_weights_settle_at_inverse_losses(Uncertainty)


def test_a_clipped_variance_would_be_found():
    class ClippedUncertainty(Uncertainty):
        def _weights(self, losses_T, gram_TT):
            return tf.minimum(super()._weights(losses_T, gram_TT), 1.0)

    with pytest.raises(AssertionError, match="Not equal to tolerance"):
        check_weights_settle_at_inverse_losses(ClippedUncertainty)


def test_value_and_gradient_are_twice_the_papers():
    method = Uncertainty(3)
    log_variances = np.array([-1.5, 0.2, 2.0])
    method.log_variances_T.assign(log_variances)
    with tf.GradientTape() as tape:
        regularizer = method.regularizer(LOSSES)
        total = regularizer + tf.reduce_sum(method.weights(LOSSES) * LOSSES.astype("f4"))
    np.testing.assert_allclose(total, 2 * paper_objective(LOSSES, np.exp(log_variances / 2)), rtol=1e-5)
    for task, gradient in enumerate(tape.gradient(total, method.log_variances_T).numpy()):
        step = 1e-5 * np.eye(3)[task]
        above, below = (paper_objective(LOSSES, np.exp((log_variances + sign * step) / 2)) for sign in (1, -1))
        np.testing.assert_allclose(gradient, 2 * (above - below) / 2e-5, rtol=1e-4)


def test_a_batch_without_labels_of_a_task_teaches_nothing_about_its_noise():
    method = Uncertainty(2)
    with tf.GradientTape() as tape:
        regularizer = method.regularizer(np.array([0.0, 3.0]))
    np.testing.assert_allclose(tape.gradient(regularizer, method.log_variances_T), [0.0, 1.0 - 3.0])
