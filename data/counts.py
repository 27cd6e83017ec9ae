"""Where every record of the logs went, and the proof that none was lost."""

import dataclasses

from data.errors import EmptyLogError, ReconciliationError

NAMESPACE = "ingest"


@dataclasses.dataclass(frozen=True)
class Counts:
    """Rows of one ingestion; each field is the counter of the same name in the Beam namespace `NAMESPACE`.

    Attributes:
        impressions_read: records of the impression log.
        impressions_train: labelled rows of the training days.
        impressions_eval: labelled rows of the evaluation days.
        impressions_outside: rows on other days, not written.
        impressions_duplicate: rows whose impression id came before.
        impressions_dead_lettered: records that could not be read.
        engagements_read: records of the engagement log.
        engagements_attributed: events that belong to an impression, of any day.
        engagements_duplicate: events whose event id came before.
        engagements_unattributed: events without an impression.
        engagements_dead_lettered: records that could not be read.
        users_read: records of the user table.
        users_dead_lettered: of them, those that could not be read.
        items_read: records of the item table.
        items_dead_lettered: of them, those that could not be read.
    """

    impressions_read: int = 0
    impressions_train: int = 0
    impressions_eval: int = 0
    impressions_outside: int = 0
    impressions_duplicate: int = 0
    impressions_dead_lettered: int = 0
    engagements_read: int = 0
    engagements_attributed: int = 0
    engagements_duplicate: int = 0
    engagements_unattributed: int = 0
    engagements_dead_lettered: int = 0
    users_read: int = 0
    users_dead_lettered: int = 0
    items_read: int = 0
    items_dead_lettered: int = 0

    @classmethod
    def from_metrics(cls, metrics):
        """Counts of a finished Beam pipeline.

        Args:
            metrics: `result.metrics()`.

        Returns:
            `Counts`; counters that never moved are 0.
        """
        names = {field.name for field in dataclasses.fields(cls)}
        total_by_name = dict.fromkeys(names, 0)
        for counter in metrics.query()["counters"]:
            if counter.key.metric.namespace == NAMESPACE and counter.key.metric.name in names:
                total_by_name[counter.key.metric.name] += counter.result
        return cls(**total_by_name)

    def reconcile(self):
        """Proves that rows out are rows in.

        Raises:
            ReconciliationError: If they differ.
        """
        impressions = (
            self.impressions_train
            + self.impressions_eval
            + self.impressions_outside
            + self.impressions_duplicate
            + self.impressions_dead_lettered
        )
        engagements = (
            self.engagements_attributed
            + self.engagements_duplicate
            + self.engagements_unattributed
            + self.engagements_dead_lettered
        )
        for log, num_read, num_accounted in (
            ("impressions", self.impressions_read, impressions),
            ("engagements", self.engagements_read, engagements),
        ):
            if num_read != num_accounted:
                raise ReconciliationError(f"{log} accounted for must equal {log} read. Received: {num_accounted} of {num_read}")

    def require_rows(self, split):
        """Demands that there is something to train on and something to evaluate on.

        Args:
            split: `SplitConfig`.

        Raises:
            EmptyLogError: If the log, the training days or the evaluation days hold no labelled row.
        """
        num_usable = self.impressions_train + self.impressions_eval + self.impressions_outside
        if not num_usable:
            raise EmptyLogError(
                f"data.source: the impression log holds no usable row. Received: {self.impressions_read} records, "
                f"{self.impressions_dead_lettered} of them unreadable"
            )
        train_from = split.train_from or "the first day"
        eval_until = split.eval_until or "the last day"
        for num_rows, name, days in (
            (self.impressions_train, "training", f"from {train_from} until before {split.eval_from}"),
            (self.impressions_eval, "evaluation", f"from {split.eval_from} until {eval_until}"),
        ):
            if not num_rows:
                raise EmptyLogError(
                    f"data.split: no impression falls on a {name} day ({days}). Received: {num_usable} impressions on "
                    f"other days"
                )
