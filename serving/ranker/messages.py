"""Between the protocol's messages and queries and answers."""

import functools

import numpy as np

from serving.errors import CandidateError, FeatureValueError
from serving.protos import ranker_pb2
from serving.ranker.answering import Query
from serving.wire import varint

# Tags of ranker.proto: RankResponse.items; RankedItem's item_id; then the fields behind it, which have the same length in all.
_ITEMS_TAG, _ITEM_ID_TAG = b"\x12", b"\x0a"
_TAG_BY_FIELD = {"click": 0x11, "watch_seconds": 0x19, "satisfaction": 0x21, "score": 0x29, "is_known": 0x30}
_FIELDS = np.dtype([(name, [("tag", "u1"), ("value", "u1" if name == "is_known" else "<f8")]) for name in _TAG_BY_FIELD])
# What is said once and repeated for a thousand candidates must be short: else a request of a few megabytes fills the memory.
_MAX_ROW_BYTES = 4_096
_MAX_FEATURES_BYTES = 16_384
# A number becomes one of 32 bits; what is greater would be infinite.
_MAX_NUMBER = float(np.finfo(np.float32).max)


def query_of(request, timeout_seconds, max_candidates, is_wanted_fn=lambda: True):
    """The query that a message asks.

    Args:
        request: `RankRequest`.
        timeout_seconds: how long an answer is of use.
        max_candidates: most candidates of this method.
        is_wanted_fn: says whether somebody still waits for the answer.

    Returns:
        `serving.ranker.answering.Query`.

    Raises:
        FeatureValueError: If a number is not finite in 32 bits, values are too long, or a column is given for all candidates
            and for some.
        CandidateError: If the user is not named, or k or the deadline is negative.
    """
    if not request.user_id:
        raise CandidateError("user_id must be given. Received: ''")
    for name in ("k", "deadline_ms"):
        if getattr(request, name) < 0:
            raise CandidateError(f"{name} must not be negative. Received: {getattr(request, name)}")
    _check_sizes(request)
    features = {name: _value(name, value) for name, value in request.features.items()}
    for name, by_item in request.features_by_item.items():
        if name in features:
            raise FeatureValueError(f"feature {name} must be given for all candidates or for some. Received: both")
        features[name] = {item_id: _value(name, value) for item_id, value in by_item.values.items()}
    return Query(
        user_id=request.user_id,
        candidates=tuple(request.candidates),
        candidate_set=request.candidate_set,
        context={name: _value(name, value) for name, value in request.context.items()},
        features=features,
        k=request.k,
        request_id=request.request_id,
        timeout_seconds=timeout_seconds,
        max_candidates=max_candidates,
        is_wanted_fn=is_wanted_fn,
    )


def _check_sizes(request):
    row_bytes = len(request.user_id) + len(request.request_id) + _num_bytes(request.context)
    if row_bytes > _MAX_ROW_BYTES:
        raise FeatureValueError(
            f"user_id, request_id and context must take at most {_MAX_ROW_BYTES} bytes together, as they stand in every row of "
            f"the exposure log. Received: {row_bytes}"
        )
    if (features_bytes := _num_bytes(request.features)) > _MAX_FEATURES_BYTES:
        raise FeatureValueError(
            f"features for all candidates must take at most {_MAX_FEATURES_BYTES} bytes together. Received: {features_bytes}"
        )
    for name, by_item in request.features_by_item.items():
        longest = max((value.ByteSize() for value in by_item.values.values()), default=0)
        if longest > _MAX_FEATURES_BYTES:
            raise FeatureValueError(
                f"feature {name} must take at most {_MAX_FEATURES_BYTES} bytes an item. Received: {longest}"
            )


def _num_bytes(columns):
    return sum(len(name) + value.ByteSize() for name, value in columns.items())


def response_bytes(answer, start=0, stop=None):
    """The message of an answer, or of a stretch of it, as it travels.

    Made here, as protobuf takes four times as long for a message of 500 items.

    Args:
        answer: `serving.ranker.answering.Answer`.
        start: first item.
        stop: the item behind the last; None for the end.

    Returns:
        Bytes of a `RankResponse`.
    """
    head = ranker_pb2.RankResponse(
        request_id=answer.request_id,
        arm=answer.arm,
        model_version=answer.model_version,
        features_version=answer.features_version,
        is_degraded=bool(answer.degradations),
        degradations=[degradation.value for degradation in answer.degradations],
        is_known_user=answer.is_known_user,
        num_unknown_items=answer.num_unknown_items,
    )
    item_ids = [item_id.encode() for item_id in answer.items.item_ids[start:stop]]
    values = {**vars(answer.items), "is_known": answer.are_known}
    fields = np.empty(len(item_ids), _FIELDS)
    for name, tag in _TAG_BY_FIELD.items():
        fields[name]["tag"], fields[name]["value"] = tag, values[name][start:stop]
    pieces = [head.SerializeToString()]
    for item_id, rest in zip(item_ids, fields.view(f"V{_FIELDS.itemsize}").tolist(), strict=True):
        pieces += (_item_head(len(item_id)), item_id, rest)
    return b"".join(pieces)


@functools.lru_cache(maxsize=1_024)
def _item_head(id_length):
    """What stands before the id of an item."""
    id_head = _ITEM_ID_TAG + varint(id_length)
    return _ITEMS_TAG + varint(len(id_head) + id_length + _FIELDS.itemsize) + id_head


def value_message(value):
    """The message of a value of a column, for who asks.

    Args:
        value: str, int, float, a list of str or of numbers, or None.

    Returns:
        `Value`.
    """
    if value is None:
        return ranker_pb2.Value()
    if isinstance(value, str):
        return ranker_pb2.Value(text=value)
    if isinstance(value, int):
        return ranker_pb2.Value(integer=value)
    if isinstance(value, float):
        return ranker_pb2.Value(number=value)
    if all(isinstance(one, str) for one in value):
        return ranker_pb2.Value(texts=ranker_pb2.Strings(values=value))
    return ranker_pb2.Value(numbers=ranker_pb2.Numbers(values=value))


def _value(name, message):
    kind = message.WhichOneof("kind")
    if kind is None:
        return None
    value = getattr(message, kind)
    value = list(value.values) if kind in ("texts", "numbers") else value
    numbers = value if kind == "numbers" else [value] if kind == "number" else []
    if not all(abs(number) <= _MAX_NUMBER for number in numbers):
        raise FeatureValueError(f"feature {name} must hold finite numbers of 32 bits. Received: {str(value)[:80]}")
    return value
