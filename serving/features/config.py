"""Configuration of the features that a service looks up: which store, how often it is looked at, which sets it names."""

import urllib.parse
from typing import Literal

import pydantic

from data.config import FrozenConfig


class PopularityConfig(FrozenConfig):
    """What of an item says how popular it is: a number of the item table.

    Attributes:
        column: a numeric column, or a column of numbers.
        entry: which number of a column of numbers, from 0.
    """

    column: str
    entry: int = pydantic.Field(0, ge=0)


class CandidateSetConfig(FrozenConfig):
    """Items that a request may name together: those with some values, the most popular first.

    Attributes:
        where: value by item column; an item belongs to the set if it has them all.
        limit: most items of the set.
    """

    where: dict[str, str | int] = {}
    limit: int = pydantic.Field(500, ge=1)


class FeaturesConfig(FrozenConfig):
    """Where the service finds features.

    Attributes:
        store: "sqlite": one file beside the published tables; "redis"; "tables": the published tables, all in memory.
        redis_url: of the Redis server, as redis://host:6379/0; without a password, as the configuration is printed and kept
            beside every model.
        redis_password_file: file that holds the password of the Redis server; None for none.
        redis_prefix: of every key.
        redis_timeout_ms: longest wait for an answer of Redis.
        poll_seconds: how often a new publication is looked for.
        keep_seconds: how long Redis holds a publication after the next one; requests that began with it end within.
        popularity: what says how popular an item is; None for none: items then stand in the order of their table.
        candidate_sets: by name.
    """

    store: Literal["sqlite", "redis", "tables"] = "sqlite"
    redis_url: str = "redis://127.0.0.1:6379/0"
    redis_password_file: str | None = None
    redis_prefix: str = pydantic.Field("smalltowers", min_length=1)
    redis_timeout_ms: int = pydantic.Field(200, ge=1)
    poll_seconds: float = pydantic.Field(1.0, gt=0)
    keep_seconds: int = pydantic.Field(600, ge=1)
    popularity: PopularityConfig | None = None
    candidate_sets: dict[str, CandidateSetConfig] = {}

    @pydantic.field_validator("redis_url")
    @classmethod
    def _is_an_address_without_password(cls, url):
        parts = urllib.parse.urlsplit(url)
        if parts.scheme not in ("redis", "rediss", "unix"):
            raise ValueError(f"redis_url must begin with redis://, rediss:// or unix://. Received: {url}")
        if parts.password or "password" in urllib.parse.parse_qs(parts.query):
            raise ValueError("redis_url must hold no password: name a redis_password_file. Received: one")
        return url
