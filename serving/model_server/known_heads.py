"""Heads of tensors that were looked at before: of an input, requests say the same again and again before its values."""

from google.protobuf.message import DecodeError

from serving.model_server.predict_call import whole_message
from serving.protos import predict_pb2

_MAX_BYTES = 64
_MAX_KNOWN = 256
# One empty string, which protobuf itself does not write.
_EMPTY_STRING = b"\x42\x00"


class KnownHeads:
    """What stood before the values of one input in requests that were found in order.

    Known are tensors that end in one field of bytes, as numbers and single strings do. Of another one that is as long and
    begins with the same bytes, up to the values, everything but these is the same: type, shape and how much there is.
    """

    def __init__(self):
        """Nothing known yet."""
        self._head_by_length = {}

    def has(self, content):
        """Whether a tensor differs by its values alone from one that was learned.

        Args:
            content: bytes of a `TensorProto`.

        Returns:
            bool.
        """
        head = self._head_by_length.get(len(content))
        return head is not None and content.startswith(head)

    def learn(self, content, message):
        """Learns the head of a tensor that is in order.

        Args:
            content: bytes of a `TensorProto`.
            message: the `TensorHead` that was read of them.
        """
        head = _head_of(content, message)
        if head is not None:
            if len(self._head_by_length) >= _MAX_KNOWN:
                self._head_by_length.clear()
            self._head_by_length[len(content)] = head


def _head_of(content, message):
    """What stands before the last field if that is one of bytes, its tag and length included; None if there is no such head."""
    values = message.tensor_content or message.string_val
    if len(content) - len(values) > _MAX_BYTES:
        return None
    name = "tensor_content" if message.tensor_content else "string_val"
    field = predict_pb2.TensorHead(**{name: values}).SerializeToString() or _EMPTY_STRING
    before = content[: len(content) - len(field)]
    if before + field != content:
        return None
    try:
        # A message by itself: so what follows is a field of its own, whatever its values are.
        whole_message(predict_pb2.TensorHead, before)
    except DecodeError:
        return None
    return content[: len(content) - len(values)]
