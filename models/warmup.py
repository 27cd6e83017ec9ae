"""Requests that a model server answers before it takes any: TF Serving's own file beside the SavedModel."""

import pathlib

import tensorflow as tf
from tensorflow_serving.apis import predict_pb2, prediction_log_pb2

from data.columns import input_name
from models.features import missing_value
from models.signatures import EXAMPLES, EXAMPLES_INPUT, RANK, TRANSFORMED, rank_spec

WARMUP_FILE = pathlib.PurePath("assets.extra", "tf_serving_warmup_requests")
# One candidate, and as many as a page of them.
NUM_CANDIDATES = (1, 100)


def write_warmup_requests(path, columns, tft_output, candidate_columns=()):
    """Writes requests for every signature with 1 and with 100 rows: known values, defaults where there is no vocabulary.

    Args:
        path: folder of the SavedModel.
        columns: `models.signatures.ServedColumns`.
        tft_output: `tft.TFTransformOutput` of the model, for its vocabularies.
        candidate_columns: as of `models.export.export`.
    """
    values = {name: _known_value(name, columns, tft_output) for name in columns.raw}
    example = _example(values)
    file = pathlib.Path(path, WARMUP_FILE)
    file.parent.mkdir(parents=True, exist_ok=True)
    with tf.io.TFRecordWriter(str(file)) as writer:
        for num_rows in NUM_CANDIDATES:
            requests = {EXAMPLES: {EXAMPLES_INPUT: tf.make_tensor_proto([example] * num_rows)}}
            requests[TRANSFORMED] = {
                input_name(name): tf.make_tensor_proto(0, spec.dtype, [num_rows, *spec.shape])
                for name, spec in columns.transformed_spec.items()
            }
            if candidate_columns:
                requests[RANK] = {
                    input_name(name): _tensor(values[name], spec, num_rows)
                    for name, spec in zip(columns.raw, rank_spec(columns, candidate_columns).values(), strict=True)
                }
            for signature_name, inputs in requests.items():
                writer.write(_log(signature_name, inputs).SerializeToString())


def _known_value(name, columns, tft_output):
    """List of the values of one row of a raw column."""
    feature, dtype = columns.raw[name], columns.raw_spec[name].dtype
    if feature.kind == "numeric":
        return [missing_value(feature, dtype)] * columns.size(name)
    owner = feature.shares or name
    known = tft_output.vocabulary_by_name(owner)[:1] if tft_output.vocabulary_file_by_name(owner) else []
    if known:
        return [int(known[0]) if dtype.is_integer else known[0]]
    return [] if feature.kind == "sequence" else [missing_value(feature, dtype)]


def _tensor(values, spec, num_rows):
    """TensorProto of a column of `rank`, every row the same."""
    rows = [values if spec.shape.rank == 2 else values[0]] * (spec.shape[0] or num_rows)
    return tf.make_tensor_proto(rows, spec.dtype, [len(rows), len(values)][: spec.shape.rank])


def _example(values_by_name):
    example = tf.train.Example()
    for name, values in values_by_name.items():
        feature = example.features.feature[name]
        if isinstance(values[0] if values else "", str | bytes):
            feature.bytes_list.value.extend(value.encode() if isinstance(value, str) else value for value in values)
        elif isinstance(values[0], int):
            feature.int64_list.value.extend(values)
        else:
            feature.float_list.value.extend(values)
    return example.SerializeToString()


def _log(signature_name, inputs):
    request = predict_pb2.PredictRequest(inputs=inputs)
    request.model_spec.signature_name = signature_name
    return prediction_log_pb2.PredictionLog(predict_log=prediction_log_pb2.PredictLog(request=request))
