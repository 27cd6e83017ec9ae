"""How much the tasks' gradients disagree in direction and size, from their inner products.

Shapes: T tasks.

Reference:
    Senushkin et al., "Independent Component Alignment for Multi-Task Learning", CVPR 2023: conflict is a negative cosine,
    dominance a large ratio of norms, and the condition number of the matrix of gradients bounds both. Its
    reciprocal is reported: a mean of condition numbers over steps would be little but that of the worst one.
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


def reciprocal_condition_of(gram):
    """Smallest over largest singular value of the matrix that holds the tasks' gradients as rows.

    Args:
        gram: (T, T) float, inner products of the gradients; from float32 they tell values down to some ten-thousandths.

    Returns:
        Scalar float32 in [0, 1]: 1 for orthogonal gradients of one norm, 0 for linearly dependent ones and where all are zero;
        NaN where an inner product is not finite.

    Reference:
        1 / kappa(G) = sqrt(smallest / largest eigenvalue of G G').
    """
    gram_TT = tf.cast(gram, tf.float64)
    # The solver stops the program at what is not finite, as gradients that overflowed 16 bits are.
    is_finite = tf.reduce_all(tf.math.is_finite(gram_TT))
    # Ascending; the smallest may come out a rounding error below 0.
    eigenvalues_T = tf.linalg.eigvalsh(tf.where(is_finite, gram_TT, 0.0))
    squared = tf.math.divide_no_nan(tf.maximum(eigenvalues_T[0], 0.0), eigenvalues_T[-1])
    return tf.cast(tf.sqrt(tf.where(is_finite, squared, np.nan)), tf.float32)
