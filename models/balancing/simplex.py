"""The minimisation over weights of the tasks that MGDA and CAGrad have in common, solved exactly.

Shapes: T tasks, F faces of the simplex, which are the non-empty sets of tasks.
"""

import itertools

import numpy as np
import tensorflow as tf

# 2^T - 1 faces of T x T systems: about a millisecond at this number, too many beyond it.
MAX_NUM_TASKS = 10
# Of the squared norms. Above the rounding of float32 inner products; gradients that are alike share their weight evenly.
RIDGE = 1e-6


def require_few_tasks(num_tasks):
    """Nothing, unless the simplex has too many faces to try them all.

    Args:
        num_tasks: of a method that minimises over the simplex.

    Raises:
        ValueError: If there are more than `MAX_NUM_TASKS`.
    """
    if num_tasks > MAX_NUM_TASKS:
        raise ValueError(f"num_tasks must be at most {MAX_NUM_TASKS} for mgda and cagrad. Received: {num_tasks}")


def worst_case_multipliers(gram_TT, slopes_T, radius):
    """Multipliers u = radius * w / |g_w| of the w that minimises slopes . w + radius * |g_w| over the simplex.

    With g_w = sum_t w_t g_t, no slopes and radius 1 this is the point of least norm in the gradients' convex hull. The
    minimiser is stationary on the face of its non-zero weights. On every face the stationary point has a closed form, so
    the least of all that lie within their faces is exact, without a step size or a tolerance.

    Args:
        gram_TT: (T, T) float64, inner products of the gradients; tasks with a zero gradient get the multiplier 0.
        slopes_T: (T,) float64.
        radius: scalar float64 of at least 0.

    Returns:
        (T,) float64 of at least 0; NaN if anything given is.

    Reference:
        On a face S, slopes + radius * G w / |g_w| = m with one number m for all of S, hence u = G_S^-1 (m - slopes_S), and
        u' G u = radius^2 is a quadratic equation for m. The objective there is m.
    """
    is_finite = tf.reduce_all(tf.math.is_finite(gram_TT)) & tf.reduce_all(tf.math.is_finite(slopes_T))
    norms_T = tf.sqrt(tf.where(is_finite, tf.linalg.diag_part(gram_TT), 0.0))
    present_T = norms_T > 0
    inverse_T = tf.where(present_T, 1.0 / tf.where(present_T, norms_T, 1.0), 0.0)
    # In units of every gradient's own norm, so that one ridge suits a large and a small gradient.
    cosines_TT = tf.where(is_finite, gram_TT * inverse_T * inverse_T[:, None], 0.0)
    slopes_T = tf.where(is_finite, slopes_T, 0.0) * inverse_T
    members_FT = _faces(gram_TT.shape[0])
    levels_F, scaled_FT = _stationary_points(members_FT, cosines_TT, inverse_T, slopes_T, radius)
    is_within_F = tf.reduce_all((scaled_FT >= 0) & (present_T | (members_FT == 0)), axis=1)
    best = tf.argmin(tf.where(is_within_F, levels_F, np.inf))
    multipliers_T = tf.gather(scaled_FT, best) * inverse_T
    return tf.where(is_finite, multipliers_T, np.nan)


def _stationary_points(members_FT, cosines_TT, ones_T, slopes_T, radius):
    """Objective and multipliers at every face's stationary point; infinity where there is none."""
    systems_FTT = members_FT[:, :, None] * members_FT[:, None, :] * cosines_TT
    systems_FTT = tf.linalg.set_diag(systems_FTT, tf.ones_like(members_FT) + RIDGE)
    sides_FT2 = members_FT[:, :, None] * tf.stack([ones_T, slopes_T], axis=1)
    of_ones_FT, of_slopes_FT = tf.unstack(tf.linalg.solve(systems_FTT, sides_FT2), axis=2)
    square_F = tf.linalg.matvec(of_ones_FT, ones_T)
    linear_F = tf.linalg.matvec(of_slopes_FT, ones_T)
    constant_F = tf.linalg.matvec(of_slopes_FT, slopes_T) - tf.square(radius)
    discriminant_F = tf.square(linear_F) - square_F * constant_F
    # A single task is stationary by itself, whatever rounding makes of its discriminant.
    exists_F = (square_F > 0) & ((discriminant_F >= 0) | (tf.reduce_sum(members_FT, axis=1) == 1))
    levels_F = tf.math.divide_no_nan(linear_F + tf.sqrt(tf.maximum(discriminant_F, 0.0)), square_F)
    return tf.where(exists_F, levels_F, np.inf), levels_F[:, None] * of_ones_FT - of_slopes_FT


def _faces(num_tasks):
    """(F, T) float64 of 0 and 1: every non-empty set of tasks."""
    return tf.constant(list(itertools.product((0.0, 1.0), repeat=num_tasks))[1:], tf.float64)
