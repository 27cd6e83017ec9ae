"""The models of a server for who is in its process: no message, no connection, but the same versions, queue and counts."""

import time

from serving.errors import RequestError


class LocalModels:
    """Predictions from arrays; may be asked from several threads."""

    def __init__(self, catalog, inference, metrics):
        """The models of a catalog.

        Args:
            catalog: `catalog.ModelCatalog`.
            inference: `inference.Inference`.
            metrics: `metrics.ServerMetrics`.
        """
        self._catalog, self._inference, self._metrics = catalog, inference, metrics

    def predict(self, model_spec, inputs_fn, caller):
        """Outputs of one signature of one version.

        Args:
            model_spec: `ModelSpec` that names the model, and a version or label where it matters.
            inputs_fn: function of the `LoadedModel` that will answer, which returns the name of one of its signatures and
                arrays by input name that fit it.
            caller: `runners.Caller`.

        Returns:
            Number of the version, and `numpy.ndarray` by output name.

        Raises:
            RequestError: If the model, version or label is not served, the model cannot digest the values, or it cannot be run
                in time.
        """
        started_at, status = time.perf_counter(), None
        try:
            caller.require_wanted()
            with self._catalog.use(model_spec) as model:
                name, array_by_input = inputs_fn(model)
                signature = model.signature(name)
                if array_by_input.keys() != signature.inputs.keys():
                    raise RequestError(
                        "FAILED_PRECONDITION",
                        f"{name} must take {sorted(array_by_input)}. Received: a version that takes {sorted(signature.inputs)}",
                    )
                arrays = [array_by_input[each] for each in signature.inputs]
                array_by_tensor = self._inference.run(model, signature, arrays, caller, model_spec.name, "Predict")
            status = "OK"
            return model.number, {output: array_by_tensor[tensor] for output, tensor in signature.outputs.items()}
        except RequestError as error:
            status = error.status
            raise
        finally:
            if status is not None:
                self._metrics.count_request(model_spec.name, "Predict", status, time.perf_counter() - started_at, "LOCAL")
