import collections
import functools

import apache_beam as beam
import numpy as np
import pytest
import tensorflow as tf
import tensorflow_transform as tft
import tensorflow_transform.beam as tft_beam
from tensorflow_transform.tf_metadata import dataset_metadata, schema_utils

from models.vocabularies import vocabulary_files

MIN_COUNT = {"word": 1, "often": 4, "number": 2, "never": 1_000, "a b/c": 1, "empty": 1, "rare number": 1_000}
INTEGERS = ("number", "rare number")
SPEC = {name: tf.io.VarLenFeature(tf.int64 if name in INTEGERS else tf.string) for name in MIN_COUNT}


def rows():
    """A skewed log: many ties, empty strings, line breaks, bytes beyond ASCII, negative numbers."""
    generator = np.random.default_rng(0)
    words = ["", "a", "b", "B", "two words", "tab\there", "line\nbreak", "line\rbreak", "naïve", "日本", "=", "10", "9"]
    return [
        {
            "word": [words[index] for index in generator.integers(len(words), size=generator.integers(3))],
            "often": [f"w{generator.zipf(1.4) % 50}"],
            "number": [int(generator.integers(-20, 20)) * 2**55],
            "never": ["x"],
            "a b/c": [str(generator.integers(5))],
            "empty": [],
            "rare number": [3],
        }
        for _ in range(200)
    ]


def preprocessing_fn(inputs):
    values = {name: column.values for name, column in inputs.items()}
    files = vocabulary_files(values, MIN_COUNT)
    for name, column in values.items():
        tft.vocabulary(column, frequency_threshold=MIN_COUNT[name], vocab_filename=f"tft {name}")
    return {name: tft.apply_vocabulary(column, files[name], num_oov_buckets=1) for name, column in inputs.items()}


@pytest.fixture(scope="module")
def output(tmp_path_factory):
    """Fitted by `rows` in several batches."""
    folder = tmp_path_factory.mktemp("vocabularies")
    metadata = dataset_metadata.DatasetMetadata(schema_utils.schema_from_feature_spec(SPEC))
    with tft_beam.Context(temp_dir=str(folder / "tmp"), desired_batch_size=30):
        transform_fn = (rows(), metadata) | tft_beam.AnalyzeDataset(preprocessing_fn)
        _ = transform_fn | tft_beam.WriteTransformFn(str(folder / "output"))
    return tft.TFTransformOutput(str(folder / "output"))


@pytest.mark.parametrize("name", MIN_COUNT)
def test_vocabularies_hold_what_the_column_held_most_frequent_first(name, output):
    values = [str(value).encode() for row in rows() for value in row[name]]
    counts = [(count, value) for value, count in collections.Counter(values).items() if count >= MIN_COUNT[name]]
    expected = [value for _, value in sorted(counts, reverse=True) if value and b"\n" not in value and b"\r" not in value]
    if expected:
        assert output.vocabulary_by_name(name) == expected
    assert output.vocabulary_size_by_name(name) == max(1, len(expected))


@pytest.mark.parametrize("name", MIN_COUNT)
def test_vocabularies_are_those_of_tf_transform(name, output):
    assert output.vocabulary_by_name(name) == output.vocabulary_by_name(f"tft {name}")


@pytest.mark.parametrize("name", ["never", "empty", "rare number"])
def test_a_column_without_values_has_a_vocabulary_that_no_value_is_in(name, output):
    (line,) = output.vocabulary_by_name(name)
    assert line not in {str(value).encode() for row in rows() for value in row[name]}


def num_transforms(num_columns, folder):
    """Beam transforms of an analysis of that many categories."""
    names = [f"c{index}" for index in range(num_columns)]
    metadata = dataset_metadata.DatasetMetadata(
        schema_utils.schema_from_feature_spec({name: tf.io.FixedLenFeature([], tf.string) for name in names})
    )
    pipeline = beam.Pipeline()
    with tft_beam.Context(temp_dir=str(folder)):
        data = pipeline | beam.Create([dict.fromkeys(names, "a")])
        _ = (data, metadata) | tft_beam.AnalyzeDataset(functools.partial(all_ids, min_count_by_name=dict.fromkeys(names, 1)))
    return len(pipeline.to_runner_api().components.transforms)


def all_ids(inputs, min_count_by_name):
    files = vocabulary_files(inputs, min_count_by_name)
    return {name: tft.apply_vocabulary(column, files[name], num_oov_buckets=1) for name, column in inputs.items()}


def test_a_further_column_costs_a_few_beam_transforms(tmp_path):
    """`tft.vocabulary` costs dozens, and a runner spends seconds on these before the first row comes."""
    assert (num_transforms(7, tmp_path) - num_transforms(2, tmp_path)) / 5 < 10
