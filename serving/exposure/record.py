"""What was shown in one answer, and its rows in the log: one a shown item, in the columns that ingestion reads.

The columns of `data.schema.IMPRESSION_SCHEMA` stand under their own names, those of the context under theirs; the others say
how the answer came about. Times are whole milliseconds since 1970, UTC. `served_features` is the tf.Example of the row, in
base64, in answers of which the features are logged.
"""

import base64
import dataclasses
import json

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

SERVED_FEATURES = "served_features"
# As `data.schema.LABELS`.
PREDICTED_COLUMNS = ("predicted_click", "predicted_watch_seconds", "predicted_satisfaction")
# Attributes of `ShownItems`.
_NUMBER_BY_COLUMN = {
    **dict(zip(PREDICTED_COLUMNS, ("click", "watch_seconds", "satisfaction"), strict=True)),
    "score": "score",
    "propensity": "propensity",
}

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


@dataclasses.dataclass(frozen=True, eq=False)
class ShownItems:
    """What was shown, first to last; numbers are (items,) float arrays.

    Attributes:
        item_ids: list of ids.
        click: predicted click probabilities; NaN where no model predicted.
        watch_seconds: predicted watch times; NaN where no model predicted.
        satisfaction: predicted satisfaction probabilities; NaN where no model predicted.
        score: what the items were ordered by; NaN where unknown.
        propensity: probabilities of (0, 1] with which each item was shown in its place.
    """

    item_ids: list
    click: np.ndarray
    watch_seconds: np.ndarray
    satisfaction: np.ndarray
    score: np.ndarray
    propensity: np.ndarray

    def __len__(self):
        return len(self.item_ids)


@dataclasses.dataclass(frozen=True, eq=False)
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
        items: `ShownItems`.
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
    items: ShownItems
    examples: tuple[bytes, ...] = ()


def exposure_lines(*exposures):
    """Rows of answers as JSON lines; positions count from 1.

    They are put together by column in Arrow, which leaves the interpreter to who answers: an answer may hold hundreds of items.

    Args:
        *exposures: `Exposure`s.

    Returns:
        Bytes that end with a line feed; none for answers without items.
    """
    exposures = [exposure for exposure in exposures if len(exposure.items)]
    if not exposures:
        return b""
    counts = np.array([len(exposure.items) for exposure in exposures])
    answers = pa.array(np.repeat(np.arange(len(exposures)), counts))
    starts = np.repeat(np.cumsum(counts) - counts, counts)
    positions = pa.array(np.arange(len(starts)) - starts + 1).cast(pa.string())
    pieces = [
        pa.array([_head(exposure) for exposure in exposures], pa.large_string()).take(answers), positions,
        '", "item_id": ', pa.array([text for exposure in exposures for text in _texts(exposure.items.item_ids)]),
        ', "position": ', positions,
        *_numbers(exposures),
        *_served_features(exposures),
        "}\n", "",
    ]  # fmt: skip
    pieces = [pa.scalar(each, pa.large_string()) if isinstance(each, str) else each.cast(pa.large_string()) for each in pieces]
    _, _, content = pc.binary_join_element_wise(*pieces).buffers()
    return content.to_pybytes()


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


def _texts(values):
    """Strings as JSON, in which no line feed stands as it is."""
    return json.dumps(values, ensure_ascii=False, separators=("\n", ":"))[1:-1].split("\n")


def _numbers(exposures):
    """The columns of numbers, each behind its name, as JSON, which has neither NaN nor infinity."""
    columns = [getattr(exposure.items, name) for name in _NUMBER_BY_COLUMN.values() for exposure in exposures]
    values = pa.array(np.concatenate(columns, dtype=np.float64))
    texts = pc.if_else(pc.is_finite(values), values.cast(pa.large_string()), pa.scalar("null", pa.large_string()))
    size = len(texts) // len(_NUMBER_BY_COLUMN)
    for place, column in enumerate(_NUMBER_BY_COLUMN):
        yield f', "{column}": '
        yield texts.slice(place * size, size)
