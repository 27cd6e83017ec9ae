"""Checkpoints of a training: everything that its next step depends on, written as one."""

import tensorflow as tf


class Checkpoints:
    """The newest state of a training in a folder, so that a killed one goes on where it was.

    Args:
        folder: made if absent.
        tracked: TensorFlow objects by name whose variables belong to the state.
    """

    def __init__(self, folder, tracked):
        # A text beside the variables, in the same files: no kill comes between the two.
        self._text = tf.Variable("", trainable=False, dtype=tf.string)
        self._checkpoint = tf.train.Checkpoint(text=self._text, **tracked)
        self._manager = tf.train.CheckpointManager(self._checkpoint, str(folder), max_to_keep=1)

    def save(self, text):
        """Writes the present state; the one before is removed once this one is whole.

        Args:
            text: what the training knows beside its variables.
        """
        self._text.assign(text)
        self._manager.save()

    def restore(self):
        """Sets all variables to the newest state.

        Returns:
            The text that was saved with it, or None where there is no state.
        """
        if self._manager.latest_checkpoint is None:
            return None
        # Not every variable exists yet that a state may hold, but each that exists must be in it.
        self._checkpoint.restore(self._manager.latest_checkpoint).assert_existing_objects_matched()
        return self._text.numpy().decode()
