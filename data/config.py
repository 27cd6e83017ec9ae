"""Configuration of ingestion: what counts as satisfaction, what the past tells, how days are split."""

import datetime
import itertools
from typing import Annotated, Literal

import pydantic

from data.columns import HISTORY_KEYS, context_types, item_types, labelled_schema
from data.history_config import HistoryConfig
from data.schema import (
    FIRST_IMPRESSED_AT_MS,
    LAST_IMPRESSED_AT_MS,
    PUBLISHED_AT_MS,
    SPLITS,
    VALIDATION_SPLIT,
    ColumnType,
    EngagementKind,
)
from data.source_config import FrozenConfig, SimulatorConfig, SourceConfig

_DEFAULT_WINDOW_HOURS = dict.fromkeys(EngagementKind, 24.0) | {EngagementKind.CLICK: 0.5, EngagementKind.SURVEY: 168.0}


class AttributionConfig(FrozenConfig):
    """For how long after an impression its signals count, and what becomes of impressions that are younger than that.

    Attributes:
        window_hours: by kind, positive; kinds that are not named keep their default: click 0.5, survey 168, others 24.
        clock_skew_seconds: how far an event may precede its impression, whose clock may be another one.
        watermark: until when the logs are complete; None for the latest time in them. A log that gives every impression
            together with its signals (KuaiRand) is complete.
        delayed: what becomes of a label whose window was still open at the watermark: "mask" (unknown), "drop" (the whole
            row, from training) or "weight" (it stays, with a weight that makes up for the positives still to come).
    """

    window_hours: dict[EngagementKind, Annotated[float, pydantic.Field(gt=0)]] = {}
    clock_skew_seconds: float = pydantic.Field(0.0, ge=0)
    watermark: datetime.datetime | None = None
    delayed: Literal["mask", "drop", "weight"] = "mask"

    @pydantic.field_validator("watermark")
    @classmethod
    def _watermark_has_a_zone(cls, watermark):
        if watermark is not None and watermark.tzinfo is None:
            raise ValueError(f"watermark must have a time zone, as 2026-01-10T00:00:00Z. Received: {watermark.isoformat()}")
        return watermark

    def window_hours_of(self, kind):
        """Attribution window of one kind of engagement.

        Args:
            kind: `EngagementKind`.

        Returns:
            Hours.
        """
        return self.window_hours.get(kind, _DEFAULT_WINDOW_HOURS[kind])


class SatisfactionConfig(FrozenConfig):
    """How satisfying an impression was: a weighted mix of signals.

    The mix is the sum of the weights of the kinds that occurred (each counts once) and of
    `survey_weight` * (highest survey score - `survey_neutral`) where a survey was answered.

    Attributes:
        weights: by kind, positive or negative; click and play may be among them, survey may not.
        survey_weight: weight of a survey's distance from neutral; 0 ignores surveys.
        survey_neutral: survey score that says neither.
        threshold: satisfied (1) where the mix is at least this, else 0; "graded": the mix itself, cut to [0, 1].
        known: "all" impressions have a known satisfaction, or only the "clicked", or only the "surveyed" ones.
    """

    weights: dict[EngagementKind, float] = {
        EngagementKind.LIKE: 1.0,
        EngagementKind.FOLLOW: 1.0,
        EngagementKind.COMMENT: 1.0,
        EngagementKind.SHARE: 1.0,
        EngagementKind.PROFILE_VISIT: 1.0,
    }
    survey_weight: float = 0.0
    survey_neutral: float = 0.0
    threshold: float | Literal["graded"] = 1.0
    known: Literal["all", "clicked", "surveyed"] = "all"

    @pydantic.model_validator(mode="after")
    def _can_be_positive(self):
        if EngagementKind.SURVEY in self.weights:
            raise ValueError("weights must not name survey; its weight is survey_weight. Received: survey")
        if self.survey_weight == 0 and not any(weight > 0 for weight in self.weights.values()):
            raise ValueError("weights must hold a positive weight, or survey_weight be other than 0: nothing would satisfy")
        if isinstance(self.threshold, float) and self.threshold <= 0:
            raise ValueError(f"threshold must be positive, else silence would satisfy. Received: {self.threshold}")
        return self


class NegativeSamplingConfig(FrozenConfig):
    """Training rows without click and without satisfaction are thinned; `sampling_rate` in every row records by how much.

    Attributes:
        keep: share of them that stays, within 0 (exclusive) and 1; which ones follows from the impression id.
    """

    keep: float = pydantic.Field(gt=0, le=1)


class SplitConfig(FrozenConfig):
    """Days for training and evaluation, all inclusive.

    Attributes:
        eval_from: first evaluation day; earlier days train. Either this or `eval_days`.
        eval_days: the last days of the log evaluate, so many of them.
        eval_until: last evaluation day; None for all that follow.
        train_from: first training day; None for all that precede.
        gap_days: days before the first evaluation day that do not train.
        validation_days: the last training days, so many of them, stop training, fit calibration and are tuned on.
        holdout_share: share of users, by a hash of their id, whose rows neither train nor validate; they are evaluated like
            all others.
    """

    eval_from: datetime.date | None = None
    eval_days: int | None = pydantic.Field(None, ge=1)
    eval_until: datetime.date | None = None
    train_from: datetime.date | None = None
    gap_days: int = pydantic.Field(0, ge=0)
    validation_days: int = pydantic.Field(0, ge=0)
    holdout_share: float = pydantic.Field(0.0, ge=0, lt=1)

    @property
    def names(self):
        """Names of the splits that rows are written to, of `data.schema.SPLITS`."""
        return tuple(split for split in SPLITS if split != VALIDATION_SPLIT or self.validation_days)

    @pydantic.model_validator(mode="after")
    def _days_are_in_order(self):
        days = [day for day in (self.train_from, self.eval_from, self.eval_until) if day is not None]
        if days != sorted(days) or (self.eval_from is not None and self.train_from == self.eval_from):
            raise ValueError(
                "train_from must lie before eval_from, and that not after eval_until. Received: "
                + ", ".join(day.isoformat() for day in days)
            )
        return self

    @pydantic.model_validator(mode="after")
    def _has_one_beginning(self):
        if (self.eval_from is None) == (self.eval_days is None):
            raise ValueError(f"one of eval_from and eval_days must be given. Received: {self.eval_from} and {self.eval_days}")
        return self


class BucketConfig(FrozenConfig):
    """A string column made of a numeric one: the number of the bucket that a value lies in, as "0", "1", ...

    Attributes:
        column: numeric item or context column.
        edges: ascending; bucket 0 lies below the first, a value on an edge in the bucket above it. A missing value, and one
            that is no number, has no bucket. Edges of a float column are rounded to 32 bits, as its values are.
    """

    column: str
    edges: tuple[float, ...] = pydantic.Field(min_length=1)

    @pydantic.model_validator(mode="after")
    def _edges_ascend(self):
        if any(low >= high for low, high in itertools.pairwise(self.edges)):
            raise ValueError(f"edges must ascend. Received: {list(self.edges)}")
        return self


_RESERVED_COLUMNS = ("impressed_at", "is_dropped", LAST_IMPRESSED_AT_MS, FIRST_IMPRESSED_AT_MS, PUBLISHED_AT_MS)


class DataConfig(FrozenConfig):
    """Everything that ingestion needs to know.

    Attributes:
        source: where and how the logs lie.
        context_columns: further impression columns to keep, with their types.
        user_columns: columns of the user table to keep, with their types.
        item_columns: columns of the item table to keep, with their types.
        bucket_columns: columns made of those by `BucketConfig`.
        timezone: IANA name; decides on which day an impression falls where the log has no `day`.
        attribution: windows of signals, delayed labels.
        satisfaction: definition of the satisfaction label.
        watch_known: "all" impressions have a known watch time (0 without a play), or only the "clicked" ones.
        history: features of the past; None for none.
        split: training and evaluation days.
        negative_sampling: thinning of training rows; None for none.
        max_dead_letter_rate: share of a log's records that may be unreadable before the run stops.
        num_partitions: partitions in which rows are joined, of which each must fit memory; None chooses by the size of the
            logs.
        simulator: the feed that `smalltowers simulate` writes to the source's files; None for real logs.
    """

    source: SourceConfig
    context_columns: dict[str, ColumnType] = {}
    user_columns: dict[str, ColumnType] = {}
    item_columns: dict[str, ColumnType] = {}
    bucket_columns: dict[str, BucketConfig] = {}
    timezone: str = "UTC"
    attribution: AttributionConfig = AttributionConfig()
    satisfaction: SatisfactionConfig = SatisfactionConfig()
    watch_known: Literal["all", "clicked"] = "all"
    history: HistoryConfig | None = None
    split: SplitConfig
    negative_sampling: NegativeSamplingConfig | None = None
    max_dead_letter_rate: float = pydantic.Field(0.01, ge=0, le=1)
    num_partitions: int | None = pydantic.Field(None, ge=1)
    simulator: SimulatorConfig | None = None

    @pydantic.model_validator(mode="after")
    def _buckets_have_numbers(self):
        declared = self.item_columns | self.context_columns
        for name, bucket in self.bucket_columns.items():
            if declared.get(bucket.column) not in (ColumnType.INT, ColumnType.FLOAT):
                raise ValueError(
                    f"bucket_columns.{name}.column must be a numeric column of data.item_columns or data.context_columns. "
                    f"Received: {bucket.column}"
                )
        return self

    @pydantic.model_validator(mode="after")
    def _history_columns_exist(self):
        if self.history is None:
            return self
        of_items = item_types(self)
        for index, aggregate in enumerate(self.history.aggregates):
            is_pair = len(aggregate.key) == 2
            allowed = of_items | context_types(self) if is_pair else {*HISTORY_KEYS, *of_items}
            if (is_pair and aggregate.key[0] != "user_id") or aggregate.key[-1] not in allowed:
                raise ValueError(
                    f"history.aggregates.{index}.key must be user_id, item_id, a column of data.item_columns or a bucket of "
                    f"one; or user_id and such a column, surface, a column of data.context_columns or a bucket of one. "
                    f"Received: {list(aggregate.key)}"
                )
        for index, sequence in enumerate(self.history.sequences):
            if sequence.column != "item_id" and of_items.get(sequence.column) != ColumnType.STRING:
                raise ValueError(
                    f"history.sequences.{index}.column must be item_id or a string column of data.item_columns. "
                    f"Received: {sequence.column}"
                )
        duration = self.history.duration
        if duration is not None and self.item_columns.get(duration.column) not in (ColumnType.INT, ColumnType.FLOAT):
            raise ValueError(
                f"history.duration.column must be a numeric column of data.item_columns. Received: {duration.column}"
            )
        if self.history.published_column not in (None, *self.item_columns):
            raise ValueError(
                f"history.published_column must be a column of data.item_columns. Received: {self.history.published_column}"
            )
        return self

    @pydantic.model_validator(mode="after")
    def _has_distinct_columns(self):
        names = [*labelled_schema(self).names, *_RESERVED_COLUMNS]
        if repeated := [name for name in names if names.count(name) > 1]:
            raise ValueError(
                f"a declared column must not bear the name of one that ingestion makes; rename it with "
                f"data.source.columns. Received: {repeated[0]}"
            )
        return self

    @pydantic.model_validator(mode="after")
    def _delay_covers_clocks(self):
        skew = self.attribution.clock_skew_seconds
        if self.history is not None and self.history.delay_seconds < skew:
            raise ValueError(
                "history.delay_seconds must be at least attribution.clock_skew_seconds, else the past could be told by what "
                f"follows it. Received: {self.history.delay_seconds} and {skew}"
            )
        return self
