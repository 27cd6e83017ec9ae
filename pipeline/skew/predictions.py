"""Predictions of a version: how they were distributed before the push, and whether the served ones are its own."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import tensorflow as tf

from data.schema import LABELS
from pipeline.errors import SkewError
from pipeline.skew.statistics import statistics_of
from serving.exposure.record import PREDICTED_COLUMNS

# Within the folder of the gate's metrics.
PREDICTIONS_FILE = "predictions.pb"

_BATCH_ROWS = 4_096
_PREDICTED_BY_LABEL = dict(zip(LABELS, PREDICTED_COLUMNS, strict=True))
# Other hardware multiplies with other roundings (TF32 keeps ten bits); a defect shows in more.
_RELATIVE, _ABSOLUTE = 0.01, 1e-4


def write_prediction_statistics(predictions, folder):
    """Writes TFDV statistics of predictions, under the names that the exposure log gives them.

    Args:
        predictions: (rows,) float by label.
        folder: of the gate's metrics.
    """
    batch = prediction_batch({_PREDICTED_BY_LABEL[label]: column for label, column in predictions.items()})
    Path(folder, PREDICTIONS_FILE).write_bytes(statistics_of(batch).SerializeToString())


def prediction_batch(predictions):
    """Predictions in the form of decoded tf.Examples.

    Args:
        predictions: (rows,) float by name; NaN where there is none.

    Returns:
        `pyarrow.RecordBatch` of lists, null where there is no prediction.
    """
    arrays = []
    for column in predictions.values():
        values = np.asarray(column, np.float32)
        is_absent = np.isnan(values)
        ends = np.concatenate([[0], np.cumsum(~is_absent)]).astype(np.int32)
        arrays.append(pa.ListArray.from_arrays(pa.array(ends, mask=np.append(is_absent, False)), pa.array(values[~is_absent])))
    return pa.record_batch(arrays, names=list(predictions))


def foreign_shares(folder, examples, predictions):
    """How many of the logged predictions are not those that a version gives for the logged features.

    What a model gives for given features is fixed, whichever items were chosen to be shown: here the served predictions are
    told apart from others without the choice among candidates, which moves their distribution.

    Args:
        folder: of the version.
        examples: list of serialized tf.Examples.
        predictions: (rows,) float64 by name in the exposure log.

    Returns:
        Float of [0, 1] by name: share of rows whose prediction differs by more than 1% and 0.0001.

    Raises:
        SkewError: If the version refuses the features.
    """
    predict_fn = tf.saved_model.load(str(folder)).signatures["serving_default"]
    starts = range(0, len(examples), _BATCH_ROWS)
    try:
        outputs = [predict_fn(examples=tf.constant(examples[start : start + _BATCH_ROWS])) for start in starts]
    except tf.errors.InvalidArgumentError as error:
        cause = " ".join(error.message.split())[:200]
        raise SkewError(f"served_features must be such that the version predicts for them. Received: {cause}") from error
    shares = {}
    for label, name in _PREDICTED_BY_LABEL.items():
        own = np.concatenate([output[label].numpy().reshape(-1) for output in outputs])
        served = predictions[name]
        shares[name] = float(np.mean(~np.isclose(served, own, rtol=_RELATIVE, atol=_ABSOLUTE)))
    return shares
