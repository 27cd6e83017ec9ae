"""What was shown in one answer, and its rows in the log: one a shown item, in the columns that ingestion reads.

The columns of `data.schema.IMPRESSION_SCHEMA` stand under their own names, those of the context under theirs; the others say
how the answer came about. Times are whole milliseconds since 1970, UTC. `served_features` is the tf.Example of the row, in
base64, in answers of which the features are logged.
"""

import base64
import dataclasses
import json
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

SERVED_FEATURES = "served_features"
# As `data.schema.LABELS`.
PREDICTED_COLUMNS = ("predicted_click", "predicted_watch_seconds", "predicted_satisfaction")

# Types of the columns that every row has, the last one in some answers alone, for segments in a format with types.
ROW_SCHEMA = pa.schema(
    [
        pa.field("impression_id", pa.string()),
        pa.field("request_id", pa.string()),
        pa.field("user_id", pa.string()),
        pa.field("item_id", pa.string()),
        pa.field("position", pa.int64()),
        pa.field("surface", pa.string()),
        pa.field("impressed_at", pa.int64()),
        pa.field("model_version", pa.string()),
        pa.field("arm", pa.string()),
        pa.field("propensity", pa.float32()),
        pa.field("features_version", pa.int64()),
        pa.field("is_degraded", pa.bool_()),
        pa.field("num_shown", pa.int64()),
        pa.field("predicted_click", pa.float64()),
        pa.field("predicted_watch_seconds", pa.float64()),
        pa.field("predicted_satisfaction", pa.float64()),
        pa.field("score", pa.float64()),
        pa.field(SERVED_FEATURES, pa.string()),
    ]
)


class ShownItem(NamedTuple):
    """One shown item.

    Attributes:
        item_id: id of the item.
        click: predicted click probability; NaN where no model predicted.
        watch_seconds: predicted watch time; NaN where no model predicted.
        satisfaction: predicted satisfaction probability; NaN where no model predicted.
        score: what the items were ordered by; NaN where unknown.
        propensity: probability of (0, 1] with which the item was shown in its place.
    """

    item_id: str
    click: float
    watch_seconds: float
    satisfaction: float
    score: float
    propensity: float


@dataclasses.dataclass(frozen=True)
class Exposure:
    """What one answer showed.

    Attributes:
        request_id: unique among all requests.
        user_id: id of the user.
        answered_at_ms: milliseconds since 1970, UTC.
        arm: of the user.
        model_version: version that predicted, as text; empty where none did.
        features_version: number of the publication that features came from.
        is_degraded: whether the answer was a fallback.
        context: value by column of the request, the surface among them.
        items: tuple of `ShownItem`, first to last.
        examples: serialized tf.Example of each item as the model saw it, as bytes; empty where they are not logged.
    """

    request_id: str
    user_id: str
    answered_at_ms: int
    arm: str
    model_version: str
    features_version: int
    is_degraded: bool
    context: dict
    items: tuple[ShownItem, ...]
    examples: tuple[bytes, ...] = ()


def exposure_lines(*exposures):
    """Rows of answers as JSON lines; positions count from 1.

    They are put together by column, many at a time: an answer may hold hundreds of items.

    Args:
        *exposures: `Exposure`s.

    Returns:
        Bytes that end with a line feed; none for answers without items.
    """
    exposures = [exposure for exposure in exposures if exposure.items]
    if not exposures:
        return b""
    columns = zip(*(item for exposure in exposures for item in exposure.items), strict=True)
    item_ids, clicks, watches, satisfactions, scores, propensities = columns
    counts = np.array([len(exposure.items) for exposure in exposures])
    answers = pa.array(np.repeat(np.arange(len(exposures)), counts))
    starts = np.repeat(np.cumsum(counts) - counts, counts)
    positions = pa.array(np.arange(len(starts)) - starts + 1).cast(pa.string())
    pieces = [
        pa.array([_head(exposure) for exposure in exposures], pa.large_string()).take(answers), positions,
        '", "item_id": ', pa.array([json.dumps(item_id, ensure_ascii=False) for item_id in item_ids]),
        ', "position": ', positions,
        ', "predicted_click": ', _numbers(clicks),
        ', "predicted_watch_seconds": ', _numbers(watches),
        ', "predicted_satisfaction": ', _numbers(satisfactions),
        ', "score": ', _numbers(scores),
        ', "propensity": ', _numbers(propensities),
        *_served_features(exposures),
        "}\n", "",
    ]  # fmt: skip
    pieces = [pa.scalar(each, pa.large_string()) if isinstance(each, str) else each.cast(pa.large_string()) for each in pieces]
    return "".join(pc.binary_join_element_wise(*pieces).to_pylist()).encode()


def _head(exposure):
    """What the rows of an answer begin with, up to the position in the id of the impression."""
    shared = {
        # A column of the context that has the name of one of ours would stand in the row twice.
        **{name: value for name, value in exposure.context.items() if name not in ROW_SCHEMA.names},
        "request_id": exposure.request_id,
        "user_id": exposure.user_id,
        "surface": exposure.context.get("surface"),
        "impressed_at": exposure.answered_at_ms,
        "model_version": exposure.model_version,
        "arm": exposure.arm,
        "features_version": exposure.features_version,
        "is_degraded": exposure.is_degraded,
        "num_shown": len(exposure.items),
    }
    prefix = json.dumps(f"{exposure.request_id}:", ensure_ascii=False)[:-1]
    return f'{json.dumps(shared, ensure_ascii=False)[:-1]}, "impression_id": {prefix}'


def _served_features(exposures):
    """The column of serialized examples, absent from rows without one; nothing where no row has one."""
    if not any(exposure.examples for exposure in exposures):
        return []
    return [
        pa.array(
            [
                f', "{SERVED_FEATURES}": "{base64.b64encode(example).decode()}"' if example else ""
                for exposure in exposures
                for example in exposure.examples or [b""] * len(exposure.items)
            ]
        )
    ]


def _numbers(values):
    """Numbers as JSON, which has neither NaN nor infinity."""
    array = pa.array(values, pa.float64())
    return pc.if_else(pc.is_finite(array), array.cast(pa.string()), "null")
