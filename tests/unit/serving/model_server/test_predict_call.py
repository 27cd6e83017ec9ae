import numpy as np
import pytest
import tensorflow as tf
from google.protobuf.message import DecodeError
from tensorflow.core.framework import tensor_pb2
from tensorflow_serving.apis import model_pb2, predict_pb2

from serving.model_server.predict_call import PredictCall, whole_message


def request_of(name, version=None, **inputs):
    request = predict_pb2.PredictRequest()
    request.model_spec.name = name
    if version is not None:
        request.model_spec.version.value = version
    for key, value in inputs.items():
        request.inputs[key].CopyFrom(tf.make_tensor_proto(value))
    return request.SerializeToString()


def part_of(**fields):
    return predict_pb2.PredictRequest(**fields).SerializeToString()


VERSION_7 = model_pb2.ModelSpec(version={"value": 7})


@pytest.mark.parametrize(
    "content",
    [
        b"",
        request_of("ranker", 7, x=[1.0, 2.0], y=np.array([b"a", b""], object)),
        request_of("ranker", 7) + part_of(model_spec=model_pb2.ModelSpec(name="other")),
        request_of("ranker") + part_of(model_spec=VERSION_7),
        part_of(model_spec=VERSION_7) + request_of("ranker", x=1.0),
        request_of("ranker", x=1.0) + request_of("ranker", x=2.0),
        request_of("ranker", x=1.0) + part_of(output_filter=["a", "b"]) + part_of(output_filter=["c"]),
    ],
)
def test_a_call_is_what_tensorflows_own_message_says(content):
    wanted, found = predict_pb2.PredictRequest.FromString(content), PredictCall.from_bytes(content)
    assert found.model_spec == wanted.model_spec
    assert found.has_model_spec == wanted.HasField("model_spec")
    assert list(found.output_filter) == list(wanted.output_filter)
    assert found.content_by_input.keys() == set(wanted.inputs)
    for name, tensor in wanted.inputs.items():
        assert tensor_pb2.TensorProto.FromString(found.content_by_input[name]) == tensor


def test_a_tensor_in_two_parts_has_both():
    head, values = (
        tensor_pb2.TensorProto(dtype=1, tensor_shape={"dim": [{"size": 2}]}).SerializeToString(),
        tensor_pb2.TensorProto(float_val=[1.0, 2.0]).SerializeToString(),
    )
    parts = b"".join(b"\x12" + bytes([len(part)]) + part for part in (head, values))
    entry = b"\x0a\x01x" + parts
    content = b"\x12" + bytes([len(entry)]) + entry
    wanted = predict_pb2.PredictRequest.FromString(content).inputs["x"]
    assert tensor_pb2.TensorProto.FromString(PredictCall.from_bytes(content).content_by_input["x"]) == wanted
    assert tf.make_ndarray(wanted).tolist() == [1.0, 2.0]


@pytest.mark.filterwarnings("ignore:Unexpected end-group tag")
@pytest.mark.parametrize("stop", [b"\x00", b"\x0c", b"\xff"])
def test_what_is_not_read_to_its_end_is_no_message(stop):
    """An end of nothing stops protobuf's reader, which then says that all was well."""
    name, version = (
        model_pb2.ModelSpec(**each).SerializeToString() for each in ({"name": "ranker"}, {"version": {"value": 7}})
    )
    assert whole_message(model_pb2.ModelSpec, name + version).version.value == 7
    with pytest.raises(DecodeError):
        whole_message(model_pb2.ModelSpec, name + stop + version)
    with pytest.raises(DecodeError):
        PredictCall.from_bytes(b"\x0a" + bytes([len(name + stop + version)]) + name + stop + version)
    with pytest.raises(DecodeError):
        PredictCall.from_bytes(request_of("ranker") + stop + request_of("", x=1.0))
