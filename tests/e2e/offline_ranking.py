"""Rankings without a service: rows put together from the published files in plain Python, the SavedModel in this process."""

import bisect
import json
import math

import numpy as np
import pyarrow.parquet as pq
import tensorflow as tf

from data.schema import LABELS
from serving.protos import ranker_pb2
from serving.ranker.messages import value_message

_BATCH_ROWS = 2_000
# In 32 bits the same rows, parted into other batches, differ by 1.1e-6 of the seconds in one process already.
SAME_ARITHMETIC = 2e-6
# A process that serves multiplies by oneDNN, which adds up in another order.
OTHER_ARITHMETIC = 1e-5


class OfflineRanking:
    """Predictions of one version for requests, from the files that the pipeline published."""

    def __init__(self, features_folder, version_folder):
        self._empty = json.loads((features_folder / "empty_history.json").read_text())
        self._buckets = json.loads((features_folder / "buckets.json").read_text())
        self._users = _rows_by_key(features_folder / "users.parquet", self._empty)
        self._items = _rows_by_key(features_folder / "items.parquet", self._empty)
        self._pairs = {}
        for path in features_folder.glob("user_id_x_*.parquet"):
            table = pq.read_table(path)
            user_column, column, *vectors = table.column_names
            for row in table.to_pylist():
                for vector in vectors:
                    self._pairs.setdefault((column, vector), {})[row[user_column], row[column]] = row[vector]
        assert self._pairs
        self._predict = tf.saved_model.load(str(version_folder)).signatures["serving_default"]

    @property
    def ids(self):
        """Ids of all users, and of all items."""
        return sorted(self._users.keys() - {None}), sorted(self._items.keys() - {None})

    def random_requests(self, number, seed):
        """Requests with what a client may say, unheard ids and values among it; by name, what they say as plain values."""
        random = np.random.default_rng(seed)
        users, items = self.ids

        def chance(share):
            return random.random() < share

        for place in range(number):
            user_id = f"unheard {place}" if chance(0.1) else str(random.choice(users))
            item_ids = [*map(str, random.choice(items, random.integers(1, 12), replace=False))]
            item_ids += [f"unheard {place}", f"unheard also {place}"] if chance(0.3) else []
            context = {"surface": str(random.choice(["feed", "search", "nowhere"]))} if chance(0.8) else {}
            context |= {"position": int(random.integers(1, 12))} if chance(0.2) else {}
            features, by_item = {}, {}
            if chance(0.2):
                features["age_group"] = str(random.choice(["18-24", "never seen"]))
            if chance(0.2):
                features["user_history"] = [float(each) for each in random.uniform(0, 20, len(self._empty["user_history"]))]
            if chance(0.2):
                features["duration_seconds"] = float(random.uniform(1, 60))
            elif chance(0.2):
                chosen = random.choice(item_ids, random.integers(1, len(item_ids) + 1), replace=False)
                by_item["duration_seconds"] = {str(item_id): float(random.uniform(1, 60)) for item_id in chosen}
            if chance(0.2):
                by_item["category"] = {item_ids[0]: "never seen"}
            yield {"user_id": user_id, "item_ids": item_ids, "context": context, "features": features, "by_item": by_item}

    def rows(self, asked):
        """Columns of each candidate of a request: what the request says of it, of all, then what the tables say."""
        user = self._users.get(asked["user_id"], self._users[None]) | {"user_id": asked["user_id"]}
        for item_id in asked["item_ids"]:
            own = {name: values[item_id] for name, values in asked["by_item"].items() if item_id in values}
            given = {**asked["context"], **asked["features"], **own}
            row = {**self._items.get(item_id, self._items[None]), "item_id": item_id, **user, **given}
            for name, bucket in self._buckets.items():
                if bucket["column"] in given:
                    edges = [float(np.float32(edge)) for edge in bucket["edges"]]
                    row[name] = str(bisect.bisect_right(edges, float(np.float32(row[bucket["column"]]))))
            for (column, vector), numbers in self._pairs.items():
                row[vector] = numbers.get((asked["user_id"], row.get(column)), self._empty[vector])
            yield row

    def predictions(self, rows):
        """(rows,) arrays in the order of `LABELS`."""
        examples = [_example(row) for row in rows]
        parts = [
            self._predict(tf.constant(examples[start : start + _BATCH_ROWS])) for start in range(0, len(examples), _BATCH_ROWS)
        ]
        return [np.concatenate([part[label].numpy() for part in parts]) for label in LABELS]


def request_message(asked):
    """A request as it travels."""
    by_item = {
        name: ranker_pb2.ValueByItem(values={item_id: value_message(value) for item_id, value in values.items()})
        for name, values in asked["by_item"].items()
    }
    return ranker_pb2.RankRequest(
        user_id=asked["user_id"],
        candidates=asked["item_ids"],
        context={name: value_message(value) for name, value in asked["context"].items()},
        features={name: value_message(value) for name, value in asked["features"].items()},
        features_by_item=by_item,
    )


def blended(click, watch_seconds, satisfaction):
    """The default blend."""
    return click * math.sqrt(1 + watch_seconds) * math.sqrt(satisfaction)


def check_ranking(items, predictions_by_item, tolerance=SAME_ARITHMETIC):
    """Holds an answer to offline predictions; of scores that differ by no more than these may, either may come first."""
    assert sorted(item.item_id for item in items) == sorted(predictions_by_item)
    for item in items:
        wanted = predictions_by_item[item.item_id]
        np.testing.assert_allclose((item.click, item.watch_seconds, item.satisfaction), wanted, rtol=tolerance, atol=1e-6)
    scores = [blended(*predictions_by_item[item.item_id]) for item in items]
    for place in range(1, len(items)):
        before, after = items[place - 1], items[place]
        assert scores[place - 1] >= scores[place] * (1 - 2 * tolerance)
        assert before.score > after.score or before.item_id < after.item_id


def _rows_by_key(path, empty):
    """Rows by id, histories that are absent as the empty ones; under None what is said of an id that is not there."""
    table = pq.read_table(path)
    key = table.column_names[0]
    histories = {name: empty[name] for name in table.column_names if name in empty}
    rows = {None: histories}
    for row in table.to_pylist():
        rows[row[key]] = {
            name: histories[name] if value is None and name in histories else value for name, value in row.items()
        }
    return rows


def _example(row):
    example = tf.train.Example()
    for name, value in row.items():
        values = value if isinstance(value, list) else [] if value is None else [value]
        feature = example.features.feature[name]
        if values and isinstance(values[0], str):
            feature.bytes_list.value.extend(each.encode() for each in values)
        elif values and isinstance(values[0], int):
            feature.int64_list.value.extend(values)
        elif values:
            feature.float_list.value.extend(values)
        else:
            del example.features.feature[name]
    return example.SerializeToString()
