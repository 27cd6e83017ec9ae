"""Where every record of the logs went, and the proof that none was lost."""

import collections
import dataclasses

from data.errors import DeadLetterError, EmptyLogError, ReconciliationError

NAMESPACE = "ingest"
REASON_NAMESPACE = "ingest_reasons"

LOGS = ("impressions", "engagements", "users", "items")
# Every record that was read has exactly one of these outcomes.
OUTCOMES_BY_LOG = {
    "impressions": ("train", "validation", "eval", "outside", "open", "sampled_out", "duplicate", "dead_lettered"),
    "engagements": (
        "attributed",
        "duplicate",
        "without_impression",
        "before_impression",
        "beyond_window",
        "dead_lettered",
    ),
    "users": ("kept", "duplicate", "dead_lettered"),
    "items": ("kept", "duplicate", "dead_lettered"),
}

_OPEN_ADVICE = "; set data.attribution.watermark if the logs are complete, or evaluate earlier days"


@dataclasses.dataclass(frozen=True)
class Counts:
    """Rows of one ingestion; each field is the counter of the same name in the Beam namespace `NAMESPACE`.

    Attributes:
        impressions_read: records of the impression log.
        impressions_train: labelled rows of the training days.
        impressions_validation: labelled rows of the last training days, set aside for validation.
        impressions_eval: labelled rows of the evaluation days.
        impressions_outside: rows on other days or of held-out users, not written.
        impressions_open: rows not written because the window of a label was still open (`attribution.delayed = "drop"`).
        impressions_sampled_out: negative rows of training and validation not written.
        impressions_duplicate: repeated deliveries.
        impressions_dead_lettered: records that could not be read.
        engagements_read: records of the engagement log.
        engagements_attributed: events that belong to an impression, of any day.
        engagements_duplicate: repeated deliveries.
        engagements_without_impression: events of which no impression is known.
        engagements_before_impression: events that precede their impression.
        engagements_beyond_window: events that came after the window of their kind.
        engagements_dead_lettered: records that could not be read.
        users_read: records of the user table.
        users_kept: records in the published table.
        users_duplicate: records whose user came before.
        users_dead_lettered: of them, those that could not be read.
        items_read: records of the item table.
        items_kept: records in the published table.
        items_duplicate: records whose item came before.
        items_dead_lettered: of them, those that could not be read.
        reasons: dead letters by log and reason, as "engagements.unknown_kind".
    """

    impressions_read: int = 0
    impressions_train: int = 0
    impressions_validation: int = 0
    impressions_eval: int = 0
    impressions_outside: int = 0
    impressions_open: int = 0
    impressions_sampled_out: int = 0
    impressions_duplicate: int = 0
    impressions_dead_lettered: int = 0
    engagements_read: int = 0
    engagements_attributed: int = 0
    engagements_duplicate: int = 0
    engagements_without_impression: int = 0
    engagements_before_impression: int = 0
    engagements_beyond_window: int = 0
    engagements_dead_lettered: int = 0
    users_read: int = 0
    users_kept: int = 0
    users_duplicate: int = 0
    users_dead_lettered: int = 0
    items_read: int = 0
    items_kept: int = 0
    items_duplicate: int = 0
    items_dead_lettered: int = 0
    reasons: dict[str, int] = dataclasses.field(default_factory=dict)

    @classmethod
    def from_metrics(cls, metrics):
        """Counts of a finished Beam pipeline.

        Args:
            metrics: `result.metrics()`.

        Returns:
            `Counts`; counters that never moved are 0.
        """
        totals: collections.Counter[str] = collections.Counter()
        reasons: collections.Counter[str] = collections.Counter()
        names = {field.name for field in dataclasses.fields(cls)}
        for counter in metrics.query()["counters"]:
            metric = counter.key.metric
            if metric.namespace == NAMESPACE and metric.name in names:
                totals[metric.name] += counter.result
            elif metric.namespace == REASON_NAMESPACE:
                reasons[metric.name] += counter.result
        return cls(**totals, reasons=dict(sorted(reasons.items())))  # type: ignore[arg-type]

    def reconcile(self):
        """Proves that rows out are rows in.

        Raises:
            ReconciliationError: If they differ.
        """
        for log in LOGS:
            num_read = getattr(self, f"{log}_read")
            num_accounted = sum(getattr(self, f"{log}_{outcome}") for outcome in OUTCOMES_BY_LOG[log])
            if num_read != num_accounted:
                raise ReconciliationError(f"{log} accounted for must equal {log} read. Received: {num_accounted} of {num_read}")

    def require_readable(self, max_dead_letter_rate):
        """Demands that not too many records of a log were unreadable.

        Args:
            max_dead_letter_rate: largest share of a log's records that may be dead letters.

        Raises:
            DeadLetterError: If a log has more.
        """
        for log in LOGS:
            num_read, num_dead = getattr(self, f"{log}_read"), getattr(self, f"{log}_dead_lettered")
            if num_dead > max_dead_letter_rate * num_read:
                reasons = {name.partition(".")[2]: n for name, n in self.reasons.items() if name.partition(".")[0] == log}
                listed = ", ".join(f"{reason} {n:,}" for reason, n in sorted(reasons.items(), key=lambda item: -item[1])[:5])
                raise DeadLetterError(
                    f"data.max_dead_letter_rate: at most {max_dead_letter_rate:.2%} of the {log} may be unreadable. "
                    f"Received: {num_dead:,} of {num_read:,} ({num_dead / num_read:.2%}): {listed}"
                )

    def require_rows(self, split):
        """Demands that there is something to train on, to validate on if wanted, and to evaluate on.

        Args:
            split: `SplitConfig`.

        Raises:
            EmptyLogError: If the log, the training, validation or evaluation days hold no labelled row.
        """
        num_usable = self.impressions_read - self.impressions_duplicate - self.impressions_dead_lettered
        if not num_usable:
            raise EmptyLogError(
                f"data.source: the impression log holds no usable row. Received: {self.impressions_read} records, "
                f"{self.impressions_dead_lettered} of them unreadable"
            )
        train_from = split.train_from or "the first day"
        last_days = "the last day" if split.eval_days == 1 else f"the last {split.eval_days} days"
        eval_from = split.eval_from or last_days
        eval_until = split.eval_until or "the last day"
        num_validated = split.validation_days
        before = f", of which the last {num_validated} validate" if num_validated else ""
        for is_wanted, num_rows, name, days in (
            (True, self.impressions_train, "a training", f"from {train_from} until before {eval_from}{before}"),
            (num_validated, self.impressions_validation, "a validation", f"the last {num_validated} before {eval_from}"),
            (True, self.impressions_eval, "an evaluation", f"from {eval_from} until {eval_until}"),
        ):
            if is_wanted and not num_rows:
                raise EmptyLogError(
                    f"data.split: no impression is left for {name} day ({days}). Received: {num_usable} impressions: "
                    f"{self._whereabouts()}{_OPEN_ADVICE if self.impressions_open else ''}"
                )

    def _whereabouts(self):
        number_by_place = {
            "to train": self.impressions_train,
            "to validate": self.impressions_validation,
            "to evaluate": self.impressions_eval,
            "on other days or held out": self.impressions_outside,
            "with labels still open": self.impressions_open,
            "sampled out": self.impressions_sampled_out,
        }
        return ", ".join(f"{number} {place}" for place, number in number_by_place.items() if number)
