"""Rows of a feed with users that keep their traits, as decoded tf.Examples, for the skew watch to compare."""

import numpy as np
import pyarrow as pa

_NUM_ITEMS = 400


def feed(seed, num_users, rows_by_user=10):
    """Columns of a feed, (rows,) or (rows, entries) by name; items and the kinds of users are always the same."""
    items, rng = np.random.default_rng(99), np.random.default_rng(seed)
    duration = items.lognormal(3.0, 1.0, _NUM_ITEMS).astype(np.float32)
    category = items.choice(["music", "sport", "news", "games"], _NUM_ITEMS, p=[0.5, 0.25, 0.2, 0.05])
    popularity = 1 / np.arange(1, _NUM_ITEMS + 1) ** 0.7
    segment = rng.choice(["new", "casual", "core"], num_users, p=[0.2, 0.5, 0.3])
    # Whoever is new has the prior, as a third of the users do.
    rate = np.where(rng.random(num_users) < 0.33, 0.36, rng.beta(2, 5, num_users)).astype(np.float32)
    users = np.repeat(np.arange(num_users), rng.poisson(rows_by_user, num_users) + 1)
    shown = rng.choice(_NUM_ITEMS, len(users), p=popularity / popularity.sum())
    return {
        "user_id": np.array([f"user {seed}.{user}" for user in users], object),
        "item_id": np.array([f"item {item}" for item in shown], object),
        "segment": segment[users].astype(object),
        "category": category[shown].astype(object),
        "duration_seconds": duration[shown],
        "user_history": np.stack([rate[users], 10 * rate[users]], axis=1),
        "hour": rng.integers(0, 24, len(users)),
        "is_weekend": (rng.random(len(users)) < 0.04).astype(np.int64),
        "click": rng.integers(0, 2, len(users)).astype(np.float32),
    }


def batch_of(columns):
    """A record batch of lists; a None is a row without a value."""
    arrays = {}
    for name, column in columns.items():
        rows = [each if each is None or np.ndim(each) else [each] for each in column]
        if isinstance(rows[0], list) and isinstance(rows[0][0], str):
            rows = [None if each is None else [value.encode() for value in each] for each in rows]
        type_ = pa.float32() if np.asarray(column).dtype == np.float32 else None
        arrays[name] = pa.array(rows, pa.list_(type_)) if type_ else pa.array(rows)
    return pa.record_batch(list(arrays.values()), names=list(arrays))
