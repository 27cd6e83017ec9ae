"""Served models without training: what they predict stands in columns of the examples."""

import numpy as np
import tensorflow as tf

from data.schema import mask_name

LABELS = ("click", "watch_seconds", "satisfaction")


def save_model(folder, prefix, labels=LABELS):
    """Writes a model whose output of a label is the column `<prefix>_<label>`.

    Args:
        folder: of the SavedModel.
        prefix: of the columns.
        labels: of the outputs.
    """
    spec = {f"{prefix}_{label}": tf.io.FixedLenFeature([], tf.float32) for label in labels}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="examples")])
    def serve(examples):
        columns = tf.io.parse_example(examples, spec)
        return {label: columns[f"{prefix}_{label}"] for label in labels}

    tf.saved_model.save(tf.Module(), str(folder), signatures={"serving_default": serve})


def write_rows(folder, columns, num_files=2):
    """Writes rows as gzipped TFRecords of tf.Examples, as an ingestion leaves them.

    Args:
        folder: of a split; is made.
        columns: (rows,) values by name: floats, integers, strings, or lists of floats; a None is left out.
        num_files: among which rows are dealt.
    """
    folder.mkdir(parents=True)
    names = list(columns)
    writers = [tf.io.TFRecordWriter(str(folder / f"data-{file}.gz"), "GZIP") for file in range(num_files)]
    for index, row in enumerate(zip(*columns.values(), strict=True)):
        features = {name: _feature(value) for name, value in zip(names, row, strict=True) if value is not None}
        example = tf.train.Example(features=tf.train.Features(feature=features))
        writers[index * num_files // len(columns[names[0]])].write(example.SerializeToString())
    for writer in writers:
        writer.close()


def _feature(value):
    values = value if isinstance(value, list) else [value]
    if isinstance(values[0], str):
        return tf.train.Feature(bytes_list=tf.train.BytesList(value=[each.encode() for each in values]))
    if isinstance(values[0], int | np.integer):
        return tf.train.Feature(int64_list=tf.train.Int64List(value=values))
    return tf.train.Feature(float_list=tf.train.FloatList(value=values))


def made_up_rows(num_rows=600, num_users=60, seed=0):
    """Rows with labels, masks and the predictions of two models, the second one worse on watch time alone.

    Args:
        num_rows: rows.
        num_users: users among them.
        seed: of the draw.

    Returns:
        Dict of (rows,) columns.
    """
    generator = np.random.default_rng(seed)
    user_N, taste_N, mood_N = generator.integers(num_users, size=num_rows), *generator.normal(size=(2, num_rows))
    noise = generator.normal(size=(6, num_rows))
    click_N, satisfaction_N = taste_N + noise[0] > 0, mood_N + noise[1] > 1
    seconds_N = np.exp(1 + taste_N + mood_N)
    columns = {
        "user_id": [f"u{user}" for user in user_N],
        "item_id": [f"i{item}" for item in generator.integers(20, size=num_rows)],
        "day": [f"2026-01-0{day}" for day in generator.integers(2, 4, size=num_rows)],
        "request_id": [f"r{request}" if request else None for request in generator.integers(3, size=num_rows)],
        "surface": [["feed", "search", None][kind] for kind in generator.integers(3, size=num_rows)],
        "item_age_hours": generator.exponential(100, num_rows).astype(np.float32),
        "click": click_N.astype(np.float32),
        "watch_seconds": seconds_N.astype(np.float32),
        "satisfaction": satisfaction_N.astype(np.float32),
        **{mask_name(label): (generator.random(num_rows) < 0.8).astype(np.float32) for label in LABELS},
    }
    for prefix, shift in (("first", 0.0), ("second", 3.0)):
        columns[f"{prefix}_click"] = 1 / (1 + np.exp(-taste_N - noise[2]))
        columns[f"{prefix}_watch_seconds"] = np.exp(1 + taste_N + mood_N + noise[3] + shift * noise[4])
        columns[f"{prefix}_satisfaction"] = 1 / (1 + np.exp(1 - mood_N - noise[5]))
    return columns
