"""TFX's entry point for evaluation: rows stay in arrays from the record batch to the metric, slice by slice."""

import apache_beam as beam
import numpy as np
import pyarrow.compute as pc
import tensorflow as tf
import tensorflow_model_analysis as tfma
from tensorflow_model_analysis.extractors.slice_key_extractor import SLICE_KEY_EXTRACTOR_STAGE_NAME
from tensorflow_model_analysis.slicer.slicer_lib import slice_keys_to_numpy_array

from pipeline.slices import entries, slices_from_specs, texts
from pipeline.task_measures import GROUP, LIST

_BUCKETS = "buckets"


def custom_extractors(eval_shared_model, eval_config, tensor_adapter_config):
    """What happens to rows before TFMA measures them.

    TFMA's own extractors take rows out of their batches to slice them one by one. These hand on, for each batch and slice, one
    extract with arrays over the rows of both, which `pipeline.task_measures` reads.

    Args:
        eval_shared_model: `tfma.EvalSharedModel`, or a list of candidate and baseline.
        eval_config: `tfma.EvalConfig` of `pipeline.evaluation.eval_config`.
        tensor_adapter_config: unused; columns are read as Arrow holds them.

    Returns:
        List of `tfma.extractors.Extractor`.
    """
    del tensor_adapter_config
    models = eval_shared_model if isinstance(eval_shared_model, list) else [eval_shared_model]
    path_by_model = {model.model_name if len(models) > 1 else "": model.model_path for model in models}
    numbers = sorted({name for spec in eval_config.model_specs for name in _columns_read(spec)})
    return [
        _extractor("ExtractColumns", beam.Map(_with_columns, numbers, slices_from_specs(eval_config.slicing_specs))),
        tfma.extractors.LabelsExtractor(eval_config),
        tfma.extractors.ExampleWeightsExtractor(eval_config),
        _extractor("ExtractPredictions", beam.ParDo(_Predict(path_by_model))),
        _extractor(SLICE_KEY_EXTRACTOR_STAGE_NAME, beam.FlatMap(_sliced)),
    ]


def _extractor(name, ptransform):
    return tfma.extractors.Extractor(stage_name=name, ptransform=ptransform)


def _columns_read(model_spec):
    return [*model_spec.label_keys.values(), *model_spec.example_weight_keys.values()]


def _with_columns(extracts, numbers, slices):
    """Columns that measures and slices read, as arrays over the rows of the batch."""
    batch = extracts[tfma.ARROW_RECORD_BATCH_KEY]
    columns = {name: np.asarray(pc.list_flatten(batch[name]), np.float64) for name in numbers}
    user_N, day_N, request_N = (_strings(batch, name) for name in ("user_id", "day", "request_id"))
    columns[GROUP] = user_N + "\t" + day_N
    columns[LIST] = np.where(request_N == "", "", user_N + "\t" + request_N)
    return {
        tfma.FEATURES_KEY: columns,
        tfma.INPUT_KEY: np.asarray(pc.list_flatten(batch[tfma.ARROW_INPUT_COLUMN])),
        _BUCKETS: {each.name: each.buckets(batch[each.column]) for each in slices},
    }


def _strings(batch, name):
    """(rows,) strings of a column, empty where there is none; a column that no row holds is none of the batch."""
    strings_N = np.full(batch.num_rows, "", object)
    if name in batch.schema.names:
        is_known_N, values = entries(batch[name], 0)
        strings_N[is_known_N] = texts(values)
    return strings_N


class _Predict(beam.DoFn):
    """Adds every model's outputs for the serialized examples, by the served signature."""

    def __init__(self, path_by_model):
        self._path_by_model = path_by_model

    def setup(self):
        self._models = {name: tf.saved_model.load(path) for name, path in self._path_by_model.items()}

    def process(self, extracts):
        examples = tf.constant(extracts[tfma.INPUT_KEY], tf.string)
        by_model = {}
        for name, model in self._models.items():
            outputs = model.signatures["serving_default"](examples=examples)
            by_model[name] = {output: np.asarray(values, np.float64) for output, values in outputs.items()}
        # TFMA leaves the level of models out where there is one.
        yield {**extracts, tfma.PREDICTIONS_KEY: by_model.get("", by_model)}


def _sliced(extracts):
    """One extract for all rows of the batch and one for each bucket in it."""
    measured = {
        key: extracts[key] for key in (tfma.LABELS_KEY, tfma.EXAMPLE_WEIGHTS_KEY, tfma.PREDICTIONS_KEY, tfma.FEATURES_KEY)
    }
    yield {**measured, tfma.SLICE_KEY_TYPES_KEY: slice_keys_to_numpy_array([()])}
    for name, buckets_N in extracts[_BUCKETS].items():
        for bucket in sorted(set(buckets_N)):
            rows = np.flatnonzero(buckets_N == bucket)
            yield {**_of_rows(measured, rows), tfma.SLICE_KEY_TYPES_KEY: slice_keys_to_numpy_array([((name, bucket),)])}


def _of_rows(tree, rows):
    return {key: _of_rows(branch, rows) for key, branch in tree.items()} if isinstance(tree, dict) else tree[rows]
