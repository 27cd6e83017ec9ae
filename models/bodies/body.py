"""What every body is: features in, a representation for each task out."""

from typing import NamedTuple

import tensorflow as tf

from models.errors import BodyError
from models.layers.matrix_layer import MatrixLayer


class BodyOutput(NamedTuple):
    """Representations of a batch.

    Attributes:
        tasks: what each task's towers read, (batch, units) in the order of the tasks; one and the same tensor where they share
            it.
        shared: (batch, units) that all of `tasks` are computed from; gradient methods compare the tasks' gradients here.
    """

    tasks: tuple[tf.Tensor, ...]
    shared: tf.Tensor


class Body(MatrixLayer):
    """Base of the bodies, which hold what all of them are told.

    A body maps (batch, inputs) to a `BodyOutput`, in its call of (inputs, training).

    Args:
        num_tasks: at least 1.
        dropout: rate in [0, 1) after every hidden layer, in training.
        seed: of initial values and dropout.
        **kwargs: of `keras.layers.Layer`.
    """

    def __init__(self, num_tasks, dropout=0.0, seed=0, **kwargs):
        super().__init__(**kwargs)
        self.num_tasks = num_tasks
        self.dropout = dropout
        self.seed = seed

    @property
    def task_variables(self):
        """Trainable variables of which every number serves one task alone, such as gates; none unless a body says so.

        Methods that compare the tasks' gradients leave them out, as they leave out the towers.
        """
        return []

    def get_config(self):
        """Constructor arguments."""
        return {**super().get_config(), "num_tasks": self.num_tasks, "dropout": self.dropout, "seed": self.seed}


def require_body_output(output, num_tasks, name):
    """Checks what a body returned.

    Args:
        output: of the body's call.
        num_tasks: of the ranker.
        name: of the body, for the message.

    Returns:
        The same output.

    Raises:
        BodyError: If it is no `BodyOutput` with a representation for each task, of rank 2 and known units.
    """
    if not isinstance(output, BodyOutput):
        raise BodyError(f"body {name} must return a BodyOutput. Received: {type(output).__name__}")
    if len(output.tasks) != num_tasks:
        raise BodyError(
            f"body {name} must return a representation for each of {num_tasks} tasks. Received: {len(output.tasks)}"
        )
    for tensor in (*output.tasks, output.shared):
        if tensor.shape.rank != 2 or tensor.shape[1] is None:
            raise BodyError(f"body {name} must return tensors (batch, units) with known units. Received: {tensor.shape}")
    return output
