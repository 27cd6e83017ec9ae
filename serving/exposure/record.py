"""What was shown in one answer, and its rows in the log: one a shown item, in the columns that ingestion reads.

The columns of `data.schema.IMPRESSION_SCHEMA` stand under their own names, those of the context under theirs; the others say
how the answer came about. Times are whole milliseconds since 1970, UTC.
"""

import dataclasses
import json
import math
from typing import NamedTuple

import pyarrow as pa

# Types of the columns that every row has, for segments in a format with types.
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


def exposure_lines(exposure):
    """Rows of one answer as JSON lines; positions count from 1.

    Args:
        exposure: `Exposure`.

    Returns:
        Bytes that end with a line feed; none for an answer without items.
    """
    shared = {
        **exposure.context,
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
    head = json.dumps(shared, ensure_ascii=False)[:-1]
    prefix = json.dumps(f"{exposure.request_id}:", ensure_ascii=False)[:-1]
    # As json.dumps would write it, in a third of the time: an answer may hold hundreds of items.
    lines = [
        f'{head}, "impression_id": {prefix}{position}", "item_id": {json.dumps(item.item_id, ensure_ascii=False)}, '
        f'"position": {position}, "predicted_click": {_number(item.click)}, '
        f'"predicted_watch_seconds": {_number(item.watch_seconds)}, "predicted_satisfaction": {_number(item.satisfaction)}, '
        f'"score": {_number(item.score)}, "propensity": {_number(item.propensity)}}}\n'
        for position, item in enumerate(exposure.items, start=1)
    ]
    return "".join(lines).encode("utf-8", "surrogatepass")


def _number(value):
    """The number as JSON, which has neither NaN nor infinity."""
    return repr(value) if math.isfinite(value) else "null"
