"""Configuration of ingestion: where the logs lie, what counts as satisfaction, how days are split."""

import datetime
from typing import Annotated, Literal

import pydantic

from data.schema import ColumnType, EngagementKind, labelled_schema


class FrozenConfig(pydantic.BaseModel):
    """Base of every configuration class: immutable, and unknown keys are errors."""

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid")


class EventsSourceConfig(FrozenConfig):
    """Event logs in JSONL, CSV or Parquet, plain or gz, by glob; the format follows from the file name.

    Attributes:
        kind: "events".
        impressions: glob of the impression log.
        engagements: glob of the engagement log.
        users: glob of the user table with a `user_id` column, or None.
        items: glob of the item table with an `item_id` column, or None.
        time_unit: unit of times that are numbers; times that are strings are ISO 8601.
    """

    kind: Literal["events"]
    impressions: str
    engagements: str
    users: str | None = None
    items: str | None = None
    time_unit: Literal["s", "ms", "us"] = "ms"


class KuaiRandSourceConfig(FrozenConfig):
    """KuaiRand's official CSV files.

    Attributes:
        kind: "kuairand".
        path: folder that holds `log_standard_*.csv`, `user_features_*.csv` and `video_features_basic_*.csv`.
    """

    kind: Literal["kuairand"]
    path: str


SourceConfig = Annotated[EventsSourceConfig | KuaiRandSourceConfig, pydantic.Field(discriminator="kind")]


class SatisfactionConfig(FrozenConfig):
    """When an impression counts as satisfying.

    Satisfied: any positive kind, or a survey score of at least `survey_at_least`; and no negative kind.

    Attributes:
        positive: kinds of which one is enough.
        negative: kinds of which one vetoes.
        survey_at_least: survey score from which on a user is satisfied; None ignores surveys.
        known: "all" impressions have a known satisfaction, or only the "clicked", or only the "surveyed" ones.
    """

    positive: tuple[EngagementKind, ...] = (
        EngagementKind.LIKE,
        EngagementKind.FOLLOW,
        EngagementKind.COMMENT,
        EngagementKind.SHARE,
        EngagementKind.PROFILE_VISIT,
    )
    negative: tuple[EngagementKind, ...] = ()
    survey_at_least: float | None = None
    known: Literal["all", "clicked", "surveyed"] = "all"


class SplitConfig(FrozenConfig):
    """Days for training and evaluation, all inclusive.

    Attributes:
        eval_from: first evaluation day; earlier days train.
        eval_until: last evaluation day; None for all that follow.
        train_from: first training day; None for all that precede.
    """

    eval_from: datetime.date
    eval_until: datetime.date | None = None
    train_from: datetime.date | None = None


class SimulatorConfig(FrozenConfig):
    """Size and seed of a simulated feed.

    Attributes:
        num_users: at least 1.
        num_items: at least `items_per_request`.
        num_impressions: rows of the impression log, at least 1.
        items_per_request: items shown together.
        num_days: days that the log spans.
        start: first day.
        seed: of every random draw.
    """

    num_users: int = pydantic.Field(2_000, ge=1)
    num_items: int = pydantic.Field(500, ge=1)
    num_impressions: int = pydantic.Field(200_000, ge=1)
    items_per_request: int = pydantic.Field(10, ge=1)
    num_days: int = pydantic.Field(10, ge=1)
    start: datetime.date = datetime.date(2026, 1, 1)
    seed: int = 0

    @pydantic.model_validator(mode="after")
    def _has_enough_items(self):
        if self.num_items < self.items_per_request:
            raise ValueError(
                f"num_items must be at least items_per_request ({self.items_per_request}). Received: {self.num_items}"
            )
        return self


class DataConfig(FrozenConfig):
    """Everything that ingestion needs to know.

    Attributes:
        source: where and how the logs lie.
        context_columns: further impression columns to keep, with their types.
        user_columns: columns of the user table to keep, with their types.
        item_columns: columns of the item table to keep, with their types.
        timezone: IANA name; decides on which day an impression falls where the log has no `day`.
        satisfaction: definition of the satisfaction label.
        watch_known: "all" impressions have a known watch time (0 without a play), or only the "clicked" ones.
        last_touch_window_hours: how long after an impression an event without impression id may be attributed to it.
        split: training and evaluation days.
        num_partitions: partitions by user in which rows are joined.
        num_shards: TFRecord files per split.
        simulator: the feed that `smalltowers simulate` writes to the source's files; None for real logs.
    """

    source: SourceConfig
    context_columns: dict[str, ColumnType] = {}
    user_columns: dict[str, ColumnType] = {}
    item_columns: dict[str, ColumnType] = {}
    timezone: str = "UTC"
    satisfaction: SatisfactionConfig = SatisfactionConfig()
    watch_known: Literal["all", "clicked"] = "all"
    last_touch_window_hours: float = pydantic.Field(24.0, gt=0)
    split: SplitConfig
    num_partitions: int = pydantic.Field(8, ge=1)
    num_shards: int = pydantic.Field(2, ge=1)
    simulator: SimulatorConfig | None = None

    @pydantic.model_validator(mode="after")
    def _has_distinct_columns(self):
        names = labelled_schema(self.context_columns, self.user_columns, self.item_columns).names
        if repeated := [name for name in names if names.count(name) > 1]:
            raise ValueError(f"a declared column must not repeat a column of labelled rows. Received: {repeated[0]}")
        return self
