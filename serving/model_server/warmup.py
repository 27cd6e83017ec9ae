"""Requests that a version answers before it takes any: TF Serving's own file beside the SavedModel."""

import functools
import logging
import pathlib

import numpy as np
import tensorflow as tf
from google.protobuf.message import DecodeError
from tensorflow_serving.apis import prediction_log_pb2

from serving.errors import RequestError
from serving.model_server.predict_call import PredictCall
from serving.model_server.tensors import serialized_tensor
from serving.runners import Caller

WARMUP_FILE = pathlib.PurePath("assets.extra", "tf_serving_warmup_requests")
MAX_RECORDS = 1_000  # as in TF Serving

_log = logging.getLogger(__name__)


def warm_up(model, folder, inference):
    """Runs the requests that were exported with a version, or an empty batch of every signature where none were.

    Args:
        model: `LoadedModel`.
        folder: path of the version folder.
        inference: `Inference`.

    Raises:
        RequestError: If there are too many requests, one is no record of a request, or the model cannot answer it.
    """
    path = pathlib.Path(folder) / WARMUP_FILE
    if path.is_file():
        _run_exported_requests(model, path, inference)
    else:
        _run_empty_batches(model)


def _run_exported_requests(model, path, inference):
    for place, record in enumerate(tf.data.TFRecordDataset(str(path)).as_numpy_iterator()):
        if place >= MAX_RECORDS:
            message = f"Number of warmup records exceeds the maximum ({MAX_RECORDS}) at {path}"
            raise RequestError("INVALID_ARGUMENT", message)
        try:
            log = prediction_log_pb2.PredictionLog.FromString(record)
        except DecodeError as error:
            raise RequestError("INVALID_ARGUMENT", f"Failed to parse warmup record {place} from {path}") from error
        _run(model, log, inference)


def _run(model, log, inference):
    kind = log.WhichOneof("log_type")
    methods = {
        "predict_log": functools.partial(_predict, inference),
        "classify_log": inference.classify,
        "regress_log": inference.regress,
        "multi_inference_log": inference.multi_inference,
    }
    if kind in methods:
        methods[kind](model, getattr(log, kind).request, Caller())
    elif kind is not None:
        raise RequestError("UNIMPLEMENTED", f"Unsupported log_type for warmup: {kind}")


def _predict(inference, model, request, caller):
    """Both ways into the model: clients' requests come as bytes, those of batches and of this process as arrays."""
    call = PredictCall.from_bytes(request.SerializeToString())
    for reads_arrays in (False, True):
        inference.predict(model, call, caller, reads_arrays)


def _run_empty_batches(model):
    for signature in model.signatures.values():
        if any(spec.shape is None for spec in signature.inputs.values()):
            continue
        arrays = [_smallest_array(spec) for spec in signature.inputs.values()]
        try:
            # The second run of a plan is still slower than the third.
            for _ in range(2):
                model.run(signature.feeds, arrays, signature.fetches)
                if (serialized := model.serialized.get(signature.name)) is not None:
                    contents = [np.array(serialized_tensor(array), object) for array in arrays]
                    model.run(serialized.feeds, contents, serialized.fetches)
        except RequestError as error:
            _log.info("version %d is not warmed up: %s takes no empty batch: %s", model.number, signature.name, error)


def _smallest_array(spec):
    """No rows, or as many as the signature wants: `rank` has one of the user beside any number of candidates."""
    array = np.empty([size or 0 for size in spec.shape], spec.array_dtype)
    array.fill(b"" if array.dtype == object else 0)
    return array
