"""What one writes in an afternoon: `python -m benchmarks.serving.plain_server FOLDER`, a thread a call, no more.

Prints its port as JSON, and serves until it is killed.
"""

import json
import sys
from concurrent import futures

import grpc
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

from benchmarks.serving.load import MAX_MESSAGE_BYTES

NUM_THREADS = 8


class PlainServicer(prediction_service_pb2_grpc.PredictionServiceServicer):
    """Answers Predict by TensorFlow's own conversions.

    Args:
        folder: of the SavedModel.
    """

    def __init__(self, folder):
        self._model = tf.saved_model.load(folder)

    def Predict(self, request, context):  # noqa: N802, the stub's name
        """Outputs of the signature that the request names.

        Args:
            request: `PredictRequest`.
            context: of the call.

        Returns:
            `PredictResponse`.
        """
        signature = self._model.signatures[request.model_spec.signature_name or "serving_default"]
        inputs = {name: tf.constant(tf.make_ndarray(proto)) for name, proto in request.inputs.items()}
        response = predict_pb2.PredictResponse()
        for name, value in signature(**inputs).items():
            response.outputs[name].CopyFrom(tf.make_tensor_proto(value.numpy()))
        return response


def main(arguments):
    """Serves until it is killed.

    Args:
        arguments: the folder.
    """
    limits = [(f"grpc.max_{way}_message_length", MAX_MESSAGE_BYTES) for way in ("send", "receive")]
    server = grpc.server(futures.ThreadPoolExecutor(NUM_THREADS), options=limits)
    prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(PlainServicer(*arguments), server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    print(json.dumps({"model": port}), flush=True)
    server.wait_for_termination()


if __name__ == "__main__":
    main(sys.argv[1:])
