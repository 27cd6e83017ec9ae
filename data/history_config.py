"""Configuration of the features of the past: what is counted of whom, over which time, and how fresh."""

import re
from typing import Annotated, Literal

import pydantic

from data.columns import aggregate_column
from data.measure_names import checked_measure, watched_least
from data.source_config import FrozenConfig

US_PER_HOUR = 3_600_000_000
US_PER_DAY = 24 * US_PER_HOUR
_US_BY_UNIT = {"m": 60_000_000, "h": US_PER_HOUR, "d": US_PER_DAY}
_LONGEST_DELAY_SECONDS = 366 * 86_400
_LEAST_REFRESH_HOURS, _LONGEST_REFRESH_HOURS = 1e-6, 366.0 * 24


def _checked_window(window):
    if not re.fullmatch(r"[1-9][0-9]{0,8}[mhd]|all", window):
        raise ValueError(
            f"must be all, or a number of at most nine digits and its unit, as 10m (minutes), 12h or 7d. Received: {window}"
        )
    return window


def window_us(window):
    """Length of a trailing window.

    Args:
        window: as of `AggregateConfig.windows`.

    Returns:
        Microseconds; None for "all".
    """
    return None if window == "all" else int(window[:-1]) * _US_BY_UNIT[window[-1]]


def _checked_refresh(hours):
    if 0 < hours < _LEAST_REFRESH_HOURS:
        raise ValueError(f"must be 0 (at once) or at least {_LEAST_REFRESH_HOURS:g} hours. Received: {hours:g}")
    return hours


Window = Annotated[str, pydantic.AfterValidator(_checked_window)]
Measure = Annotated[str, pydantic.AfterValidator(checked_measure)]
RefreshHours = Annotated[float, pydantic.Field(ge=0, le=_LONGEST_REFRESH_HOURS), pydantic.AfterValidator(_checked_refresh)]


class AggregateConfig(FrozenConfig):
    """What happened in the past to one user, item, author, ..., or to a user with a category: one column of numbers.

    Attributes:
        key: "user_id", "item_id" or a column of items; or "user_id" and a column of items or of the context.
        name: of the column; None for one made of the key, as `user_tag_history`. A key of several aggregates needs names.
        windows: trailing windows, as "10m" (minutes), "12h", "7d" or "all". Each ends where knowledge does: with a delay of
            600 seconds "10m" is 20 to 10 minutes before the impression, with a daily refresh ten minutes before midnight.
        measures: impressions; smoothed rates per impression (click_rate, long_watch_rate, satisfaction_rate, like_rate and so
            on by kind of engagement, watched_3s_rate and so on by seconds, watched_90pct_rate and so on by the item's
            duration); smoothed means per impression (watch_seconds, and log_watch, of the logarithm of 1 + seconds).
        refresh_hours: as of `HistoryConfig`, of this aggregate alone; None for that of all.
    """

    key: tuple[str, ...] = pydantic.Field(min_length=1, max_length=2)
    name: str | None = pydantic.Field(None, pattern=r"^[A-Za-z][A-Za-z0-9_]*$")
    windows: tuple[Window, ...] = pydantic.Field(("1d", "7d", "all"), min_length=1)
    measures: tuple[Measure, ...] = pydantic.Field(
        ("impressions", "click_rate", "long_watch_rate", "satisfaction_rate", "watch_seconds"), min_length=1
    )
    refresh_hours: RefreshHours | None = None

    @pydantic.model_validator(mode="after")
    def _names_differ(self):
        for key, values in (("key", self.key), ("windows", self.windows), ("measures", self.measures)):
            if len(set(values)) < len(values):
                raise ValueError(f"{key} must hold every name once. Received: {list(values)}")
        if len({*map(window_us, self.windows)}) < len(self.windows):
            raise ValueError(f"windows must hold every length once. Received: {list(self.windows)}")
        return self


class SequenceConfig(FrozenConfig):
    """The user's last items, or their categories, newest first: one column of strings.

    Attributes:
        name: of the column.
        column: "item_id" or a column of items that holds strings, as a bucket column does.
        signal: what must have happened: shown, clicked, long watched or satisfied.
        length: at most so many.
        refresh_hours: as of `HistoryConfig`, of this sequence alone; None for that of all.
    """

    name: str
    column: str = "item_id"
    signal: Literal["impression", "click", "long_watch", "satisfaction"] = "click"
    length: int = pydantic.Field(20, ge=1)
    refresh_hours: RefreshHours | None = None


class DurationConfig(FrozenConfig):
    """Where the duration of an item stands.

    Attributes:
        column: numeric item column; an item without it, or with nothing above 0, is never watched to any percentage.
        seconds_per_unit: seconds in 1 of the column, .001 for milliseconds.
    """

    column: str
    seconds_per_unit: float = pydantic.Field(1.0, gt=0)


class HistoryConfig(FrozenConfig):
    """Features of the past. For an impression at time t only what happened before t - delay counts.

    Attributes:
        delay_seconds: how long an event takes until a feature can know of it, plus how long an item takes from its ranking
            to its impression.
        refresh_hours: hours between refreshes of the features, at most those of 366 days, counted from midnight in
            `data.timezone` where they divide a day, else from 1970; 0 for at once. Features of an impression then stand as at
            the last refresh. An aggregate or a sequence may have its own; ages follow this one.
        aggregates: counts and smoothed rates.
        sequences: the user's last items or categories.
        prior: by measure but impressions, its value without any history; 0 where absent.
        prior_impressions: how many impressions the prior weighs.
        long_watch_seconds: total watch time of an impression from which on it was watched long.
        duration: of items, for measures by percentage; None where there are none.
        has_ages: whether the columns `item_age_hours` and `user_idle_hours` (since the user's last impression) are added.
        published_column: item column with the time of publication (ISO 8601, or a number in ms); None counts an item's age
            from its first impression in the logs.
    """

    delay_seconds: float = pydantic.Field(600.0, ge=0, le=_LONGEST_DELAY_SECONDS)
    refresh_hours: RefreshHours = 0.0
    aggregates: tuple[AggregateConfig, ...] = (AggregateConfig(key=("user_id",)), AggregateConfig(key=("item_id",)))
    sequences: tuple[SequenceConfig, ...] = ()
    prior: dict[Measure, float] = {}
    prior_impressions: float = pydantic.Field(20.0, gt=0)
    long_watch_seconds: float = pydantic.Field(18.0, gt=0)
    duration: DurationConfig | None = None
    has_ages: bool = True
    published_column: str | None = None

    def refresh_of(self, feature):
        """Hours between refreshes of an aggregate or a sequence.

        Args:
            feature: `AggregateConfig` or `SequenceConfig`.

        Returns:
            Hours; 0 for at once.
        """
        return self.refresh_hours if feature.refresh_hours is None else feature.refresh_hours

    @pydantic.model_validator(mode="after")
    def _columns_differ(self):
        names = [*map(aggregate_column, self.aggregates), *(sequence.name for sequence in self.sequences)]
        for place, name in enumerate(names):
            if name in names[:place]:
                key = f"aggregates.{place}" if place < len(self.aggregates) else f"sequences.{place - len(self.aggregates)}"
                raise ValueError(f"{key}.name must be given, and no other column's. Received: the column {name} twice")
        return self

    @pydantic.model_validator(mode="after")
    def _percentages_have_durations(self):
        for index, measure in ((index, one) for index, each in enumerate(self.aggregates) for one in each.measures):
            _, is_percent = watched_least(measure) or (0, False)
            if is_percent and self.duration is None:
                raise ValueError(f"aggregates.{index}.measures need history.duration for {measure}. Received: none")
        return self

    @pydantic.model_validator(mode="after")
    def _prior_is_a_rate(self):
        for measure, value in self.prior.items():
            if measure == "impressions":
                raise ValueError("prior must be of rates and means. Received: impressions")
            if value < 0 or (measure.endswith("_rate") and value > 1):
                raise ValueError(f"prior.{measure} must be a rate within 0 and 1, or a mean from 0. Received: {value}")
        return self
