"""What the methods of the prediction service compute, for a call as for a record of warm-up."""

import time

from tensorflow_serving.apis import classification_pb2, inference_pb2, predict_pb2, regression_pb2

from serving.errors import RequestError
from serving.model_server.examples import (
    CLASSIFY_METHOD,
    REGRESS_METHOD,
    classification_result,
    method_signature,
    regression_result,
    serialized_examples,
)
from serving.model_server.loaded_model import DEFAULT_SIGNATURE
from serving.model_server.tensors import fill_proto, input_array, input_bytes
from serving.runners import Work

_RESULTS = {
    CLASSIFY_METHOD: ("classification_result", classification_result),
    REGRESS_METHOD: ("regression_result", regression_result),
}


class Inference:
    """Answers requests with a model that the caller holds."""

    def __init__(self, runner, max_rows, metrics):
        """Inference through one runner.

        Args:
            runner: `runners.DirectRunner` or `BatchingRunner`.
            max_rows: most rows of one input.
            metrics: `metrics.ServerMetrics`.
        """
        self._runner = runner
        self._max_rows = max_rows
        self._metrics = metrics

    def predict(self, model, call, caller, reads_arrays=False):
        """Outputs of one signature.

        Args:
            model: `LoadedModel`.
            call: `predict_call.PredictCall`.
            caller: `runners.Caller`.
            reads_arrays: whether the model is fed arrays even where it could take the bytes of the request.

        Returns:
            `PredictResponse` that names the version and signature that answered.

        Raises:
            RequestError: If the request does not fit the signature, the model cannot digest it, or it cannot be run in time.
        """
        signature = model.signature(call.model_spec.signature_name)
        names = _output_names(signature, call.output_filter)
        _check_input_names(signature, call.content_by_input)
        read_fn = input_array
        # Rows of several requests are put together as arrays.
        reads_arrays = reads_arrays or (self._runner.joins_rows and signature.is_batchable)
        if not reads_arrays and signature.name in model.serialized:
            signature, read_fn = model.serialized[signature.name], input_bytes
        arrays = [read_fn(name, call.content_by_input[name], spec, self._max_rows) for name, spec in signature.inputs.items()]
        array_by_tensor = self.run(model, signature, arrays, caller, call.model_spec.name, "Predict")
        response = predict_pb2.PredictResponse()
        _name_answerer(response.model_spec, call.model_spec, model, signature.name)
        for name in names:
            fill_proto(response.outputs[name], array_by_tensor[signature.outputs[name]])
        return response

    def classify(self, model, request, caller):
        """Classes of every example.

        Args:
            model: `LoadedModel`.
            request: `ClassificationRequest`.
            caller: `runners.Caller`.

        Returns:
            `ClassificationResponse`.

        Raises:
            RequestError: As of `predict`, and if the signature is for another method.
        """
        return self._of_examples(model, request, caller, CLASSIFY_METHOD, classification_pb2.ClassificationResponse())

    def regress(self, model, request, caller):
        """Value of every example.

        Args:
            model: `LoadedModel`.
            request: `RegressionRequest`.
            caller: `runners.Caller`.

        Returns:
            `RegressionResponse`.

        Raises:
            RequestError: As of `predict`, and if the signature is for another method.
        """
        return self._of_examples(model, request, caller, REGRESS_METHOD, regression_pb2.RegressionResponse())

    def multi_inference(self, model, request, caller):
        """Classes and values of the same examples by several signatures, computed in one run.

        Args:
            model: `LoadedModel`.
            request: `MultiInferenceRequest`; all tasks name one model, and signatures with one input tensor.
            caller: `runners.Caller`.

        Returns:
            `MultiInferenceResponse`, a result for every task.

        Raises:
            RequestError: As of `predict`, and if the tasks do not fit each other.
        """
        signatures = _task_signatures(model, request)
        feeds = {signature.feeds for signature in signatures}
        if len(feeds) > 1:
            raise RequestError("INVALID_ARGUMENT", "Input tensor must be the same for all Signatures.")
        examples = serialized_examples(request.input)
        self._check_rows(examples)
        fetches = tuple(sorted({tensor for signature in signatures for tensor in signature.fetches}))
        is_batchable = all(signature.is_batchable for signature in signatures)
        work = Work(model, feeds.pop(), [examples], fetches, is_batchable)
        model_name = request.tasks[0].model_spec.name
        array_by_tensor = self._run_work(work, caller, model_name, "MultiInference")
        response = inference_pb2.MultiInferenceResponse()
        for task, signature in zip(request.tasks, signatures, strict=True):
            field, result_fn = _RESULTS[task.method_name]
            result = response.results.add()
            _name_answerer(result.model_spec, task.model_spec, model, signature.name)
            getattr(result, field).CopyFrom(result_fn(signature, array_by_tensor, len(examples)))
        self._metrics.count_examples(model_name, len(examples))
        return response

    def _of_examples(self, model, request, caller, method_name, response):
        name = request.model_spec.signature_name or DEFAULT_SIGNATURE
        if name not in model.signatures:
            raise RequestError("INVALID_ARGUMENT", f"No signature was found with the name: {name}")
        signature = method_signature(model.signatures[name], method_name)
        examples = serialized_examples(request.input)
        self._check_rows(examples)
        model_name = request.model_spec.name
        api = "Classify" if method_name == CLASSIFY_METHOD else "Regress"
        array_by_tensor = self.run(model, signature, [examples], caller, model_name, api)
        _name_answerer(response.model_spec, request.model_spec, model, signature.name)
        response.result.CopyFrom(_RESULTS[method_name][1](signature, array_by_tensor, len(examples)))
        self._metrics.count_examples(model_name, len(examples))
        return response

    def run(self, model, signature, arrays, caller, model_name, api):
        """Values of one signature, for arrays that fit it.

        Args:
            model: `LoadedModel`.
            signature: `Signature` of it.
            arrays: in the order of its inputs.
            caller: `runners.Caller`.
            model_name: that was asked for, under which the time is counted.
            api: name of the method, likewise.

        Returns:
            `numpy.ndarray` by name of the tensor.

        Raises:
            RequestError: If the model cannot digest the values, or it cannot be run in time.
        """
        work = Work(model, signature.feeds, arrays, signature.fetches, signature.is_batchable)
        return self._run_work(work, caller, model_name, api)

    def _run_work(self, work, caller, model_name, api):
        started_at = time.perf_counter()
        arrays = self._runner.run(work, caller)
        self._metrics.observe_runtime(model_name, api, time.perf_counter() - started_at)
        return dict(zip(work.fetches, arrays, strict=True))

    def _check_rows(self, examples):
        if len(examples) > self._max_rows:
            raise RequestError(
                "INVALID_ARGUMENT",
                f"input must have at most serving.server.max_rows={self._max_rows} examples. Received: {len(examples)}",
            )


def _task_signatures(model, request):
    signatures = []
    for task in request.tasks:
        spec = task.model_spec
        if not spec.name:
            raise RequestError("INVALID_ARGUMENT", "Found ModelSpec with an empty model name.")
        if spec.name != request.tasks[0].model_spec.name:
            message = "All ModelSpecs in a MultiInferenceRequest must access the same model name."
            raise RequestError("INVALID_ARGUMENT", message)
        name = spec.signature_name or DEFAULT_SIGNATURE
        if any(signature.name == name for signature in signatures):
            raise RequestError("INVALID_ARGUMENT", f"Duplicate evaluation of signature: {name}")
        if name not in model.signatures:
            raise RequestError("INVALID_ARGUMENT", f"Requested signature not found in model graph: {name}")
        if task.method_name not in _RESULTS:
            raise RequestError("UNIMPLEMENTED", f"Unsupported signature method_name: {task.method_name}")
        signatures.append(method_signature(model.signatures[name], task.method_name))
    return signatures


def _name_answerer(answered, asked, model, signature_name):
    answered.name = asked.name
    answered.version.value = model.number
    answered.signature_name = signature_name


def _output_names(signature, output_filter):
    unknown = sorted(set(output_filter) - signature.outputs.keys())
    if unknown:
        raise RequestError(
            "INVALID_ARGUMENT",
            f"output tensor alias not found in signature: {unknown[0]} Outputs expected to be in the set "
            f"{{{','.join(signature.outputs)}}}.",
        )
    if len(set(output_filter)) < len(output_filter):
        raise RequestError("INVALID_ARGUMENT", f"duplicate output tensor alias: {list(output_filter)}")
    return output_filter or signature.outputs


def _check_input_names(signature, given):
    if given.keys() != signature.inputs.keys():
        given, wanted = set(given), set(signature.inputs)
        unknown, missing = sorted(given - wanted), sorted(wanted - given)
        raise RequestError(
            "INVALID_ARGUMENT",
            f"inputs must be {{{', '.join(sorted(wanted))}}}. Received: unknown {unknown}, missing {missing}",
        )
