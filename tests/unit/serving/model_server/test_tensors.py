import re

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from tensorflow.core.framework import tensor_pb2
from tensorflow.core.protobuf import meta_graph_pb2

from serving.errors import RequestError
from serving.model_server.signatures import read_signatures
from serving.model_server.tensors import fill_proto, input_array, input_bytes, serialized_tensor

DTYPES = st.sampled_from([np.float32, np.float64, np.int32, np.int64, np.bool_, np.uint8, np.float16])
SHAPES = hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4)


def spec_of(dtype, shape=None):
    signature = meta_graph_pb2.SignatureDef()
    info = signature.inputs["x"]
    info.name, info.dtype = "x:0", dtype.as_datatype_enum
    info.tensor_shape.CopyFrom(tf.TensorShape(shape).as_proto())
    signature.outputs["y"].CopyFrom(info)
    return read_signatures({"f": signature})["f"].inputs["x"]


def checked(proto, spec, max_rows=100):
    """Both ways to read an input agree on what fits: the array of it, and the bytes as TensorFlow reads them."""
    content = proto.SerializeToString()
    try:
        array = input_array("x", content, spec, max_rows)
    except RequestError as error:
        with pytest.raises(RequestError, match=re.escape(str(error).partition(".")[0])):
            input_bytes("x", content, spec, max_rows)
        raise
    assert input_bytes("x", content, spec, max_rows).item() == content
    assert_same(tf.io.parse_tensor(content, spec.dtype).numpy(), array)
    return array


def assert_same(array, wanted):
    np.testing.assert_array_equal(array, wanted)
    assert (array.dtype, array.shape) == (wanted.dtype, wanted.shape)


@settings(deadline=None, max_examples=200)
@given(array=st.tuples(DTYPES, SHAPES).flatmap(lambda pair: hnp.arrays(*pair)))
def test_arrays_come_back_as_tensorflow_reads_and_writes_them(array):
    proto = tensor_pb2.TensorProto()
    fill_proto(proto, array)
    assert_same(tf.make_ndarray(proto), array)
    assert_same(checked(tf.make_tensor_proto(array), spec_of(tf.dtypes.as_dtype(array.dtype))), array)


@settings(deadline=None)
@given(texts=st.lists(st.binary(max_size=6), max_size=6))
def test_strings_come_back(texts):
    array = np.array(texts, object).reshape(len(texts))
    proto = tensor_pb2.TensorProto()
    fill_proto(proto, array)
    assert tf.make_ndarray(proto).tolist() == texts
    assert checked(proto, spec_of(tf.string, [None])).tolist() == texts


@pytest.mark.parametrize(("values", "wanted"), [([3.0], [3.0, 3.0, 3.0]), ([1.0, 2.0], [1.0, 2.0, 2.0]), ([], [0.0, 0.0, 0.0])])
def test_the_last_value_fills_the_shape(values, wanted):
    proto = tensor_pb2.TensorProto(dtype=tf.float32.as_datatype_enum, float_val=values)
    proto.tensor_shape.dim.add(size=3)
    assert checked(proto, spec_of(tf.float32)).tolist() == wanted


@pytest.mark.parametrize(
    ("proto", "message"),
    [
        (tf.make_tensor_proto([1.0]), 'input "x" must have dtype int64. Received: dtype float32'),
        (tensor_pb2.TensorProto(dtype=999), "Received: dtype number 999"),
        (tf.make_tensor_proto([1, 2], tf.int64), r"must have shape \(None, 2\). Received: shape \[2\]"),
        (tf.make_tensor_proto([[1, 2, 3]], tf.int64), r"must have shape \(None, 2\). Received: shape \[1, 3\]"),
        (tf.make_tensor_proto(0, tf.int64, [101, 2]), r"at most serving.server.max_rows=100 rows. Received: shape \[101, 2\]"),
    ],
)
def test_what_does_not_fit_is_named(proto, message):
    with pytest.raises(RequestError, match=message) as raised:
        checked(proto, spec_of(tf.int64, [None, 2]))
    assert raised.value.status == "INVALID_ARGUMENT"


@pytest.mark.filterwarnings("ignore:Unexpected end-group tag")
@pytest.mark.parametrize("stop", [b"\xff", b"\0", b"\x0c"])
@pytest.mark.parametrize("read_fn", [input_array, input_bytes])
def test_bytes_that_are_no_tensor_are_refused(read_fn, stop):
    head, values = tensor_pb2.TensorProto(dtype=7), tensor_pb2.TensorProto(string_val=[b"a"])
    head.tensor_shape.dim.add(size=1)
    content = head.SerializeToString() + stop + values.SerializeToString()
    with pytest.raises(RequestError, match='input "x" must be a TensorProto') as raised:
        read_fn("x", content, spec_of(tf.string), 1)
    assert raised.value.status == "INVALID_ARGUMENT"


@pytest.mark.parametrize(
    ("dtype", "field", "values"),
    [
        (tf.float32, "float_val", [1, 2, 3]),
        (tf.float16, "half_val", [0x3C00, 0x4000, 0x4200]),
        (tf.bfloat16, "half_val", [0x3F80, 0x4000, 0x4040]),
        (tf.uint8, "int_val", [1, 2, 3]),
        (tf.int16, "int_val", [1, 2, 3]),
        (tf.uint32, "uint32_val", [1, 2, 3]),
        (tf.uint64, "uint64_val", [1, 2, 3]),
        (tf.complex64, "scomplex_val", [1, 0, 2, 0, 3, 0]),
    ],
)
def test_values_beyond_the_shape_are_cut_off(dtype, field, values):
    proto = tensor_pb2.TensorProto(dtype=dtype.as_datatype_enum, **{field: values})
    proto.tensor_shape.dim.add(size=2)
    assert checked(proto, spec_of(dtype)).tolist() == [1, 2]


def strings(size, *values):
    proto = tensor_pb2.TensorProto(dtype=tf.string.as_datatype_enum, string_val=values)
    proto.tensor_shape.dim.add(size=size)
    return proto


def test_a_long_string_is_not_repeated_without_bound():
    long = b"x" * (1 << 20)
    assert len(checked(strings(10, long), spec_of(tf.string))) == 10
    assert len(checked(strings(20, *[long] * 20), spec_of(tf.string))) == 20
    with pytest.raises(RequestError, match=r"must repeat its last string to at most 16777216 bytes. Received: 18874368 bytes"):
        checked(strings(20, long, long), spec_of(tf.string))


def test_strings_as_bytes_of_values_are_refused():
    proto = strings(2)
    proto.tensor_content = b"\x01\x01ab"
    with pytest.raises(RequestError, match=r"must hold its strings in string_val\. Received: tensor_content"):
        checked(proto, spec_of(tf.string))


def test_messages_about_a_shape_are_short():
    proto = tensor_pb2.TensorProto(dtype=tf.float32.as_datatype_enum, tensor_shape=tf.TensorShape([1] * 254).as_proto())
    with pytest.raises(RequestError, match="must have shape") as raised:
        checked(proto, spec_of(tf.float32, [None]))
    assert len(str(raised.value)) < 300
    proto.tensor_shape.dim.add(size=1)
    with pytest.raises(RequestError, match=r"must have at most 254 dimensions. Received: 255"):
        checked(proto, spec_of(tf.float32))


def test_one_string_alone_can_be_written():
    proto = tensor_pb2.TensorProto()
    fill_proto(proto, b"a")
    assert tf.make_ndarray(proto).item() == b"a"


def test_a_shape_in_two_parts_counts_whole():
    """What comes behind the values may still make the shape larger."""
    more = tensor_pb2.TensorProto()
    more.tensor_shape.dim.add(size=1 << 40)
    content = serialized_tensor(np.array([b"a"], object)) + more.SerializeToString()
    for read_fn in (input_array, input_bytes):
        with pytest.raises(RequestError, match="must have at most 16777216 elements"):
            read_fn("x", content, spec_of(tf.string), 100)


@pytest.mark.parametrize(
    ("sizes", "content", "message"),
    [
        ([-1], b"", "must have shape"),
        ([1 << 13, 1 << 13], b"", "must have at most 16777216 elements"),
        ([2], b"123", "must hold the values"),
        ([3], b"12345678", "must hold the values"),
    ],
)
def test_values_that_do_not_fill_the_shape_are_refused(sizes, content, message):
    proto = tensor_pb2.TensorProto(dtype=tf.float32.as_datatype_enum, tensor_content=content)
    for size in sizes:
        proto.tensor_shape.dim.add(size=size)
    with pytest.raises(RequestError, match=f'input "x" {message}'):
        checked(proto, spec_of(tf.float32), max_rows=1 << 20)
