"""The served model: transform graph, inputs, body, main towers and calibration in one SavedModel.

With `models.warmup`, the only writes in this package.
"""

import tensorflow as tf

from models.errors import ExportError
from models.signatures import (
    EXAMPLES,
    RANK,
    TRANSFORMED,
    UNCALIBRATED_SUFFIX,
    ServedColumns,
    examples_function,
    rank_function,
    transformed_function,
)
from models.warmup import write_warmup_requests


def export(ranker, tft_output, path, calibrators=None, candidate_columns=()):
    """Writes the served model, and beside it the requests by which a model server warms up.

    Every signature gives one (batch,) float32 output a task by its label, calibrated: a probability, a grade, or seconds.

    * `serving_default` maps `examples`, (batch,) serialized tf.Examples of raw features. A feature that an example lacks
      takes its configured default, a sequence is then empty, an unknown category takes an out-of-vocabulary bucket. An
      example whose feature has the wrong type, or a vector of another length, fails with an error that names the feature.
    * `rank` maps raw columns, those of the user once and those of the candidates by candidate, as `models.signatures.rank_spec`
      describes them; what is the user's is transformed and embedded once. Only with `candidate_columns`.
    * `transformed` maps transformed columns, and gives the outputs without calibration too, as `click_uncalibrated`.

    All read the features of body and heads and nothing else: no label, mask or key column, and nothing of the bias tower.

    Python callers pass tensors by keyword: given a tensor by position, TensorFlow prints all of it into an error message
    that it then drops, which takes longer than the model itself.

    Args:
        ranker: built `MultiTaskRanker`; its small towers and its bias tower are left behind.
        tft_output: `tft.TFTransformOutput` that the ranker was trained with, raw metadata included.
        path: folder to write, a numbered version by the convention of model servers.
        calibrators: `models.calibration.Calibrator` by label; other labels are served as they are. None for none.
        candidate_columns: names of raw columns that differ by candidate, of which some need not be features.

    Raises:
        ExportError: If the ranker has not seen a batch yet, a calibrator's label is no task, or columns do not fit.
    """
    calibrators = calibrators or {}
    if not ranker.served_variables:
        raise ExportError("ranker must have been called on a batch before it is exported. Received: no variables")
    if unknown := sorted(calibrators.keys() - ranker.heads.keys()):
        raise ExportError(f"calibrators must be of tasks, of {sorted(ranker.heads)}. Received: {unknown[0]}")
    module = tf.Module(name="served_ranker")
    # A SavedModel holds what hangs on the module: the tables and assets of the transform, and these variables alone.
    module.transform = tft_output.transform_features_layer()
    module.model_variables = ranker.served_variables
    module.model_state = ranker.served_state
    columns = ServedColumns(ranker, tft_output)

    def calibrated(outputs):
        return {label: calibrators[label](values) if label in calibrators else values for label, values in outputs.items()}

    def predict(raw):
        return calibrated(ranker(_transformed(module.transform, columns, raw), training=False))

    def evaluate(transformed):
        outputs = ranker(transformed, training=False)
        return calibrated(outputs) | {f"{label}{UNCALIBRATED_SUFFIX}": values for label, values in outputs.items()}

    signatures = {EXAMPLES: examples_function(columns, predict), TRANSFORMED: transformed_function(columns, evaluate)}
    if candidate_columns:
        signatures[RANK] = rank_function(columns, candidate_columns, predict)
    tf.saved_model.save(module, path, signatures=signatures)
    write_warmup_requests(path, columns, tft_output, candidate_columns)


def _transformed(transform, columns, raw):
    """Transformed columns that the ranker reads; made of raw columns with one row, they say so by their shape."""
    transformed = transform(raw)
    has_one_row = {name: column.shape[0] == 1 for name, column in raw.items()}
    shaped = {}
    for feature in columns.features:
        column = transformed[feature.name]
        if all(has_one_row[name] for name in (feature.of if feature.kind == "cross" else [feature.name])):
            column = tf.ensure_shape(column, [1, *column.shape[1:]])
        shaped[feature.name] = column
    return shaped
