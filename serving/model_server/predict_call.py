"""A request of Predict as a server reads it: tensors stay the bytes that they came as."""

from typing import NamedTuple

from tensorflow_serving.apis import model_pb2

from serving.protos import predict_pb2


class PredictCall(NamedTuple):
    """What is asked.

    Attributes:
        model_spec: `ModelSpec`; empty where none was given.
        has_model_spec: whether one was given.
        content_by_input: serialized `TensorProto` by input name.
        output_filter: names of the outputs that are wanted; empty for all.
    """

    model_spec: model_pb2.ModelSpec
    has_model_spec: bool
    content_by_input: dict
    output_filter: tuple

    @classmethod
    def from_bytes(cls, content):
        """The call that a message asks for.

        Args:
            content: bytes of a `PredictRequest`.

        Returns:
            `PredictCall`.

        Raises:
            google.protobuf.message.DecodeError: If they are none.
        """
        request = predict_pb2.PredictRequest.FromString(content)
        return cls(
            model_pb2.ModelSpec.FromString(request.model_spec),
            request.HasField("model_spec"),
            {entry.key: entry.value for entry in request.inputs},
            tuple(request.output_filter),
        )
