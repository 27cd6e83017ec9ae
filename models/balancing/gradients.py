"""Gradients of several tasks: their inner products, and their weighted sum.

Shapes: T tasks, N numbers in one gradient, R rows of embeddings in a gradient, each as often as it was looked up.
"""

import tensorflow as tf


def gram_of(gradients_by_task):
    """Inner products of the tasks' gradients over all variables.

    Gradients of embedding tables are summed by row among the rows that the batch looked up; the table's size plays no part.

    Args:
        gradients_by_task: for every task a list with one entry a variable, in one order: a tensor, `tf.IndexedSlices`, or
            None where the variable does not take part.

    Returns:
        (T, T) float32, symmetric.

    Raises:
        ValueError: If there is no task, the tasks' lists differ in length, or no entry is a gradient.
    """
    dense, sparse = [], []
    for gradients in _by_variable(gradients_by_task):
        if any(isinstance(gradient, tf.IndexedSlices) for gradient in gradients):
            sparse.append(gradients)
        elif any(gradient is not None for gradient in gradients):
            dense.append(gradients)
    parts = [_dense_parts(dense)] if dense else []
    parts += [_looked_up_parts(gradients) for gradients in sparse]
    if not parts:
        raise ValueError("gradients_by_task must hold a gradient. Received: None everywhere")
    gradients_TN = tf.concat(parts, axis=1)
    # Row by row: several times faster on a CPU than the product of two long and flat matrices.
    gram_TT = tf.stack([tf.linalg.matvec(gradients_TN, gradient_N) for gradient_N in tf.unstack(gradients_TN)])
    # Two orders of one sum may differ in the last bit, and what reads this relies on symmetry.
    return 0.5 * (gram_TT + tf.transpose(gram_TT))


def combined(gradients_by_task, weights):
    """Weighted sum of the tasks' gradients, variable by variable.

    Args:
        gradients_by_task: as of `gram_of`.
        weights: (T,) float.

    Returns:
        List with one entry a variable: a tensor; `tf.IndexedSlices` with the rows of all tasks where every gradient is one;
        None where no task has a gradient.

    Raises:
        ValueError: If there is no task, the tasks' lists differ in length, or there is not one weight a task.
    """
    by_variable = _by_variable(gradients_by_task)
    weights_T = tf.convert_to_tensor(weights)
    if not weights_T.shape.is_compatible_with([len(gradients_by_task)]):
        raise ValueError(f"weights must have the shape ({len(gradients_by_task)},). Received: {tuple(weights_T.shape)}")
    return [_weighted_sum(gradients, tf.unstack(weights_T, len(gradients_by_task))) for gradients in by_variable]


def _by_variable(gradients_by_task):
    lengths = [len(gradients) for gradients in gradients_by_task]
    if len(set(lengths)) != 1:
        raise ValueError(f"gradients_by_task must hold a list a task, all of one length. Received: lengths {lengths}")
    return list(zip(*gradients_by_task, strict=True))


def _dense_parts(gradients_by_variable):
    """(T, N) float32: of every task, its gradients end to end."""
    rows = []
    for gradients_of_task in zip(*gradients_by_variable, strict=True):
        for gradient, others in zip(gradients_of_task, gradients_by_variable, strict=True):
            known = next(other for other in others if other is not None)
            filled = tf.zeros_like(known) if gradient is None else gradient
            rows.append(tf.reshape(tf.cast(filled, tf.float32), [-1]))
    return tf.reshape(tf.concat(rows, axis=0), [len(gradients_by_variable[0]), -1])


def _looked_up_parts(gradients):
    """(T, N) float32: of every task, its gradients of the rows that any task looked up, end to end."""
    if not all(gradient is None or isinstance(gradient, tf.IndexedSlices) for gradient in gradients):
        tables = [None if gradient is None else tf.convert_to_tensor(gradient) for gradient in gradients]
        return _dense_parts([tables])
    num_tasks = len(gradients)
    given = [(task, gradient) for task, gradient in enumerate(gradients) if gradient is not None]
    # Numbered anew among the rows of all tasks, so that the same row has one place in every task's gradient.
    rows, places_R = tf.unique(tf.concat([tf.cast(gradient.indices, tf.int64) for _, gradient in given], axis=0))
    tasks_R = tf.concat([tf.fill([tf.size(gradient.indices)], task) for task, gradient in given], axis=0)
    values = tf.concat([tf.cast(gradient.values, tf.float32) for _, gradient in given], axis=0)
    num_rows = tf.size(rows)
    sums = tf.math.unsorted_segment_sum(values, tasks_R * num_rows + places_R, num_tasks * num_rows)
    # The width is named, since -1 would have no answer for a batch that looked up no row.
    width = tf.reduce_prod(tf.shape(values)[1:])
    return tf.reshape(sums, [num_tasks, num_rows * width])


def _weighted_sum(gradients, weights_T):
    given = [(gradient, weight) for gradient, weight in zip(gradients, weights_T, strict=True) if gradient is not None]
    if not given:
        return None
    if not all(isinstance(gradient, tf.IndexedSlices) for gradient, _ in given):
        return tf.add_n([tf.convert_to_tensor(gradient) * tf.cast(weight, gradient.dtype) for gradient, weight in given])
    # Rows are repeated, not summed: optimizers sum repeated rows of a table by themselves.
    return tf.IndexedSlices(
        values=tf.concat([gradient.values * tf.cast(weight, gradient.dtype) for gradient, weight in given], axis=0),
        indices=tf.concat([gradient.indices for gradient, _ in given], axis=0),
        dense_shape=given[0][0].dense_shape,
    )
