"""The loop over training steps, within the graph: Python is asked only every few dozen steps.

Shapes: T tasks, S scalars that a step reports.
"""

import dataclasses
import math

import tensorflow as tf


@dataclasses.dataclass(frozen=True)
class Divergence:
    """The first step that reported what is not a finite number.

    Attributes:
        step: its number from 1.
        name: of the scalar that was the cause, as `MultiTaskRanker.train_step` calls it.
        value: infinite or not a number.
    """

    step: int
    name: str
    value: float


@dataclasses.dataclass(frozen=True)
class Stretch:
    """Some steps one after the other.

    Attributes:
        num_steps: how many.
        num_rows: that they saw.
        means: mean by name of what the steps reported of their batches; what none of them defined is left out.
        is_last: whether there was no further batch.
        divergence: `Divergence` of these steps, or None.
    """

    num_steps: int
    num_rows: int
    means: dict[str, float]
    is_last: bool
    divergence: Divergence | None


class StepLoop:
    """Training steps of a ranker.

    Args:
        ranker: `MultiTaskRanker` that has seen a batch, compiled with an optimizer of `models.optimizers`.
        columns_fn: packed batch to columns by name.
        strategy: `tf.distribute.Strategy` under whose scope the ranker was made.
        averaged: `AveragedWeights` to be moved after every step, or None.
        is_compiled: whether a step is compiled by XLA.

    Attributes:
        step: int64 variable, steps so far.
    """

    def __init__(self, ranker, columns_fn, strategy, averaged=None, is_compiled=False):
        self._ranker = ranker
        self._columns_fn = columns_fn
        self._strategy = strategy
        self._averaged = averaged
        self._train_fn = tf.function(self._train, jit_compile=True, autograph=False) if is_compiled else self._train
        self._run_fn = tf.function(self._run, autograph=False)
        with strategy.scope():
            # Within the one that scales losses for 16 bits, where there is one.
            getattr(ranker.optimizer, "inner_optimizer", ranker.optimizer).build(ranker.trainable_variables)
        self._names = _reported_names(ranker)
        self.step = tf.Variable(0, trainable=False, dtype=tf.int64)
        self._first_step = tf.Variable(0, trainable=False, dtype=tf.int64)
        self._num_rows = tf.Variable(0, trainable=False, dtype=tf.int64)
        self._sums_S = tf.Variable(tf.zeros(len(self._names)), trainable=False)
        self._counts_S = tf.Variable(tf.zeros(len(self._names)), trainable=False)
        # How gradients conflict is not defined where a task has none; all else must be a number.
        self._must_be_finite_S = tf.constant([not name.startswith("gradient_") for name in self._names])
        # The first step with a loss that is no number, from 1, and what it reported.
        self._bad_step = tf.Variable(0, trainable=False, dtype=tf.int64)
        self._bad_S = tf.Variable(tf.zeros(len(self._names)), trainable=False)

    def run(self, iterator, num_steps):
        """Takes steps until there are enough, or no batch is left.

        Args:
            iterator: over packed batches.
            num_steps: at most so many; 0 builds the graph.

        Returns:
            `Stretch`.
        """
        is_last = False
        try:
            self._run_fn(iterator, tf.constant(num_steps, tf.int64))
        except tf.errors.OutOfRangeError:
            is_last = True
        taken = int(self.step) - int(self._first_step)
        sums = zip(self._names, self._sums_S.numpy().tolist(), self._counts_S.numpy().tolist(), strict=True)
        means = {name: total / count for name, total, count in sums if count}
        return Stretch(taken, int(self._num_rows), means, is_last, self._divergence())

    def _run(self, iterator, num_steps):
        self._first_step.assign(self.step)
        self._num_rows.assign(0)
        self._sums_S.assign(tf.zeros_like(self._sums_S))
        self._counts_S.assign(tf.zeros_like(self._counts_S))
        tf.while_loop(
            lambda taken: taken < num_steps,
            lambda taken: [self._one_step(iterator, taken)],
            [tf.constant(0, tf.int64)],
            parallel_iterations=1,
        )

    def _one_step(self, iterator, taken):
        packed = iterator.get_next()
        parts = [part for value in packed.values() for part in self._strategy.experimental_local_results(value)]
        # Before a batch is drawn nothing of a step may happen: the last draw of an epoch fails.
        with tf.control_dependencies(parts):
            reported = self._strategy.run(self._train_fn, args=(packed,))
        reported_S = self._strategy.experimental_local_results(reported)[0]
        with tf.control_dependencies([reported_S]):
            step = self.step.assign_add(1)
            first = self._strategy.experimental_local_results(next(iter(packed.values())))
            self._num_rows.assign_add(tf.add_n([tf.shape(part, tf.int64)[0] for part in first]))
            is_finite_S = tf.math.is_finite(reported_S)
            self._sums_S.assign_add(tf.where(is_finite_S, reported_S, 0.0))
            self._counts_S.assign_add(tf.cast(is_finite_S, tf.float32))
            is_bad = (self._bad_step == 0) & tf.reduce_any(self._must_be_finite_S & ~is_finite_S)
            self._bad_S.assign(tf.where(is_bad, reported_S, self._bad_S))
            self._bad_step.assign(tf.where(is_bad, step, self._bad_step))
            if self._averaged is not None:
                self._averaged.update()
            return taken + 1

    def _train(self, packed):
        logs = self._ranker.train_step(self._columns_fn(packed))
        return tf.stack([tf.cast(logs[name], tf.float32) for name in self._names])

    def _divergence(self):
        step = int(self._bad_step)
        if not step:
            return None
        reported = zip(self._names, self._bad_S.numpy().tolist(), strict=True)
        return Divergence(step, *next((name, value) for name, value in reported if not math.isfinite(value)))


def _reported_names(ranker):
    """Scalars of a batch among what `train_step` returns, causes before effects."""
    has_conflict = ranker.balancing.needs_gram and len(ranker.labels) > 1
    compared = ("gradient_cosine", "gradient_dominance", "gradient_reciprocal_condition") if has_conflict else ()
    return (
        *(f"batch_{label}_loss" for label in ranker.labels),
        *(f"weight_{label}" for label in ranker.labels),
        "total_loss",
        *compared,
    )
