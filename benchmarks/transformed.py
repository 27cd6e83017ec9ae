"""Rows of an Arrow table through the transform of a model: fitted, and written as the Trainer reads them."""

import functools
import itertools

import apache_beam as beam
import numpy as np
import pyarrow as pa
import tensorflow as tf
import tensorflow_transform as tft
import tensorflow_transform.beam as tft_beam
from apache_beam.options.pipeline_options import PipelineOptions
from tensorflow_metadata.proto.v0 import schema_pb2
from tensorflow_transform.tf_metadata import dataset_metadata, metadata_io, schema_utils
from tfx_bsl.public.tfxio import TensorAdapterConfig

from models.features import preprocess
from models.packing import packed_examples

_BATCH_ROWS = 10_000
_DTYPES = {pa.int64(): tf.int64, pa.float32(): tf.float32, pa.string(): tf.string}


def fit_transform(table, model, folder):
    """Transform of a model, fitted to the rows of a table.

    Args:
        table: `pyarrow.Table` of int64, float32 and string columns without nulls: features, labels and masks.
        model: `ModelConfig`.
        folder: `pathlib.Path` for it and for what Beam spills, made if missing.

    Returns:
        `tft.TFTransformOutput`.
    """
    spec = {field.name: tf.io.FixedLenFeature([], _DTYPES[field.type]) for field in table.schema}
    metadata = dataset_metadata.DatasetMetadata(schema_utils.schema_from_feature_spec(spec))
    output, path = folder / "output", folder / "fitted.arrow"
    folder.mkdir(parents=True, exist_ok=True)
    schema = _write_lists(table, path)
    with (
        beam.Pipeline(options=PipelineOptions(["--runner=FnApiRunner"])) as pipeline,
        tft_beam.Context(temp_dir=str(folder / "spill")),
    ):
        # Rows given to Create itself would become a part of the pipeline's description, and be compressed with it.
        rows = pipeline | beam.Create([str(path)]) | beam.FlatMap(_read_lists)
        adapter = TensorAdapterConfig(schema, _representations(spec))
        transform_fn = (rows, adapter) | tft_beam.AnalyzeDataset(functools.partial(preprocess, config=model))
        transform_fn | tft_beam.WriteTransformFn(str(output))
    metadata_io.write_metadata(metadata, str(output / tft.TFTransformOutput.RAW_METADATA_DIR))
    return tft.TFTransformOutput(str(output))


def write_transformed(table, tft_output, path, num_files=1):
    """Glob of files of a table's rows, transformed and packed as the pipeline's Transform writes them.

    Args:
        table: `pyarrow.Table` as of `fit_transform`.
        tft_output: `tft.TFTransformOutput`.
        path: `pathlib.Path` that the files' names begin with.
        num_files: that the rows are dealt to in contiguous parts.

    Returns:
        Glob as text.
    """
    layer = tft_output.transform_features_layer()
    path.parent.mkdir(parents=True, exist_ok=True)
    bounds = np.linspace(0, table.num_rows, num_files + 1).astype(int)
    for index, (start, end) in enumerate(itertools.pairwise(bounds)):
        with tf.io.TFRecordWriter(f"{path}-{index:05d}.gz", tf.io.TFRecordOptions("GZIP")) as writer:
            for batch in table.slice(start, end - start).to_batches(max_chunksize=_BATCH_ROWS):
                transformed = layer({name: tf.constant(batch.column(name)) for name in batch.schema.names})
                for example in packed_examples(_lists(_record_batch(transformed))):
                    writer.write(example)
    return f"{path}-*.gz"


def _write_lists(table, path):
    """Writes an Arrow file for Beam to read; returns its schema."""
    batches = list(map(_lists, table.to_batches(max_chunksize=_BATCH_ROWS)))
    with pa.ipc.new_file(str(path), batches[0].schema) as file:
        for batch in batches:
            file.write_batch(batch)
    return batches[0].schema


def _read_lists(path):
    with pa.memory_map(path) as source:
        file = pa.ipc.open_file(source)
        for index in range(file.num_record_batches):
            yield file.get_batch(index)


def _record_batch(tensors):
    return pa.RecordBatch.from_pydict({name: pa.array(tensor.numpy()) for name, tensor in tensors.items()})


def _lists(batch):
    """The same batch with lists of one value in every row, the form that transforms and coders read."""
    offsets = np.arange(batch.num_rows + 1)
    lists = [pa.LargeListArray.from_arrays(offsets, column) for column in batch.columns]
    return pa.RecordBatch.from_arrays(lists, names=batch.schema.names)


def _representations(spec):
    dense = schema_pb2.TensorRepresentation.DenseTensor
    return {
        name: schema_pb2.TensorRepresentation(dense_tensor=dense(column_name=name, shape=schema_pb2.FixedShape()))
        for name in spec
    }
