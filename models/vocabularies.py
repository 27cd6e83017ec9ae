"""Vocabularies of all categorical columns in one pass: one count, one grouping and one file a column.

`tft.vocabulary` builds dozens of Beam transforms for every column, and a runner spends seconds on each of these graphs
before the first row comes. Here the columns share one.
"""

import collections
import os

import apache_beam as beam
import numpy as np
import tensorflow as tf
import tensorflow_transform as tft
import tensorflow_transform.beam as tft_beam
from tensorflow_transform.analyzers import sanitized_vocab_filename

# A lookup table cannot be filled from an empty file; no log holds these values.
_NO_STRING = b"49d0cd50-04bb-48c0-bc6f-5b575dce351a"
_NO_INTEGER = b"-1"


def vocabulary_files(values_by_name, min_count_by_name):
    """Files of the values that columns held in training, most frequent first, for `tft.apply_vocabulary`.

    `tft.TFTransformOutput` finds them by name. Empty strings and those with a line break are left out, as a line of a file
    cannot hold them; of equally frequent values the greater one in bytes comes first.

    Args:
        values_by_name: (values,) tensors of strings or integers.
        min_count_by_name: a value seen less often is left out.

    Returns:
        Dict from name to scalar string tensor, the path of a text file with a value a line.
    """
    if not values_by_name:
        return {}
    placeholders = [_NO_STRING if values.dtype == tf.string else _NO_INTEGER for values in values_by_name.values()]
    columns = [(name, min_count_by_name[name], nothing) for name, nothing in zip(values_by_name, placeholders, strict=True)]
    paths = tft.experimental.ptransform_analyzer(
        list(values_by_name.values()),
        _WriteVocabularies(columns),
        output_dtypes=[tf.string] * len(columns),
        output_shapes=[[]] * len(columns),
        output_asset_default_values=placeholders,
        name="vocabularies",
    )
    return dict(zip(values_by_name, paths, strict=True))


class _WriteVocabularies(tft_beam.experimental.PTransformAnalyzer):
    """Batches, tuples of (values,) arrays, to one path a column; `columns` holds (name, min_count, line if empty)."""

    def __init__(self, columns):
        super().__init__()
        self._columns = columns

    def expand(self, batches):
        counts = (
            batches
            | "CountInBatch" >> beam.FlatMap(_counted)
            | "Sum" >> beam.CombinePerKey(sum)
            | "Prune" >> beam.FlatMap(_pruned, [min_count for _, min_count, _ in self._columns])
        )
        # Every column has a group, even one without a value: its file is written too.
        empty = batches.pipeline | "NameColumns" >> beam.Create([(index, None) for index in range(len(self._columns))])
        tags = [_tag(index) for index in range(len(self._columns))]
        outputs = (
            (counts, empty)
            | "Collect" >> beam.Flatten()
            | "GroupByColumn" >> beam.GroupByKey()
            | "Write" >> beam.FlatMap(_written, self._columns, self.base_temp_dir).with_outputs(*tags)
        )
        return tuple(outputs[tag] for tag in tags)


def _tag(index):
    return f"column_{index}"


def _counted(batch):
    for index, values in enumerate(batch):
        for value, count in collections.Counter(values.tolist()).items():
            yield (index, value if isinstance(value, bytes) else b"%d" % value), count


def _pruned(counted, min_counts):
    (index, value), count = counted
    if count >= min_counts[index] and value and b"\n" not in value and b"\r" not in value:
        yield index, (count, value)


def _written(group, columns, folder):
    index, counted = group
    name, _, nothing = columns[index]
    lines = [value for _, value in sorted(filter(None, counted), reverse=True)] or [nothing]
    path = os.path.join(folder, sanitized_vocab_filename(name))
    tf.io.gfile.makedirs(folder)
    with tf.io.gfile.GFile(path, "wb") as file:
        file.write(b"".join(line + b"\n" for line in lines))
    yield beam.pvalue.TaggedOutput(_tag(index), np.array(path))
