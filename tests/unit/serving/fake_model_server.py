"""A model server whose every answer is known, over a real socket: slow, broken or away as a test wants it."""

import threading
import zlib
from concurrent import futures

import grpc
import numpy as np
import tensorflow as tf
from tensorflow_serving.apis import get_model_metadata_pb2, predict_pb2, prediction_service_pb2_grpc


def predicted(version, user_id, item_id, age=20.0):
    """Click, watch time and satisfaction of one candidate, as 32 bits."""
    share = zlib.crc32(f"{version}/{user_id}/{item_id}".encode()) / 2**32
    values = 0.05 + 0.9 * share, age + 100 * share, 0.95 - 0.9 * share
    return tuple(float(np.float32(value)) for value in values)


class FakeModelServer(prediction_service_pb2_grpc.PredictionServiceServicer):
    """Versions by label; the newest is the one without a label."""

    def __init__(self, version_by_label):
        self.version_by_label = version_by_label
        self.failing = {}
        self.outputs, self.message = {}, "as the test wants it"
        self.num_calls, self.token, self.pause_seconds = 0, None, 0.0
        self.may_answer = threading.Event()
        self.may_answer.set()
        self._server, self.port = None, 0

    @property
    def address(self):
        return f"127.0.0.1:{self.port}"

    def start(self, credentials=None):
        self._server = grpc.server(futures.ThreadPoolExecutor(4), options=[("grpc.so_reuseport", 0)])
        prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(self, self._server)
        address = f"127.0.0.1:{self.port}"
        add = self._server.add_insecure_port
        self.port = add(address) if credentials is None else self._server.add_secure_port(address, credentials)
        self._server.start()
        return self

    def stop(self):
        self.may_answer.set()
        self._server.stop(grace=None).wait()

    def _version(self, spec, context):
        if self.token is not None and ("authorization", self.token) not in context.invocation_metadata():
            context.abort(grpc.StatusCode.UNAUTHENTICATED, "a token is missing")
        threading.Event().wait(self.pause_seconds)
        label = spec.version_label or None
        if status := self.failing.get(label):
            context.abort(grpc.StatusCode[status], self.message)
        if label not in self.version_by_label:
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, f"Unrecognized servable version label: {label}")
        return self.version_by_label[label]

    def GetModelMetadata(self, request, context):  # noqa: N802
        response = get_model_metadata_pb2.GetModelMetadataResponse()
        response.model_spec.version.value = self._version(request.model_spec, context)
        response.metadata["signature_def"].Pack(get_model_metadata_pb2.SignatureDefMap())
        return response

    def Predict(self, request, context):  # noqa: N802
        self.num_calls += 1
        self.may_answer.wait(30)
        version = self._version(request.model_spec, context)
        rows = []
        for example in request.inputs["examples"].string_val:
            columns = tf.train.Example.FromString(example).features.feature
            age = columns["age"].float_list.value[0] if "age" in columns else 20.0
            ids = (columns[name].bytes_list.value[0].decode() for name in ("user_id", "item_id"))
            rows.append(predicted(version, *ids, age))
        response = predict_pb2.PredictResponse()
        response.model_spec.version.value = version
        for name, values in zip(("click", "watch_seconds", "satisfaction"), zip(*rows, strict=True), strict=True):
            values = self.outputs.get(name, values)
            response.outputs[name].CopyFrom(tf.make_tensor_proto(list(values), tf.float32))
        return response
