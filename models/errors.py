"""Errors of the models package. Each message is one line and names the key.

ModelError
├── FeatureError      a configured feature and the column that it names do not fit
├── BodyError         a body of the user's own that cannot be imported or does not return what towers read
├── HeadError         the training rows do not define what a head must know of them
├── TrainingError     the configuration of training and the rows do not fit
├── DivergedError     the training loss is no longer a number
├── CalibrationError  validation rows on which nothing can be calibrated
├── ExportError       a trained ranker cannot be served as configured
└── MetricError       a measure that these rows do not define, such as the AUC of one class
"""


class ModelError(Exception):
    """Base of every error that the models package raises on purpose."""


class FeatureError(ModelError):
    """A configured feature whose column is absent or of the wrong type."""


class BodyError(ModelError):
    """A body that cannot be made as configured, or that a tower cannot read."""


class HeadError(ModelError):
    """A head that cannot be fitted to the labels of the training rows."""


class TrainingError(ModelError):
    """A training that the rows, or the model to begin from, do not allow as configured."""


class DivergedError(ModelError):
    """A loss that is infinite or not a number."""


class CalibrationError(ModelError):
    """Predictions and labels that no calibrator can be fitted to."""


class ExportError(ModelError):
    """A ranker that cannot be written as a SavedModel."""


class MetricError(ModelError):
    """A measure that cannot be computed from the rows given; the message is the reason."""
