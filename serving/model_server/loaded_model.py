"""One SavedModel in memory: its signatures, its warm-up, and a Predict call on it."""

import logging
import pathlib
import re

import grpc
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2
from tensorflow_serving.apis import prediction_log_pb2

from serving.errors import RequestError
from serving.model_server.tensors import checked_tensor, tensor_proto

SAVED_MODEL_FILE = "saved_model.pb"
DEFAULT_SIGNATURE = tf.saved_model.DEFAULT_SERVING_SIGNATURE_DEF_KEY
WARMUP_FILE = pathlib.PurePath("assets.extra", "tf_serving_warmup_requests")
MAX_WARMUP_RECORDS = 1_000  # as in TF Serving
MAX_CAUSE_CHARACTERS = 300

# The heading, and then either a remark or indented lines; these hold paths of the server, which are no client's business.
_CALL_STACK = re.compile(r"Detected at node .*\n(?:<stack traces unavailable>\n|(?:[ \t].*\n|\n)*)")
# TensorFlow numbers its error codes as gRPC does.
_STATUS_BY_CODE = {status.value[0]: status.name for status in grpc.StatusCode}

_log = logging.getLogger(__name__)


class LoadedModel:
    """One version of a model, ready to predict from any thread.

    Attributes:
        number: version number.
        signature_defs: `SignatureDef` by signature name, as exported.
    """

    def __init__(self, folder, number):
        """The model of one version folder.

        Args:
            folder: path of the folder that holds `saved_model.pb`.
            number: version number.

        Raises:
            Exception: Whatever TensorFlow raises on a SavedModel that is broken or incomplete.
        """
        self.number = number
        self.signature_defs = _read_signature_defs(folder)
        # The signatures are functions of this object's variables: it has to live as long as they do.
        self._saved_model = tf.saved_model.load(str(folder))
        self._signatures = dict(self._saved_model.signatures)
        self._warmup_path = pathlib.Path(folder) / WARMUP_FILE

    def predict(self, signature_name, inputs, output_filter=()):
        """Outputs of one signature.

        Args:
            signature_name: name of the signature; empty for `DEFAULT_SIGNATURE`.
            inputs: `TensorProto` by input name.
            output_filter: names of the outputs to return; empty for all.

        Returns:
            `TensorProto` by output name.

        Raises:
            RequestError: If the signature is unknown, if the inputs do not match it, if an output name is unknown, or
                if the model cannot digest the values, for example a tf.Example with a feature of another type.
        """
        signature_name = signature_name or DEFAULT_SIGNATURE
        signature = self._signatures.get(signature_name)
        if signature is None:
            # TF Serving answers so, and clients tell the status from a malformed input.
            raise RequestError(
                "FAILED_PRECONDITION",
                f'Serving signature key "{signature_name}" not found. Known: {", ".join(sorted(self._signatures))}',
            )
        _check_output_filter(output_filter, signature.structured_outputs)
        specs = signature.structured_input_signature[1]
        _check_input_names(inputs, specs)
        tensors = {name: checked_tensor(name, proto, specs[name]) for name, proto in inputs.items()}
        try:
            outputs = signature(**tensors)
        except tf.errors.OpError as error:
            raise RequestError(_STATUS_BY_CODE[error.error_code], first_cause(error.message)) from error
        except UnicodeDecodeError as error:
            # TensorFlow quotes the bytes it cannot parse and then fails to decode its own message.
            raise RequestError("INVALID_ARGUMENT", first_cause(error.object.decode(errors="replace"))) from error
        return {name: tensor_proto(outputs[name]) for name in output_filter or outputs}

    def warm_up(self):
        """Runs the exported warm-up requests, or one empty batch where none were exported.

        Raises:
            RequestError: If the model cannot answer a warm-up request that was exported with it.
        """
        if self._warmup_path.is_file():
            self._run_exported_requests()
        else:
            self._run_empty_batches()

    def _run_exported_requests(self):
        for record in tf.data.TFRecordDataset(str(self._warmup_path)).take(MAX_WARMUP_RECORDS).as_numpy_iterator():
            log = prediction_log_pb2.PredictionLog.FromString(record)
            if log.HasField("predict_log"):
                request = log.predict_log.request
                self.predict(request.model_spec.signature_name, request.inputs, request.output_filter)

    def _run_empty_batches(self):
        for name, signature in self._signatures.items():
            specs = signature.structured_input_signature[1]
            inputs = {
                key: tf.make_tensor_proto([], spec.dtype, shape=[size or 0 for size in spec.shape])
                for key, spec in specs.items()
                if spec.shape.rank and spec.shape[0] is None
            }
            if len(inputs) < len(specs):
                continue
            try:
                self.predict(name, inputs)
            except RequestError as error:
                _log.info("version %d is not warmed up: %s takes no empty batch: %s", self.number, name, error)


def first_cause(message):
    """The part of a TensorFlow error message that says what is wrong.

    Args:
        message: as TensorFlow gave it, often with the graph's call stack around it and a whole tf.Example inside.

    Returns:
        One printable line of at most `MAX_CAUSE_CHARACTERS`.
    """
    text = _CALL_STACK.sub("", message.split("\n\t [[", 1)[0])
    line = "".join(character if character.isprintable() else " " for character in text)
    line = " ".join(line.removeprefix("Graph execution error:").replace("Name: <unknown>, ", "").split())
    return line if len(line) <= MAX_CAUSE_CHARACTERS else f"{line[: MAX_CAUSE_CHARACTERS - 3]}..."


def _read_signature_defs(folder):
    content = (pathlib.Path(folder) / SAVED_MODEL_FILE).read_bytes()
    for meta_graph in saved_model_pb2.SavedModel.FromString(content).meta_graphs:
        if tf.saved_model.SERVING in meta_graph.meta_info_def.tags:
            return dict(meta_graph.signature_def)
    raise ValueError(f'{SAVED_MODEL_FILE} must hold a graph tagged "{tf.saved_model.SERVING}". Received: none')


def _check_input_names(inputs, specs):
    given, wanted = set(inputs), set(specs)
    if given != wanted:
        unknown, missing = sorted(given - wanted), sorted(wanted - given)
        raise RequestError(
            "INVALID_ARGUMENT",
            f"inputs must be {{{', '.join(sorted(wanted))}}}. Received: unknown {unknown}, missing {missing}",
        )


def _check_output_filter(output_filter, outputs):
    unknown = sorted(set(output_filter) - outputs.keys())
    if unknown:
        raise RequestError(
            "INVALID_ARGUMENT",
            f"output_filter must name outputs of {{{', '.join(sorted(outputs))}}}. Received: {unknown}",
        )
    if len(set(output_filter)) < len(output_filter):
        raise RequestError("INVALID_ARGUMENT", f"output_filter must not repeat. Received: {list(output_filter)}")
