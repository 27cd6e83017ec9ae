import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2

from serving.errors import RequestError
from serving.model_server.loaded_model import LoadedModel
from serving.model_server.signatures import read_signatures
from serving.model_server.tensors import serialized_tensor
from tests.conformance.tiny_model import example, expected


@pytest.fixture(scope="module")
def model(saved_models):
    model = LoadedModel(saved_models / "2", 2, intra_op_threads=1, inter_op_threads=1)
    yield model
    model.close()


def test_signatures_know_what_they_take_and_whether_rows_may_be_joined(model):
    assert {name: signature.is_batchable for name, signature in model.signatures.items()} == {
        "serving_default": True,
        "judge": True,
        "classify": True,
        "classify_labels": True,
        "regress": True,
        "rank": False,
        "scale": False,
    }
    left = model.signatures["scale"].inputs["left"]
    assert (left.shape, left.dtype_name, left.shape_text) == ((None, 2), "float32", "(None, 2)")


def test_what_takes_or_gives_nothing_or_no_dense_tensor_is_no_signature(model):
    sparse = type(model.signature_defs["judge"])()
    sparse.inputs["x"].name = sparse.outputs["x"].coo_sparse.values_tensor_name = "x"
    given, taken = (type(sparse)() for _ in range(2))
    given.outputs["x"].name = taken.inputs["x"].name = "x"
    assert read_signatures({"sparse": sparse, "given": given, "taken": taken}) == {}
    assert "__saved_model_init_op" in model.signature_defs.keys() - model.signatures.keys()


def test_arrays_in_and_arrays_out(model):
    signature = model.signature("")
    rows = np.array([example(user_id="u1", item_id="i2"), example(item_id="i3")], object)
    outputs = dict(zip(signature.fetches, model.run(signature.feeds, [rows], signature.fetches), strict=True))
    wanted = [expected(2, "u1", "i2"), expected(2, "", "i3")]
    for name, tensor in signature.outputs.items():
        assert outputs[tensor].tolist() == pytest.approx([each[name] for each in wanted])


def test_bytes_in_give_the_same_as_arrays(model):
    for name, arrays in {
        "": [np.array([example(user_id="u1", item_id="i2"), example(item_id="i3")], object)],
        "scale": [np.array(3.0, np.float32), np.array([[1.0, 2.0]], np.float32)],
    }.items():
        signature = model.signature(name)
        serialized = model.serialized[signature.name]
        assert (serialized.inputs, serialized.outputs.keys()) == (signature.inputs, signature.outputs.keys())
        contents = [np.array(serialized_tensor(array), object) for array in arrays]
        wanted = model.run(signature.feeds, arrays, signature.fetches)
        for found, array in zip(model.run(serialized.feeds, contents, serialized.fetches), wanted, strict=True):
            np.testing.assert_array_equal(found, array)
        assert not serialized.is_batchable


def test_a_signature_that_is_no_function_takes_arrays_alone(tmp_path):
    """As TensorFlow 1 exported them."""
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        x = tf.compat.v1.placeholder(tf.float32, [None], name="x")
        tf.compat.v1.saved_model.simple_save(session, str(tmp_path / "1"), {"x": x}, {"y": 2 * x})
    model = LoadedModel(tmp_path / "1", 1)
    signature = model.signature("")
    assert model.serialized == {}
    outputs = dict(zip(signature.fetches, model.run(signature.feeds, [np.float32([1, 2])], signature.fetches), strict=True))
    assert outputs[signature.outputs["y"]].tolist() == [2, 4]
    model.close()


def saved(folder, build_fn, is_stripped=False):
    """A model of TensorFlow 1 that calls a function."""
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        x = tf.compat.v1.placeholder(tf.float32, [], name="x")
        y = build_fn(x)
        session.run(tf.compat.v1.global_variables_initializer())
        tf.compat.v1.saved_model.simple_save(session, str(folder), {"x": x}, {"y": y})
    if is_stripped:
        path = folder / "saved_model.pb"
        model = saved_model_pb2.SavedModel.FromString(path.read_bytes())
        for info in (*signature_of(model).inputs.values(), *signature_of(model).outputs.values()):
            info.name = info.name.removesuffix(":0")
        path.write_bytes(model.SerializeToString())


def signature_of(model):
    return model.meta_graphs[0].signature_def["serving_default"]


def sum_of(*values):
    add = tf.function(lambda *each: tf.add_n(each))
    return add(*values)


def counted(x):
    count = tf.compat.v1.get_variable("count", shape=[], initializer=tf.zeros_initializer(), use_resource=True)
    with tf.control_dependencies([count.assign_add(1.0)]):
        return sum_of(x, x)


@pytest.mark.parametrize(
    ("build_fn", "is_stripped"),
    [(lambda x: sum_of(x, 2 * x), False), (counted, False), (lambda x: sum_of(x, x), True)],
    ids=["an input made of another", "something that must come first", "names without a number"],
)
def test_a_function_that_hangs_on_more_than_what_is_fed_takes_arrays_alone(tmp_path, build_fn, is_stripped):
    saved(tmp_path / "1", build_fn, is_stripped)
    model = LoadedModel(tmp_path / "1", 1)
    signature = model.signature("")
    assert model.serialized == {}
    (value,) = model.run(signature.feeds, [np.float32(1)], signature.fetches)
    assert value in (2.0, 3.0)
    model.close()


def test_an_unknown_signature_is_named_with_those_there_are(model):
    with pytest.raises(RequestError, match=r'"other" not found\. Known: classify, ') as raised:
        model.signature("other")
    assert raised.value.status == "FAILED_PRECONDITION"


def test_what_the_model_cannot_digest_has_tensorflows_status(model):
    signature = model.signature("")
    with pytest.raises(RequestError, match="Key: age") as raised:
        model.run(signature.feeds, [np.array([example(age="old")], object)], signature.fetches)
    assert raised.value.status == "INVALID_ARGUMENT"


def test_a_folder_without_a_graph_for_serving_is_refused(saved_models, tmp_path):
    (tmp_path / "saved_model.pb").write_bytes(b"")
    with pytest.raises(ValueError, match=r'must hold a graph tagged "serve"\. Received: none'):
        LoadedModel(tmp_path, 1)


def test_a_closed_model_leaves_no_session(saved_models):
    model = LoadedModel(saved_models / "1", 1)
    signature = model.signature("")
    model.close()
    with pytest.raises((RuntimeError, tf.errors.OpError, RequestError), match=r"(?i)closed"):
        model.run(signature.feeds, [np.array([b""], object)], signature.fetches)
