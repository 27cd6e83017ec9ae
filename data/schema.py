"""The contract between logs, ranker and service: the columns of impressions, engagements and labelled rows.

Every log source produces `IMPRESSION_SCHEMA` and `ENGAGEMENT_SCHEMA` (plus declared context columns); everything after
ingestion sees labelled rows: an impression's columns, the declared user and item columns, and per task a label and a mask.
"""

import enum

import pyarrow as pa

TIMESTAMP = pa.timestamp("us", tz="UTC")


class EngagementKind(str, enum.Enum):
    """What a user did with an item; the values are those that logs carry in `kind`."""

    CLICK = "click"
    PLAY = "play"
    LIKE = "like"
    FOLLOW = "follow"
    COMMENT = "comment"
    SHARE = "share"
    PROFILE_VISIT = "profile_visit"
    HIDE = "hide"
    SURVEY = "survey"


class ColumnType(str, enum.Enum):
    """Types that a declared context, user or item column may have."""

    STRING = "string"
    INT = "int"
    FLOAT = "float"


ARROW_TYPE_BY_COLUMN_TYPE = {
    ColumnType.STRING: pa.string(),
    ColumnType.INT: pa.int64(),
    ColumnType.FLOAT: pa.float32(),
}

# One row a shown item. `day` groups rows for evaluation: the log's own day where it has one, else the day of
# `impressed_at` in the configured time zone. `position` counts from 1. `propensity` is in (0, 1].
IMPRESSION_SCHEMA = pa.schema(
    [
        pa.field("impression_id", pa.string(), nullable=False),
        pa.field("request_id", pa.string()),
        pa.field("user_id", pa.string(), nullable=False),
        pa.field("item_id", pa.string(), nullable=False),
        pa.field("position", pa.int64()),
        pa.field("surface", pa.string()),
        pa.field("impressed_at", TIMESTAMP, nullable=False),
        pa.field("day", pa.string()),
        pa.field("model_version", pa.string()),
        pa.field("arm", pa.string()),
        pa.field("propensity", pa.float32()),
    ]
)

# One row a signal. Either `impression_id` or both `user_id` and `item_id` are present. `watch_seconds` and
# `duration_seconds` belong to plays, `score` to surveys.
ENGAGEMENT_SCHEMA = pa.schema(
    [
        pa.field("event_id", pa.string(), nullable=False),
        pa.field("impression_id", pa.string()),
        pa.field("user_id", pa.string()),
        pa.field("item_id", pa.string()),
        pa.field("kind", pa.string(), nullable=False),
        pa.field("engaged_at", TIMESTAMP, nullable=False),
        pa.field("watch_seconds", pa.float64()),
        pa.field("duration_seconds", pa.float64()),
        pa.field("score", pa.float64()),
    ]
)

DEAD_LETTER_SCHEMA = pa.schema(
    [
        pa.field("log", pa.string(), nullable=False),
        pa.field("file", pa.string(), nullable=False),
        pa.field("line", pa.int64(), nullable=False),
        pa.field("reason", pa.string(), nullable=False),
        pa.field("record", pa.string(), nullable=False),
    ]
)

CLICK = "click"
WATCH_SECONDS = "watch_seconds"
SATISFACTION = "satisfaction"
LABELS = (CLICK, WATCH_SECONDS, SATISFACTION)

# In a tf.Example a timestamp travels as whole milliseconds since 1970, UTC.
IMPRESSED_AT_MS = "impressed_at_ms"

# Probability with which negative sampling kept a row, in (0, 1].
SAMPLING_RATE = "sampling_rate"

# Columns that identify or describe a row but that no model may read: after the fact, or an identity of the row itself.
KEY_COLUMNS = ("impression_id", "request_id", "day", IMPRESSED_AT_MS, "model_version", "arm", "propensity", SAMPLING_RATE)

TRAIN_SPLIT = "train"
# Stops training, fits calibration and is tuned on; absent where no day is set aside for it.
VALIDATION_SPLIT = "validation"
EVAL_SPLIT = "eval"
SPLITS = (TRAIN_SPLIT, VALIDATION_SPLIT, EVAL_SPLIT)

# Value of a threshold that makes satisfaction a grade within 0 and 1.
GRADED = "graded"

# Columns of published tables from which ages follow when a request comes in; whole milliseconds since 1970, UTC.
LAST_IMPRESSED_AT_MS = "last_impressed_at_ms"
FIRST_IMPRESSED_AT_MS = "first_impressed_at_ms"
PUBLISHED_AT_MS = "published_at_ms"

USERS_TABLE = "users.parquet"
ITEMS_TABLE = "items.parquet"
# Aggregates of those who are in no table, as JSON: list of numbers by column.
EMPTY_HISTORY_FILE = "empty_history.json"
# How columns of buckets follow from others, as JSON: column, type and edges by name.
BUCKETS_FILE = "buckets.json"


def mask_name(label):
    """Name of the column that says, 1.0 or 0.0, whether a row's `label` is known.

    Args:
        label: one of `LABELS`.

    Returns:
        Column name.
    """
    return f"{label}_mask"


def weight_name(label):
    """Name of the column with the weight of a row's `label` in training, where delayed labels are weighted.

    Args:
        label: one of `LABELS`.

    Returns:
        Column name.
    """
    return f"{label}_weight"


def pair_table_name(column):
    """File name of the table of users with the values of a column.

    Args:
        column: of items, or of the context.

    Returns:
        File name.
    """
    return f"user_id_x_{column}.parquet"
