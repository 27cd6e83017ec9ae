"""A tensor whose head is known is let through exactly when it would have been anyway."""

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from tensorflow.core.framework import tensor_pb2

from serving.errors import RequestError
from serving.model_server import tensors
from serving.model_server.tensors import input_bytes, serialized_tensor
from tests.unit.serving.model_server.test_tensors import spec_of

ARRAYS = {
    "numbers": np.arange(6, dtype=np.float32).reshape(3, 2),
    "integer": np.array([7], np.int64),
    "string": np.array([b"abc"], object),
    "empty string": np.array([b""], object),
    "two strings": np.array([b"abc", b"de"], object),
}

# As long, with other values behind the same head.
OTHERS = {
    "numbers": ARRAYS["numbers"] + 1,
    "integer": np.array([-1], np.int64),
    "string": np.array([b"xyz"], object),
    "empty string": np.array([b""], object),
    "two strings": np.array([b"abc", b"xy"], object),
}


def verdict(content, spec):
    try:
        return input_bytes("x", content, spec, 100).item()
    except RequestError as error:
        return str(error)


@pytest.mark.parametrize("name", ARRAYS)
def test_other_values_behind_a_known_head_are_read_no_further(name, monkeypatch):
    array = ARRAYS[name]
    spec = spec_of(tf.dtypes.as_dtype(array.dtype) if name in ("numbers", "integer") else tf.string)
    first, second = serialized_tensor(array), serialized_tensor(OTHERS[name])
    assert len(first) == len(second)
    assert (first != second) == (name != "empty string")
    assert verdict(first, spec) == first
    monkeypatch.setattr(tensors, "_parsed", lambda *_: pytest.fail("the head is known"))
    assert verdict(second, spec) == second


def test_of_many_strings_every_one_is_read(monkeypatch):
    """They end in a field of bytes too, but what stands before the last one is as good as all there is."""
    content, spec = serialized_tensor(np.array([b"a"] * 50, object)), spec_of(tf.string)
    assert verdict(content, spec) == content
    monkeypatch.setattr(tensors, "_parsed", lambda *_: pytest.fail("read"))
    with pytest.raises(pytest.fail.Exception, match="read"):
        verdict(content, spec)


@settings(deadline=None, max_examples=300)
@given(
    name=st.sampled_from(sorted(ARRAYS)),
    changes=st.lists(st.tuples(st.integers(0, 60), st.integers(0, 255)), min_size=1, max_size=4),
)
@pytest.mark.filterwarnings("ignore:Unexpected end-group tag")
def test_what_is_known_changes_no_verdict(name, changes):
    dtype = tf.string if "string" in name else tf.dtypes.as_dtype(ARRAYS[name].dtype)
    learned, content = spec_of(dtype, [None] if name == "integer" else None), serialized_tensor(ARRAYS[name])
    assert verdict(content, learned) == content
    changed = bytearray(content)
    for place, value in changes:
        changed[place % len(changed)] = value
    fresh = spec_of(dtype, learned.shape)
    assert verdict(bytes(changed), learned) == verdict(bytes(changed), fresh)


def test_values_that_are_part_of_a_shape_are_no_values():
    """The last bytes are tensor_content's, behind a tag and a length as of these, but are the size of a dimension."""
    one = b"\x81\x80\x80\x80\x80\x80\x80\x00"

    def content(size):
        dim = b"\x78\x22\x08" + size
        shape = b"\x12" + bytes([len(dim)]) + dim
        values = tensor_pb2.TensorProto(dtype=tf.int64.as_datatype_enum, tensor_content=one).SerializeToString()
        return values + b"\x12" + bytes([len(shape)]) + shape

    spec = spec_of(tf.int64, [None])
    assert verdict(content(one), spec) == content(one)
    many = b"\x81\x80\x80\x80\x80\x80\x80\x01"
    assert "must have at most serving.server.max_rows=100 rows" in verdict(content(many), spec)


def test_a_client_cannot_fill_the_memory_with_heads():
    spec = spec_of(tf.string)
    for size in range(2_000):
        content = serialized_tensor(np.array([b"x" * size], object))
        assert verdict(content, spec) == content
    assert spec.known_heads.has(content)
    assert len(spec.known_heads._head_by_length) <= 1_024
