"""Categorical transforms for tf.Transform: ids by vocabulary or by hash, and crosses of several categories.

Shapes: B batch.
"""

import tensorflow as tf
import tensorflow_transform as tft

from models.vocabularies import vocabulary_files


def category_ids(columns, features):
    """Ids of categories, sequences and crosses.

    Args:
        columns: values by feature name: (batch,) strings or integers of a category, (batch, entries) ragged strings of a
            sequence. Crosses need the columns that they are of.
        features: feature configurations of these kinds.

    Returns:
        Dict from name to int64: (batch,) ids of categories and crosses; of sequences (batch, max_length), 1 + id of an entry
        and 0 after the last one.
    """
    owners = {feature.name: feature for feature in features if _has_vocabulary(feature)}
    files = vocabulary_files(
        {name: getattr(columns[name], "values", columns[name]) for name in owners},
        {name: feature.min_count for name, feature in owners.items()},
    )
    by_name = {feature.name: feature for feature in features}
    ids = {}
    for feature in features:
        if feature.kind == "cross":
            ids[feature.name] = crossed([columns[name] for name in feature.of], feature.hash_buckets)
            continue
        owner = by_name[feature.shares or feature.name]
        column = _looked_up(columns[feature.name], owner, files.get(owner.name), feature.name)
        if feature.kind == "sequence":
            column = (column + 1).to_tensor(default_value=0, shape=[None, feature.max_length])
        ids[feature.name] = column
    return ids


def crossed(columns, hash_buckets):
    """Bucket of every row's combination of values.

    Every value stands behind its length in bytes, so that two combinations never make one string: joined by a separator,
    ("a-", "b") and ("a", "-b") might.

    Args:
        columns: (batch,) tensors of strings or integers; a batch of 1 goes with every row of the others.
        hash_buckets: number of buckets.

    Returns:
        (batch,) int64 in [0, hash_buckets).
    """
    shape = tf.shape(columns[0])
    for column in columns[1:]:
        shape = tf.broadcast_dynamic_shape(shape, tf.shape(column))
    parts = []
    for column in columns:
        values_B = _as_strings(column)
        parts += [tf.strings.as_string(tf.strings.length(values_B)), ":", values_B]
    parts = [part if isinstance(part, str) else tf.broadcast_to(part, shape) for part in parts]
    return hashed(tf.strings.join(parts), hash_buckets)


def hashed(values, hash_buckets):
    """Bucket of every value: its FarmHash fingerprint modulo the number of buckets, the same on every machine.

    Args:
        values: strings or integers of any shape, dense or ragged; integers count by their decimal string.
        hash_buckets: number of buckets.

    Returns:
        int64 of the same shape in [0, hash_buckets).
    """
    if isinstance(values, tf.RaggedTensor):
        return values.with_flat_values(hashed(values.flat_values, hash_buckets))
    return tf.strings.to_hash_bucket_fast(_as_strings(values), hash_buckets)


def _as_strings(values):
    return values if values.dtype == tf.string else tf.strings.as_string(values)


def _looked_up(column, owner, file, name):
    if file is None:
        return hashed(column, owner.hash_buckets)
    return tft.apply_vocabulary(column, file, num_oov_buckets=owner.num_oov_buckets, name=name)


def _has_vocabulary(feature):
    """Whether a vocabulary is made of the feature's own column."""
    if feature.kind == "categorical":
        return feature.shares is None and feature.hash_buckets is None
    return feature.kind == "sequence" and feature.shares is None
