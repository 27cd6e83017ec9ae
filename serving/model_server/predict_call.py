"""A request of Predict as a server reads it: tensors stay the bytes that they came as."""

from typing import NamedTuple

from google.protobuf.message import DecodeError
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
        request = whole_message(predict_pb2.PredictRequest, content)
        return cls(
            whole_message(model_pb2.ModelSpec, b"".join(request.model_spec)),
            bool(request.model_spec),
            {entry.key: b"".join(entry.value) for entry in request.inputs},
            tuple(request.output_filter),
        )


def whole_message(type_, content):
    """A message of which every byte was read: protobuf itself is content, but for a warning, with what stands before an error.

    Args:
        type_: class of the message.
        content: bytes.

    Returns:
        The message.

    Raises:
        google.protobuf.message.DecodeError: If the bytes are no such message.
    """
    message = type_()
    if message.MergeFromString(content) != len(content):
        raise DecodeError("a message must be read to its end")
    return message
