"""Serialized tf.Examples of one request, one for each candidate."""

import dataclasses
import numbers
import struct
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from tensorflow.core.example import example_pb2

from data.columns import ITEM_AGE_HOURS, USER_IDLE_HOURS
from data.schema import FIRST_IMPRESSED_AT_MS, LAST_IMPRESSED_AT_MS, PUBLISHED_AT_MS
from serving.errors import FeatureValueError
from serving.features.checks import ITEM_KEY, USER_KEY

_MS_PER_HOUR = 3_600_000
LISTS = (list, tuple, np.ndarray)
_FLOAT = struct.Struct("<f")


def encoded_example(columns):
    """Serialized tf.Example of one row.

    Args:
        columns: str, int, float, a list of one of them, or None by name; None and an empty list are absent from the example.

    Returns:
        bytes.

    Raises:
        FeatureValueError: If a value is of another type, or an integer has more than 64 bits.
    """
    example = example_pb2.Example()
    for name, value in columns.items():
        if _is_absent(value):
            continue
        values = list(value) if isinstance(value, LISTS) else [value]
        types = {type(one) for one in values}
        feature = example.features.feature[name]
        if all(issubclass(type_, str) for type_ in types):
            feature.bytes_list.value.extend(one.encode() for one in values)
        elif all(issubclass(type_, numbers.Integral) for type_ in types):
            try:
                feature.int64_list.value.extend(map(int, values))
            except ValueError as error:
                raise FeatureValueError(f"feature {name} must fit 64 bits. Received: {name}={value}") from error
        elif all(issubclass(type_, numbers.Real) for type_ in types):
            feature.float_list.value.extend(map(float, values))
        else:
            raise FeatureValueError(
                f"feature {name} must be a string or a number, or a list of either. Received: {name}={value!r}"
            )
    return example.SerializeToString()


def hours_since(at_ms, now_ms):
    """Hours from a time to now, as ingestion counts them.

    Args:
        at_ms: milliseconds since 1970, UTC; None where unknown.
        now_ms: the same.

    Returns:
        Float of at least 0, or None.
    """
    return None if at_ms is None else max(now_ms - at_ms, 0) / _MS_PER_HOUR


class MergedRequest(NamedTuple):
    """What a request says of all candidates, and of some.

    Attributes:
        user_id: id of the user.
        shared: value by column that is the same for every candidate: given features before the context before the user's
            before the buckets of these.
        by_item: given values by item id, by column, and buckets of them; they go before all others.
        histories: tuple of `serving.features.pairs.PairHistory`, as the publication's pairs.
    """

    user_id: str
    shared: dict
    by_item: dict
    histories: tuple


def merged_request(tables, user_id, context, features, now_ms, user=None):
    """Columns of a request that are no item's.

    Args:
        tables: `serving.features.store.Features`.
        user_id: id of the user.
        context: value by name of columns that are the same for every candidate.
        features: by column name, a value for every candidate, or a dict of values by item id. An integer for a float column
            of the tables becomes a float.
        now_ms: time of the request, milliseconds since 1970, UTC.
        user: `serving.features.store.UserFeatures` of the user; None to look them up.

    Returns:
        `MergedRequest`.

    Raises:
        FeatureValueError: If an id is given as a feature, or a value that has a bucket is not of its column's type.
    """
    _check_names(context)
    _check_names(features)
    float_columns = tables.float_columns | {ITEM_AGE_HOURS, USER_IDLE_HOURS}
    features = {name: _in_column_type(value, name in float_columns) for name, value in features.items()}
    by_item = {name: value for name, value in features.items() if isinstance(value, dict)}
    user = user or tables.user_features(user_id)
    columns = dict(user.columns)
    columns[USER_IDLE_HOURS] = hours_since(columns.pop(LAST_IMPRESSED_AT_MS, None), now_ms)
    shared = {**columns, **context, **{name: features[name] for name in features if name not in by_item}}
    request = MergedRequest(user_id, shared, by_item, user.histories)
    for bucketing in tables.bucketings:
        _add_buckets(request, bucketing)
    return request


def _add_buckets(request, bucketing):
    """Adds the buckets of what is given, for all candidates and for some, unless they are given themselves."""
    shared, by_item = request.shared, request.by_item
    if bucketing.name in shared:
        return
    if bucketing.column in shared:
        (shared[bucketing.name],) = _buckets_of(bucketing, [shared[bucketing.column]])
    if given := by_item.get(bucketing.column):
        buckets = _buckets_of(bucketing, list(given.values()))
        by_item[bucketing.name] = dict(zip(given, buckets, strict=True)) | by_item.get(bucketing.name, {})


def _buckets_of(bucketing, values):
    try:
        return bucketing.buckets_of(values).to_pylist()
    except (pa.ArrowException, OverflowError) as error:
        raise FeatureValueError(
            f"feature {bucketing.column} must be of type {bucketing.type.value}, as {bucketing.name} follows from it. "
            f"Received: {str(values)[:80]}"
        ) from error


def half_of_pair(pair, columns):
    """The value that the history of a pair goes by.

    Args:
        pair: `serving.features.pairs.Pair`.
        columns: value by column name.

    Returns:
        str, int, float, or None.

    Raises:
        FeatureValueError: If it is a list.
    """
    value = columns.get(pair.column)
    if isinstance(value, LISTS):
        raise FeatureValueError(f"feature {pair.column} must be one value, as {pair.vector} goes by it. Received: {value!r}")
    return value


@dataclasses.dataclass(frozen=True)
class _EncodedItem:
    """What of an item is the same in every request: its columns, the time from which it ages, its half of every pair."""

    columns: bytes
    since_ms: int | None
    values: tuple


class ExampleEncoder:
    """Serialized tf.Examples of users with candidates; remembers the encoded columns of every known item."""

    def __init__(self, tables):
        """An encoder that has seen no item yet.

        Args:
            tables: `serving.features.store.Features`.
        """
        self._tables = tables
        self._pairs = tables.pairs
        self._item_by_id = {}
        self._item_columns = tables.item_columns | {ITEM_AGE_HOURS, *(pair.vector for pair in tables.pairs)}

    def encode(self, user_id, item_ids, context, features, now_ms, user=None):
        """Examples of one user with each candidate.

        Where names meet, `features` go before `context`, then the user's columns, then the item's. The history of a pair is
        that of the item column's value in the example.

        Args:
            user_id: id of the user.
            item_ids: ids of the candidates.
            context: value by name of columns that are the same for every candidate.
            features: by column name, a value for every candidate, or a dict of values by item id. An integer for a float
                column of the tables becomes a float.
            now_ms: time of the request, milliseconds since 1970, UTC; ages follow from it.
            user: `serving.features.store.UserFeatures` of the user; None to look them up.

        Returns:
            List of bytes in the order of `item_ids`.

        Raises:
            FeatureValueError: If a value is of a type that no column has, or an id is given as a feature.
        """
        request = merged_request(self._tables, user_id, context, features, now_ms, user)
        shared, by_item, histories = request.shared, request.by_item, request.histories
        # A value for one item has to displace the shared one, and an absent one the item's own: such candidates are
        # encoded whole. The others are the item's encoded columns and the shared ones end to end, which protobuf
        # defines as the merger of both, the last value of a name winning.
        is_displaced = any(_is_absent(value) for name, value in shared.items() if name in self._item_columns)
        named = set(item_ids) if is_displaced else set().union(*by_item.values())
        examples = {}
        for row in self._tables.items([item_id for item_id in item_ids if item_id in named]):
            own = {name: values[row[ITEM_KEY]] for name, values in by_item.items() if row[ITEM_KEY] in values}
            examples[row[ITEM_KEY]] = self._whole_example(row, {**shared, **own}, histories, now_ms)
        joined = [item_id for item_id in item_ids if item_id not in named]
        examples |= zip(joined, self._joined_examples(joined, shared, histories, now_ms), strict=True)
        return [examples[item_id] for item_id in item_ids]

    def _whole_example(self, item, given, histories, now_ms):
        since_ms = _pop_since_ms(item)
        row = {**item, ITEM_AGE_HOURS: hours_since(since_ms, now_ms), **given}
        pairs = {pair.vector: history.of(half_of_pair(pair, row)) for pair, history in zip(self._pairs, histories, strict=True)}
        return encoded_example({**pairs, **row})

    def _joined_examples(self, item_ids, shared, histories, now_ms):
        encoded_shared = encoded_example(shared)
        age_head = _head_of_floats(ITEM_AGE_HOURS, 1)
        encoded_pairs = [_EncodedPairs(pair, history) for pair, history in zip(self._pairs, histories, strict=True)]
        given_values = [half_of_pair(pair, shared) for pair in self._pairs]
        examples = []
        for item in self._encoded_items(item_ids):
            example = item.columns
            if item.since_ms is not None:
                example += age_head + _FLOAT.pack(hours_since(item.since_ms, now_ms))
            for encoded, given, value in zip(encoded_pairs, given_values, item.values, strict=True):
                example += encoded[value if given is None else given]
            examples.append(example + encoded_shared)
        return examples

    def _encoded_items(self, item_ids):
        new = [item_id for item_id in item_ids if item_id not in self._item_by_id]
        if not new:
            return [self._item_by_id[item_id] for item_id in item_ids]
        encoded = {row[ITEM_KEY]: self._encoded_item(row) for row in self._tables.items(new)}
        self._item_by_id |= {item_id: item for item_id, item in encoded.items() if self._tables.has_item(item_id)}
        return [encoded.get(item_id) or self._item_by_id[item_id] for item_id in item_ids]

    def _encoded_item(self, row):
        since_ms = _pop_since_ms(row)
        return _EncodedItem(encoded_example(row), since_ms, tuple(row.get(pair.column) for pair in self._pairs))


class _EncodedPairs(dict):
    """Encoded history of one user by value of an item column; a value is encoded when it is first asked for."""

    def __init__(self, pair, history):
        super().__init__()
        self._head = _head_of_floats(pair.vector, len(pair.empty))
        self._history = history

    def __missing__(self, value):
        self[value] = self._head + self._history.of(value).astype("<f4").tobytes()
        return self[value]


def _head_of_floats(name, size):
    """All but the last bytes of an example with one column of so many floats: those are the floats, four bytes each."""
    return encoded_example({name: [1.0] * size})[: -_FLOAT.size * size]


def _pop_since_ms(item):
    """Takes the time from which an item ages out of its columns; a table has one of the two."""
    times = [item.pop(name, None) for name in (PUBLISHED_AT_MS, FIRST_IMPRESSED_AT_MS)]
    return next((at_ms for at_ms in times if at_ms is not None), None)


def _in_column_type(value, is_float):
    if isinstance(value, dict):
        return {item_id: _in_column_type(one, is_float) for item_id, one in value.items()}
    if isinstance(value, LISTS):
        return [_in_column_type(one, is_float) for one in value]
    return float(value) if is_float and isinstance(value, numbers.Integral) else value


def _is_absent(value):
    return value is None or (isinstance(value, LISTS) and len(value) == 0)


def _check_names(columns):
    given = sorted({USER_KEY, ITEM_KEY} & columns.keys())
    if given:
        raise FeatureValueError(f"{USER_KEY} and {ITEM_KEY} must come as ids, not as features. Received: {given}")
