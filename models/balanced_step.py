"""One training step: losses, the tasks' weights by the balancing method, gradients, update.

Shapes: B batch, U units of the representation, T tasks.
"""

from typing import NamedTuple

import numpy as np
import tensorflow as tf

from models.balancing.conflict import cosines_of, dominance_of, reciprocal_condition_of
from models.balancing.gradients import combined, gram_of
from models.errors import BodyError
from models.keras import keras


class Step(NamedTuple):
    """What a step saw.

    Attributes:
        losses: `models.ranker.BatchLosses` of this replica's rows.
        tasks: (T,) float32, the tasks' losses of the batch over all replicas.
        weights: (T,) float32, of the tasks' losses by the method.
        total: scalar float32, what was minimised: the tasks' losses by the method's weights, and penalties.
        conflict: dict of scalars about the tasks' gradients; empty where they were not compared.
    """

    losses: NamedTuple
    tasks: tf.Tensor
    weights: tf.Tensor
    total: tf.Tensor
    conflict: dict


def apply_balanced_step(ranker, inputs):
    """Moves a compiled ranker's variables by one step on a batch.

    Losses are means over the known rows of the batch over all replicas, however a strategy deals the rows out: each replica's
    mean enters by its share of the known rows. Where a method compares gradients, its weights apply to what the tasks share;
    towers, gates and all else that serves one task take that task's gradient as it is.

    Args:
        ranker: compiled `models.ranker.MultiTaskRanker`.
        inputs: dict of transformed columns with labels and masks.

    Returns:
        `Step`.
    """
    balancing = ranker.balancing
    with tf.GradientTape(persistent=balancing.needs_gram) as tape:
        losses = ranker.batch_losses(inputs, training=True)
        shared_out_T = losses.tasks * _share(losses.known)
        tasks_T = _over_replicas(shared_out_T)
        penalty = (tf.add_n([*ranker.losses, tf.zeros(())]) + balancing.regularizer(tasks_T)) / _num_replicas()
        # A 16-bit gradient of a small loss would be 0; unscaled below.
        targets = [_scaled(ranker, shared_out_T), _scaled(ranker, penalty)]
        scaled_by_task = tf.unstack(targets[0])
    if not balancing.needs_gram:
        conflict = {}
        weights_T = balancing.weights(tasks_T)
        variables = ranker.trainable_variables
        gradients = _unscaled(ranker, tape.gradient(targets, variables, [weights_T, tf.ones(())]))
    else:
        compare = _by_parameters if ranker.config.balancing.gradients_of == "parameters" else _by_representation
        weights_T, gram_TT, gradients, variables = compare(ranker, tape, targets, scaled_by_task, losses.shared, tasks_T)
        conflict = _conflict(gram_TT)
    ranker.optimizer.apply_gradients(zip(gradients, variables, strict=True))
    if balancing.needs_losses_after:
        after = ranker.batch_losses(inputs, training=True)
        balancing.observe(tasks_T, _over_replicas(after.tasks * _share(after.known)))
    total = tf.reduce_sum(weights_T * tasks_T) + _over_replicas(penalty)
    return Step(losses, tasks_T, weights_T, total, conflict)


def _by_parameters(ranker, tape, targets, scaled_by_task, representations, tasks_T):
    """Gradients compared over all variables that the tasks share: a backward pass a task."""
    del representations
    shared, others = ranker.shared_variables, _others(ranker)
    by_task = [_unscaled(ranker, tape.gradient(loss, shared)) for loss in scaled_by_task]
    gram_TT = gram_of([_over_replicas(gradients) for gradients in by_task])
    weights_T, applied_T = _weights(ranker, tasks_T, gram_TT)
    of_penalty = _unscaled(ranker, tape.gradient(targets[1], shared))
    gradients = combined([*by_task, of_penalty], tf.concat([applied_T, [1.0]], axis=0))
    return weights_T, gram_TT, [*gradients, *_unscaled(ranker, tape.gradient(targets, others))], [*shared, *others]


def _by_representation(ranker, tape, targets, scaled_by_task, representations, tasks_T):
    """Gradients compared at the representation, where they are rows of the batch; one backward pass below it."""
    at_body = [tape.gradient(loss, representations) for loss in scaled_by_task]
    if any(gradient is None for gradients in at_body for gradient in gradients):
        raise BodyError("body must compute every task's representation from BodyOutput.shared. Received: one without gradient")
    # Rows of different replicas are different numbers of one gradient, so that inner products add up.
    gram_TT = _over_replicas(gram_of([_unscaled(ranker, gradients) for gradients in at_body]))
    weights_T, applied_T = _weights(ranker, tasks_T, gram_TT)
    shared, others = ranker.shared_variables, _others(ranker)
    gradients = [*tape.gradient(targets, shared, [applied_T, tf.ones(())]), *tape.gradient(targets, others)]
    return weights_T, gram_TT, _unscaled(ranker, gradients), [*shared, *others]


def _weights(ranker, tasks_T, gram_TT):
    """Weights by the method, and the same as they are applied: NaN where scaled gradients overflowed their 16 bits.

    The optimizer then leaves the step out and scales less; the method is shown gradients of 0, of which it learns nothing.
    """
    if not _is_scaling(ranker):
        weights_T = ranker.balancing.weights(tasks_T, gram_TT)
        return weights_T, weights_T
    is_finite = tf.reduce_all(tf.math.is_finite(gram_TT))
    weights_T = ranker.balancing.weights(tasks_T, tf.where(is_finite, gram_TT, 0.0))
    return weights_T, tf.where(is_finite, weights_T, np.nan)


def _others(ranker):
    shared = {variable.ref() for variable in ranker.shared_variables}
    return [variable for variable in ranker.trainable_variables if variable.ref() not in shared]


def _conflict(gram_TT):
    if gram_TT.shape[0] == 1:
        return {}
    return {
        "gradient_cosine": tf.reduce_min(cosines_of(gram_TT)),
        "gradient_dominance": dominance_of(gram_TT),
        "gradient_reciprocal_condition": reciprocal_condition_of(gram_TT),
    }


def _is_scaling(ranker):
    return isinstance(ranker.optimizer, keras.mixed_precision.LossScaleOptimizer)


def _scaled(ranker, loss):
    return ranker.optimizer.get_scaled_loss(loss) if _is_scaling(ranker) else tf.identity(loss)


def _unscaled(ranker, gradients):
    return ranker.optimizer.get_unscaled_gradients(gradients) if _is_scaling(ranker) else gradients


def _num_replicas():
    return tf.distribute.get_strategy().num_replicas_in_sync


def _over_replicas(values):
    """Sums over all replicas."""
    if _num_replicas() == 1:
        return values
    return tf.distribute.get_replica_context().all_reduce(tf.distribute.ReduceOp.SUM, values)


def _share(known_T):
    """(T,) this replica's part of the known rows' weights."""
    if _num_replicas() == 1:
        return 1.0
    return tf.math.divide_no_nan(known_T, _over_replicas(known_T))
