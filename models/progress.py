"""What a training tells while it runs."""

import dataclasses

from models.part_sizes import PartSize


@dataclasses.dataclass(frozen=True)
class Progress:
    """Where a training is.

    Attributes:
        parts: sizes of the ranker's parts.
        is_refit: whether this is the training on training and validation rows together.
        epoch: number of the pass, from 1.
        num_epochs: passes at most.
        num_rows: seen in this pass.
        total_rows: of a pass; estimated until the first one is through.
        rows_per_second: of this pass, 0 before its first steps.
        losses: by label, main tower's mean of this pass.
    """

    parts: tuple[PartSize, ...]
    is_refit: bool
    epoch: int
    num_epochs: int
    num_rows: int
    total_rows: int
    rows_per_second: float
    losses: dict[str, float]

    @property
    def seconds_left(self):
        """Until the last epoch is through, validation apart; None before the first steps."""
        if not self.rows_per_second:
            return None
        rows_left = max(0, self.total_rows - self.num_rows) + (self.num_epochs - self.epoch) * self.total_rows
        return rows_left / self.rows_per_second
