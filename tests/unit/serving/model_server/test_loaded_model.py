import numpy as np
import pytest
import tensorflow as tf

from serving.errors import RequestError
from serving.model_server.loaded_model import LoadedModel
from serving.model_server.signatures import read_signatures
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
