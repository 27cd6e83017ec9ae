"""The model server of the same process as a backend: arrays go to the model as they are."""

import time
import weakref

import numpy as np
from tensorflow_serving.apis import model_pb2

from serving.errors import CallerLeftError, DeadlineError, PredictionError, RequestError
from serving.ranker.backend import EXAMPLES_INPUT, EXAMPLES_SIGNATURE, Predicted, checked_predictions, usable_status
from serving.ranker.columns import RANK_SIGNATURE, rank_inputs
from serving.runners import Caller


class LocalBackend:
    """The model server of this process; may be asked from several threads.

    Attributes:
        address: how messages name it.
    """

    address = "this process"

    def __init__(self, models, model_name):
        """A backend.

        Args:
            models: `serving.model_server.local.LocalModels`.
            model_name: name under which the versions are served.
        """
        self._models, self._model_name = models, model_name
        self._specs_by_model = weakref.WeakKeyDictionary()

    def close(self):
        """Nothing to close: the model server is not this object's own."""

    def predict(self, encoders, asked, timeout_seconds, label=None):
        """Predictions for candidates, all of one version.

        Args:
            encoders: `serving.ranker.backend.Encoders`.
            asked: `serving.ranker.backend.Asked`.
            timeout_seconds: how long an answer is of use.
            label: version label; None for the newest version.

        Returns:
            `serving.ranker.backend.Predicted`.

        Raises:
            FeatureValueError: If a value cannot be a feature.
            DeadlineError: If the answer takes longer.
            CallerLeftError: If nobody waits for the answer any more when the model could run.
            PredictionError: If the server refuses, or its answer does not fit the candidates.
        """
        model_spec = model_pb2.ModelSpec(name=self._model_name)
        if label is not None:
            model_spec.version_label = label
        caller = Caller(time.monotonic() + timeout_seconds, asked.is_wanted_fn)
        try:
            version, outputs = self._models.predict(model_spec, lambda model: self._inputs(model, encoders, asked), caller)
        except RequestError as error:
            if error.status == "CANCELLED":
                raise CallerLeftError(f"a client must wait for its answer. Received: {error}") from error
            status = usable_status(error.status, str(error))
            type_ = DeadlineError if status == "DEADLINE_EXCEEDED" else PredictionError
            raise type_(status, f"the model server of {self.address} must predict. Received: {status}: {error}") from error
        return Predicted(version, checked_predictions(outputs, len(asked.item_ids)))

    def _inputs(self, model, encoders, asked):
        if model not in self._specs_by_model:
            specs = rank_inputs(model.signature_defs)
            # Strings as they are, not as pieces of a message.
            self._specs_by_model[model] = specs and {name: spec._replace(has_pieces=False) for name, spec in specs.items()}
        specs = self._specs_by_model[model]
        arrays = specs and encoders.columns.encode_arrays(specs, *asked.to_encode, asked.item_rows)
        if arrays:
            return RANK_SIGNATURE, arrays
        return EXAMPLES_SIGNATURE, {EXAMPLES_INPUT: np.array(encoders.examples.encode(*asked.to_encode), object)}
