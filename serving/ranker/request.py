"""Serialized tf.Examples of one request, one for each candidate."""

import numbers

from tensorflow.core.example import example_pb2

from serving.errors import FeatureValueError
from serving.features.tables import ITEM_KEY, USER_KEY


def encoded_example(columns):
    """Serialized tf.Example of one row.

    Args:
        columns: str, int, float or None by name; None is absent from the example.

    Returns:
        bytes.

    Raises:
        FeatureValueError: If a value is of another type, or an integer has more than 64 bits.
    """
    example = example_pb2.Example()
    for name, value in columns.items():
        if value is None:
            continue
        feature = example.features.feature[name]
        if isinstance(value, str):
            feature.bytes_list.value.append(value.encode())
        elif isinstance(value, numbers.Integral):
            try:
                feature.int64_list.value.append(int(value))
            except ValueError as error:
                raise FeatureValueError(f"feature {name} must fit 64 bits. Received: {name}={value}") from error
        elif isinstance(value, numbers.Real):
            feature.float_list.value.append(float(value))
        else:
            raise FeatureValueError(f"feature {name} must be a string or a number. Received: {name}={value!r}")
    return example.SerializeToString()


class ExampleEncoder:
    """Serialized tf.Examples of users with candidates; remembers the encoded columns of every known item."""

    def __init__(self, tables):
        """An encoder that has seen no item yet.

        Args:
            tables: `FeatureTables`.
        """
        self._tables = tables
        self._encoded_by_item = {}

    def encode(self, user_id, item_ids, context, features):
        """Examples of one user with each candidate.

        Where names meet, `features` go before `context`, then the user's columns, then the item's.

        Args:
            user_id: id of the user.
            item_ids: ids of the candidates.
            context: value by name of columns that are the same for every candidate.
            features: by column name, a value for every candidate, or a dict of values by item id. An integer for a float
                column of the tables becomes a float.

        Returns:
            List of bytes in the order of `item_ids`.

        Raises:
            FeatureValueError: If a value is of a type that no column has, or an id is given as a feature.
        """
        _check_names(context)
        _check_names(features)
        features = {name: self._in_column_type(name, value) for name, value in features.items()}
        by_item = {name: value for name, value in features.items() if isinstance(value, dict)}
        shared = {**self._tables.user(user_id), **context}
        shared |= {name: value for name, value in features.items() if name not in by_item}
        own = {
            item_id: {name: values[item_id] for name, values in by_item.items() if item_id in values} for item_id in item_ids
        }
        # A value for one item has to displace the shared one, and an absent one the item's own: such candidates are
        # encoded whole. The others are the item's encoded columns and the shared ones end to end, which protobuf
        # defines as the merger of both, the last value of a name winning.
        is_displaced = any(value is None for name, value in shared.items() if name in self._tables.item_columns)
        whole = [item_id for item_id in item_ids if is_displaced or own[item_id]]
        examples = {
            row[ITEM_KEY]: encoded_example({**row, **shared, **own[row[ITEM_KEY]]}) for row in self._tables.items(whole)
        }
        joined = [item_id for item_id in item_ids if item_id not in examples]
        encoded_shared = encoded_example(shared)
        for item_id, encoded_item in zip(joined, self._encoded_items(joined), strict=True):
            examples[item_id] = encoded_item + encoded_shared
        return [examples[item_id] for item_id in item_ids]

    def _in_column_type(self, name, value):
        if isinstance(value, dict):
            return {item_id: self._in_column_type(name, one) for item_id, one in value.items()}
        is_whole_number = isinstance(value, numbers.Integral)
        return float(value) if is_whole_number and name in self._tables.float_columns else value

    def _encoded_items(self, item_ids):
        new = [item_id for item_id in item_ids if item_id not in self._encoded_by_item]
        encoded = {row[ITEM_KEY]: encoded_example(row) for row in self._tables.items(new)}
        self._encoded_by_item |= {item_id: value for item_id, value in encoded.items() if self._tables.has_item(item_id)}
        return [encoded.get(item_id) or self._encoded_by_item[item_id] for item_id in item_ids]


def _check_names(columns):
    given = sorted({USER_KEY, ITEM_KEY} & columns.keys())
    if given:
        raise FeatureValueError(f"{USER_KEY} and {ITEM_KEY} must come as ids, not as features. Received: {given}")
