"""Configuration of where logs come from: their files and columns, or a simulated feed."""

import datetime
from typing import Annotated, Literal

import pydantic


class FrozenConfig(pydantic.BaseModel):
    """Base of every configuration class: immutable, and unknown keys are errors."""

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class ColumnMappingConfig(FrozenConfig):
    """A column of the contract, found under a name of the user's own.

    Attributes:
        name: column of the log.
        time_unit: unit of a time that is a number; None for the source's.
        scale: factor that brings a number to the contract's unit, as 0.001 for milliseconds of watch time.
        values: the contract's value by the log's, as {heart = "like"}; a value that is not named stays.
    """

    name: str
    time_unit: Literal["s", "ms", "us"] | None = None
    scale: float = pydantic.Field(1.0, gt=0)
    values: dict[str, str] = {}


LogName = Literal["impressions", "engagements", "users", "items"]


class EventsSourceConfig(FrozenConfig):
    """Event logs in JSONL, CSV, Parquet or TFRecords of tf.Examples, plain, gz or zst, by glob, on any Beam file system.

    The format follows from the file name. `{SPAN}` in a glob stands for a number or a day (YYYY-MM-DD) that grows with every
    delivery; all globs that have one are read at the same spans.

    Attributes:
        kind: "events".
        impressions: glob of the impression log.
        engagements: glob of the engagement log.
        users: glob of the user table with a `user_id` column, or None.
        items: glob of the item table with an `item_id` column, or None.
        time_unit: unit of times that are numbers; times that are strings are ISO 8601.
        columns: by log and column of the contract, the user's own column: its name, or name, unit, scale and values.
        last_span: newest span to read; None for the newest that the impression log has.
        num_spans: how many spans to read, the last one included; None for all up to it.
    """

    kind: Literal["events"]
    impressions: str
    engagements: str
    users: str | None = None
    items: str | None = None
    time_unit: Literal["s", "ms", "us"] = "ms"
    columns: dict[LogName, dict[str, ColumnMappingConfig]] = {}
    last_span: str | None = None
    num_spans: int | None = pydantic.Field(None, ge=1)

    @pydantic.field_validator("columns", mode="before")
    @classmethod
    def _names_are_mappings(cls, columns):
        if not isinstance(columns, dict):
            return columns
        return {
            log: {column: {"name": own} if isinstance(own, str) else own for column, own in by_column.items()}
            if isinstance(by_column, dict)
            else by_column
            for log, by_column in columns.items()
        }


class KuaiRandSourceConfig(FrozenConfig):
    """KuaiRand's official CSV files.

    Attributes:
        kind: "kuairand".
        path: folder that holds `log_standard_*.csv`, `user_features_*.csv` and `video_features_basic_*.csv`.
    """

    kind: Literal["kuairand"]
    path: str


SourceConfig = Annotated[EventsSourceConfig | KuaiRandSourceConfig, pydantic.Field(discriminator="kind")]


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
