"""One SavedModel in memory: its signatures and what runs them.

A session, as in TF Serving, and not a function: it takes arrays and gives arrays, without a tensor object for each.
"""

import os
import pathlib

import grpc
import tensorflow as tf
from tensorflow.core.protobuf import config_pb2, saved_model_pb2

from serving.errors import RequestError
from serving.model_server.causes import first_cause
from serving.model_server.serialized import serialized_signature
from serving.model_server.signatures import read_signatures
from serving.model_server.versions import SAVED_MODEL_FILE

DEFAULT_SIGNATURE = tf.saved_model.DEFAULT_SERVING_SIGNATURE_DEF_KEY

# TensorFlow numbers its error codes as gRPC does.
_STATUS_BY_CODE = {status.value[0]: status.name for status in grpc.StatusCode}
# Combinations of signatures that clients may ask for at once, each with a plan of its own in the session.
_MAX_CALLABLES = 128


class LoadedModel:
    """One version of a model, ready to predict from any thread.

    Attributes:
        number: version number.
        signature_defs: `SignatureDef` by signature name, as exported.
        signatures: `Signature` by name.
        serialized: the same by name, but for inputs that are bytes of messages; without those that cannot take them.
    """

    def __init__(self, folder, number, intra_op_threads=0, inter_op_threads=0):
        """The model of one version folder.

        Args:
            folder: path of the folder that holds `saved_model.pb`.
            number: version number.
            intra_op_threads: TensorFlow's threads within an operation; 0 for one a core.
            inter_op_threads: TensorFlow's threads between operations; 0 for one a core.

        Raises:
            Exception: Whatever TensorFlow raises on a SavedModel that is broken or incomplete.
        """
        self.number = number
        self.signature_defs = _read_signature_defs(folder)
        self.signatures = read_signatures(self.signature_defs)
        options = tf.compat.v1.ConfigProto(
            intra_op_parallelism_threads=intra_op_threads,
            inter_op_parallelism_threads=inter_op_threads,
            allow_soft_placement=True,
        )
        options.gpu_options.allow_growth = True
        graph = tf.Graph()
        self._session = tf.compat.v1.Session(graph=graph, config=options)
        self._callable_by_tensors = {}
        try:
            with graph.as_default():
                tf.compat.v1.saved_model.loader.load(self._session, [tf.saved_model.SERVING], os.fspath(folder))
            taken = {name: serialized_signature(graph, each) for name, each in self.signatures.items()}
            self.serialized = {name: each for name, each in taken.items() if each is not None}
        except BaseException:
            self._session.close()
            raise

    def signature(self, name):
        """The signature of a name, as Predict wants it.

        Args:
            name: name of the signature; empty for `DEFAULT_SIGNATURE`.

        Returns:
            `Signature`.

        Raises:
            RequestError: If there is none.
        """
        name = name or DEFAULT_SIGNATURE
        signature = self.signatures.get(name)
        if signature is None:
            # TF Serving answers so, and clients tell the status from a malformed input.
            raise RequestError(
                "FAILED_PRECONDITION",
                f'Serving signature key "{name}" not found. Known: {", ".join(sorted(self.signatures))}',
            )
        return signature

    def run(self, feeds, arrays, fetches):
        """Values of tensors.

        Args:
            feeds: names of the input tensors.
            arrays: their values, in this order.
            fetches: names of the output tensors.

        Returns:
            List of `numpy.ndarray` in the order of `fetches`.

        Raises:
            RequestError: If the model cannot digest the values, for example a tf.Example with a feature of another type.
        """
        call = self._callable_by_tensors.get((feeds, fetches)) or self._new_callable(feeds, fetches)
        try:
            return call(*arrays)
        except tf.errors.OpError as error:
            raise RequestError(_STATUS_BY_CODE[error.error_code], first_cause(error.message)) from error
        except UnicodeDecodeError as error:
            # TensorFlow quotes the bytes it cannot parse and then fails to decode its own message.
            raise RequestError("INVALID_ARGUMENT", first_cause(error.object.decode(errors="replace"))) from error

    def close(self):
        """Gives the memory of the model back; nothing may run."""
        self._callable_by_tensors.clear()
        self._session.close()

    def _new_callable(self, feeds, fetches):
        options = config_pb2.CallableOptions(feed=feeds, fetch=fetches)
        # Not public, but what Keras ran on for years: `make_callable` and `run` look up every name at every call.
        call = self._session._make_callable_from_options(options)
        if len(self._callable_by_tensors) < _MAX_CALLABLES:
            self._callable_by_tensors[feeds, fetches] = call
        return call


def _read_signature_defs(folder):
    content = (pathlib.Path(folder) / SAVED_MODEL_FILE).read_bytes()
    for meta_graph in saved_model_pb2.SavedModel.FromString(content).meta_graphs:
        if tf.saved_model.SERVING in meta_graph.meta_info_def.tags:
            return dict(meta_graph.signature_def)
    raise ValueError(f'{SAVED_MODEL_FILE} must hold a graph tagged "{tf.saved_model.SERVING}". Received: none')
