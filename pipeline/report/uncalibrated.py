"""Reliability of a model before its calibration, on the evaluation rows: by the exported model itself."""

import numpy as np
import tensorflow as tf
import tensorflow_transform as tft

from data.columns import input_name
from data.schema import EVAL_SPLIT, mask_name
from models.errors import MetricError
from models.measures.probability import reliability_bins
from models.rows import TransformedRows
from models.signatures import TRANSFORMED, UNCALIBRATED_SUFFIX

_BATCH_ROWS = 8_192


def uncalibrated_reliability(tasks, model_folder, transform_folder, examples_folder):
    """Reliability bins before calibration.

    Args:
        tasks: `TaskConfig`s.
        model_folder: of the exported model.
        transform_folder: of the transform's artifact `transform_graph`.
        examples_folder: of its artifact `transformed_examples`.

    Returns:
        Dict from label to tuple of `ReliabilityBin`, of calibrated tasks that serve probabilities or grades and whose label is
        known in some row.
    """
    labels = [task.label for task in tasks if task.calibration != "none" and task.head.serves != "seconds"]
    if not labels:
        return {}
    spec = tft.TFTransformOutput(transform_folder).transformed_feature_spec()
    rows = TransformedRows([f"{examples_folder}/Split-{EVAL_SPLIT}/*"], spec)
    predict_fn = tf.saved_model.load(model_folder).signatures[TRANSFORMED]
    wanted = predict_fn.structured_input_signature[1]
    parts = []
    for packed in rows.batches(_BATCH_ROWS):
        columns = rows.columns(packed)
        outputs = predict_fn(**{input_name(name): column for name, column in columns.items() if input_name(name) in wanted})
        parts.append(
            [(columns[label], outputs[f"{label}{UNCALIBRATED_SUFFIX}"], columns[mask_name(label)]) for label in labels]
        )
    found = {}
    for index, label in enumerate(labels):
        labels_N, predictions_N, masks_N = (
            np.concatenate(column) for column in zip(*(part[index] for part in parts), strict=True)
        )
        try:
            found[label] = reliability_bins(labels_N, predictions_N, weights=masks_N)
        except MetricError:
            # No label of the task is known; the page says so at its measures.
            continue
    return found
