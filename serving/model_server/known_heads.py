"""Heads of tensors that were looked at before: of an input, requests say the same again and again before its values."""

from google.protobuf.message import DecodeError

from serving.model_server.predict_call import whole_message
from serving.protos import predict_pb2
from serving.wire import varint

_MAX_BYTES = 64
# As many as there are numbers of candidates.
_MAX_KNOWN = 1_024
_CONTENT_TAG = predict_pb2.TensorHead(tensor_content=b"a").SerializeToString()[:1]
_STRING_TAG = predict_pb2.TensorHead(string_val=b"a").SerializeToString()[:1]


class KnownHeads:
    """What stood before the values of one input in requests that were found in order.

    Known are tensors that end in one field of bytes, as numbers and single strings do. A tensor that is as long as a known one
    and has the same bytes before its values has the same type, the same shape and as many bytes of values.
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
    head = content[: len(content) - len(values)]
    if len(head) > _MAX_BYTES:
        return None
    last = (_CONTENT_TAG if message.tensor_content else _STRING_TAG) + varint(len(values))
    if not head.endswith(last):
        return None
    try:
        # A message by itself: so what follows is a field of its own, whatever its values are.
        whole_message(predict_pb2.TensorHead, head[: -len(last)])
    except DecodeError:
        return None
    return head
