"""Errors of the serving package. Each message is one line: the requirement, what came, what to do next.

ServingError
├── ModelUnavailableError       the version folder holds no model that loads
├── ListenError                 the address cannot be listened on
├── ServerFileError             a file of the model server's configuration that cannot be used
├── RequestError                a call that the model server refuses; carries the gRPC status
├── FeatureTableError           a table of features that cannot be read as declared
├── FeatureStoreError           a store of features that does not answer, or holds no publication
├── FeatureValueError           a feature given with a request that a tf.Example cannot hold
├── ExposureLogError            an answer that cannot be logged, and so is not given
├── CandidateError              candidates that are empty, repeated or too many
├── CallerLeftError             a call whose client has left, and that is therefore not logged
├── BlendError                  predictions from which no score can be computed
└── PredictionError             the model server gave no usable answer; carries the gRPC status
    ├── ServerUnreachableError  nobody answers at the address
    └── DeadlineError           the answer did not come in time

An unknown user or item is not an error: the model serves both through its out-of-vocabulary buckets.
"""


class ServingError(Exception):
    """Base of every error that the serving package raises on purpose."""


class ModelUnavailableError(ServingError):
    """A version folder without a single model that loads."""


class ListenError(ServingError):
    """An address that the server cannot listen on."""


class ServerFileError(ServingError):
    """A file of the model server's configuration, of TF Serving's, of TLS or of tokens, that cannot be used."""


class RequestError(ServingError):
    """A call that the model server refuses.

    Attributes:
        status: name of the gRPC status to answer with, such as "INVALID_ARGUMENT".
    """

    def __init__(self, status, message):
        """The refusal of one call.

        Args:
            status: name of the gRPC status to answer with.
            message: one line for the caller.
        """
        super().__init__(message)
        self.status = status


class FeatureTableError(ServingError):
    """A table of features that cannot be read as declared."""


class FeatureStoreError(ServingError):
    """A store of features that does not answer, or holds no publication that can be read."""


class FeatureValueError(ServingError):
    """A feature given with a request that cannot be used."""


class ExposureLogError(ServingError):
    """An answer that the exposure log has no room or no disk for, and that is therefore not given."""


class CandidateError(ServingError):
    """Candidates that cannot be ranked."""


class CallerLeftError(ServingError):
    """A call whose client has left before it was answered; nobody saw an answer, so none is logged."""


class BlendError(ServingError):
    """Predictions from which no score can be computed."""


class PredictionError(ServingError):
    """A model server that gave no usable answer.

    Attributes:
        status: name of the gRPC status that came, "OK" where the answer itself was unusable.
    """

    def __init__(self, status, message):
        """The failure of one call.

        Args:
            status: name of the gRPC status that came.
            message: one line for the user.
        """
        super().__init__(message)
        self.status = status


class ServerUnreachableError(PredictionError):
    """Nobody answers at the configured address."""


class DeadlineError(PredictionError):
    """The answer did not come within the configured deadline."""
