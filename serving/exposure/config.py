"""Configuration of the exposure log."""

from typing import Literal

import pydantic

from data.config import FrozenConfig


class ExposureConfig(FrozenConfig):
    """Where and how what was shown is written.

    Attributes:
        enabled: whether a log is written at all.
        folder: of the segments; None for `exposures` in the job's folder.
        format: "jsonl", a segment that can be read while it is written, or "parquet", one that is written at its end.
        sync_seconds: how often what was written is made safe from a crash; 0: an answer waits until its own is.
        segment_seconds: age at which a segment is closed.
        segment_records: size at which a segment is closed.
        queue_records: answered requests that may wait to be written.
        when_full: of that queue, "wait" until there is room, or "refuse" the request that would not be logged.
        retry_seconds: how often a full disk is tried again.
        feature_share: share of the answers whose features are logged too, which `smalltowers skew` compares; 0 for none.
    """

    enabled: bool = True
    folder: str | None = None
    format: Literal["jsonl", "parquet"] = "jsonl"
    sync_seconds: float = pydantic.Field(1.0, ge=0)
    segment_seconds: float = pydantic.Field(300.0, gt=0)
    segment_records: int = pydantic.Field(100_000, ge=1)
    queue_records: int = pydantic.Field(10_000, ge=1)
    when_full: Literal["wait", "refuse"] = "refuse"
    retry_seconds: float = pydantic.Field(1.0, gt=0)
    feature_share: float = pydantic.Field(0.01, ge=0, le=1)
