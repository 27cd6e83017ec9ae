"""How much the tasks' gradients disagree in direction and size, from their inner products.

Shapes: T tasks.

Reference:
    Senushkin et al., "Independent Component Alignment for Multi-Task Learning", CVPR 2023: conflict is a negative cosine,
    dominance a large ratio of norms, and the condition number of the matrix of gradients bounds both.
"""

import numpy as np
import tensorflow as tf


def cosines_of(gram):
    """Cosines of the angles between the tasks' gradients; negative where two conflict.

    Args:
        gram: (T, T) float, inner products of the gradients.

    Returns:
        (T, T) float32 in [-1, 1]; NaN for a task whose gradient is zero and has no direction.
    """
    gram_TT = tf.cast(gram, tf.float64)
    norms_T = tf.sqrt(tf.linalg.diag_part(gram_TT))
    return tf.cast(tf.clip_by_value(gram_TT / norms_T / norms_T[:, None], -1.0, 1.0), tf.float32)


def dominance_of(gram):
    """Norm of the largest gradient over that of the smallest.

    Args:
        gram: (T, T) float, inner products of the gradients.

    Returns:
        Scalar float32 of at least 1; infinite if one gradient is zero, NaN if all are.
    """
    # The ratio of two squares of float32 may exceed what float32 holds, where the ratio of their roots does not.
    squares_T = tf.linalg.diag_part(tf.cast(gram, tf.float64))
    return tf.cast(tf.sqrt(tf.reduce_max(squares_T) / tf.reduce_min(squares_T)), tf.float32)


def condition_number_of(gram):
    """Largest over smallest singular value of the matrix that holds the tasks' gradients as rows.

    Args:
        gram: (T, T) float, inner products of the gradients; from float32 they tell condition numbers up to some thousands.

    Returns:
        Scalar float32 of at least 1: 1 for orthogonal gradients of one norm, infinite for linearly dependent ones; NaN where
        an inner product is not finite.

    Reference:
        kappa(G) = sqrt(largest / smallest eigenvalue of G G').
    """
    gram_TT = tf.cast(gram, tf.float64)
    # The solver stops the program at what is not finite, as gradients that overflowed 16 bits are.
    is_finite = tf.reduce_all(tf.math.is_finite(gram_TT))
    # Ascending; the smallest may come out a rounding error below 0.
    eigenvalues_T = tf.linalg.eigvalsh(tf.where(is_finite, gram_TT, 0.0))
    smallest, largest = eigenvalues_T[0], eigenvalues_T[-1]
    squared = tf.where(smallest > 0, largest / smallest, np.inf)
    return tf.cast(tf.sqrt(tf.where(is_finite, squared, np.nan)), tf.float32)
