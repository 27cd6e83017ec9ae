"""What every contender is asked: the configuration of the logs, the rules of attribution, the labels to compare."""

import dataclasses
import datetime

import pyarrow as pa
import pyarrow.compute as pc

from benchmarks.logs import NUM_DAYS, START
from data.config import DataConfig
from data.schema import LABELS, EngagementKind, mask_name

# Identity of a row, then per label value and mask; a value counts where its mask is 1.
KEY_COLUMNS = ("impression_id", "user_id")
LABEL_COLUMNS = tuple(name for label in LABELS for name in (label, mask_name(label)))
USER_COLUMNS = {"age_group": "string"}
ITEM_COLUMNS = {"category": "string", "author_id": "string", "duration_seconds": "float"}

_HISTORY = {
    "aggregates": [
        {"key": ["user_id"]},
        {"key": ["item_id"]},
        {"key": ["author_id"]},
        {"key": ["category"]},
        {"key": ["user_id", "category"]},
    ],
    "sequences": [{"name": "clicked_items", "signal": "click", "length": 20}],
    "prior": {"click_rate": 0.4, "long_watch_rate": 0.3, "satisfaction_rate": 0.2, "watch_seconds": 15.0},
}


@dataclasses.dataclass(frozen=True)
class Rules:
    """Attribution and labels as plain numbers, times in microseconds.

    Attributes:
        window_us_by_kind: attribution window.
        weight_by_kind: of satisfaction, other than 0.
        survey_weight: of a survey's distance from neutral, other than 0.
        survey_neutral: score that says neither.
        threshold: of satisfaction.
        watermark_us: since 1970; labels whose window was still open then are unknown.
        satisfaction_window_us: the longest among the signals of satisfaction.
    """

    window_us_by_kind: dict
    weight_by_kind: dict
    survey_weight: float
    survey_neutral: float
    threshold: float
    watermark_us: int
    satisfaction_window_us: int

    @classmethod
    def from_config(cls, config):
        """Rules of a configuration that scores surveys, has a threshold and a watermark.

        Args:
            config: `DataConfig`, as of `data_config`.

        Returns:
            `Rules`.
        """
        window_us_by_kind = {
            kind.value: round(config.attribution.window_hours_of(kind) * 3_600_000_000) for kind in EngagementKind
        }
        weight_by_kind = {kind.value: weight for kind, weight in config.satisfaction.weights.items() if weight}
        return cls(
            window_us_by_kind=window_us_by_kind,
            weight_by_kind=weight_by_kind,
            survey_weight=config.satisfaction.survey_weight,
            survey_neutral=config.satisfaction.survey_neutral,
            threshold=config.satisfaction.threshold,
            watermark_us=round(config.attribution.watermark.timestamp()) * 1_000_000,
            satisfaction_window_us=max(window_us_by_kind[kind] for kind in (*weight_by_kind, EngagementKind.SURVEY.value)),
        )


def data_config(files, has_history):
    """Configuration of the race: windows by default, satisfaction from signals and surveys, the last day evaluates.

    The watermark is the end of the last day, so that the youngest labels are masked.

    Args:
        files: `benchmarks.logs.LogFiles`.
        has_history: whether features of the past are asked for.

    Returns:
        `DataConfig`.
    """
    source = {name: getattr(files, name) for name in ("impressions", "engagements", "users", "items")}
    watermark = datetime.datetime.combine(START, datetime.time(), datetime.timezone.utc) + datetime.timedelta(days=NUM_DAYS)
    signals = ("like", "follow", "comment", "share", "profile_visit")
    return DataConfig.model_validate(
        {
            "source": {"kind": "events", **source},
            "user_columns": USER_COLUMNS,
            "item_columns": ITEM_COLUMNS,
            "attribution": {"watermark": watermark},
            "satisfaction": {
                "weights": {**dict.fromkeys(signals, 1.0), "hide": -1.0},
                "survey_weight": 0.5,
                "survey_neutral": 3.0,
            },
            "history": _HISTORY if has_history else None,
            "split": {"eval_days": 1},
        }
    )


def comparable(table):
    """Labels of a contender's output in one form: sorted by row, 0 where the mask is 0.

    Args:
        table: `pyarrow.Table` with `KEY_COLUMNS` and `LABEL_COLUMNS`.

    Returns:
        `pyarrow.Table` of these columns; labels and masks are float64.
    """
    columns = {name: table[name].cast(pa.string()) for name in KEY_COLUMNS}
    for label in LABELS:
        mask = table[mask_name(label)].cast(pa.float64())
        columns[label] = pc.multiply(table[label].cast(pa.float64()), mask)
        columns[mask_name(label)] = mask
    return pa.table(columns).sort_by([(name, "ascending") for name in KEY_COLUMNS])


def totals(table):
    """Number of rows and the sum of every label and mask.

    Args:
        table: as `comparable` returns it.

    Returns:
        Dict of numbers: "rows" and by `LABEL_COLUMNS`.
    """
    return {"rows": table.num_rows, **{name: pc.sum(table[name]).as_py() or 0.0 for name in LABEL_COLUMNS}}
