"""Curves of a training for TensorBoard."""

import tensorflow as tf


class Curves:
    """Writes scalars; nowhere if there is no folder.

    Args:
        folder: of event files, or None.
    """

    def __init__(self, folder):
        self._writer = tf.summary.create_file_writer(str(folder)) if folder else tf.summary.create_noop_writer()

    def write_point(self, point):
        """Losses, weights and learning rate of a few dozen steps.

        Args:
            point: `models.history.Point`.
        """
        self._write(
            point.step,
            {
                **{f"steps/loss/{label}": loss for label, loss in point.losses.items()},
                **{f"steps/balancing_weight/{label}": weight for label, weight in point.weights.items()},
                **{f"steps/{name}": value for name, value in point.conflict.items()},
                "steps/total_loss": point.total_loss,
                "steps/learning_rate": point.learning_rate,
            },
        )

    def write_epoch(self, number, epoch):
        """Losses and measures of an epoch.

        Args:
            number: of the epoch, from 1.
            epoch: `models.history.Epoch`.
        """
        measures = {
            f"validation/{name}/{label}": value
            for label, by_name in epoch.validation_measures.items()
            for name, value in by_name.items()
            if value is not None
        }
        self._write(
            number,
            {
                **{f"train/loss/{label}": loss for label, loss in epoch.train_losses.items()},
                **{f"validation/loss/{label}": loss for label, loss in epoch.validation_losses.items()},
                **measures,
                "train/rows_per_second": epoch.rows_per_second,
            },
        )

    def close(self):
        """Writes what is still in memory."""
        self._writer.close()

    def _write(self, step, scalars):
        with self._writer.as_default(step=step):
            for name, value in scalars.items():
                tf.summary.scalar(name, value)
        self._writer.flush()
