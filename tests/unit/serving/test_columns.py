"""A request as columns holds what the same request holds as tf.Examples."""

import math

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.framework import types_pb2
from tensorflow.core.protobuf import meta_graph_pb2
from tensorflow_serving.apis import predict_pb2

from serving.errors import FeatureValueError
from serving.ranker.columns import ColumnEncoder, rank_inputs
from serving.ranker.request import ExampleEncoder
from serving.ranker.tensors import InputSpec, serialized_inputs
from tests.unit.serving.test_request import NOW_MS, decoded

STRING, INT, FLOAT = types_pb2.DT_STRING, types_pb2.DT_INT64, types_pb2.DT_FLOAT
SPECS = {
    "user_id": InputSpec(STRING, False, 1, 1),
    "country": InputSpec(STRING, False, 1, 1),
    "surface": InputSpec(STRING, False, 1, 1),
    "user_history": InputSpec(FLOAT, False, 2, 2),
    "last_items": InputSpec(STRING, False, None, 2),
    "user_idle_hours": InputSpec(FLOAT, False, 1, 1),
    "never_heard_of": InputSpec(INT, False, 1, 1),
    "item_id": InputSpec(STRING, True, 1, 1),
    "author_id": InputSpec(STRING, True, 1, 1),
    "num_likes": InputSpec(INT, True, 1, 1),
    "item_history": InputSpec(FLOAT, True, 2, 2),
    "author_history": InputSpec(FLOAT, True, 1, 1),
    "item_age_hours": InputSpec(FLOAT, True, 1, 1),
    "user_author_history": InputSpec(FLOAT, True, 2, 2),
    "user_num_likes_history": InputSpec(FLOAT, True, 1, 1),
    "likes_this_week": InputSpec(FLOAT, True, 1, 1),
    "likes_bucket": InputSpec(STRING, True, 1, 1),
    "user_likes_bucket_history": InputSpec(FLOAT, True, 1, 1),
    "hour_bucket": InputSpec(STRING, False, 1, 1),
    "user_surface_history": InputSpec(FLOAT, False, 2, 2),
    "never_heard_of_either": InputSpec(FLOAT, True, 3, 2),
}
ITEM_IDS = ["i2", "x", "i1", "i3"]


def present(values):
    """What of one row of a tensor is no stand-in for a missing value."""
    values = [one.decode() if isinstance(one, bytes) else one for one in np.ravel(values).tolist()]
    return [one for one in values if one not in ("", np.iinfo(np.int64).min) and one == one]


def rows(arrays):
    """Values by column of every candidate, those of a single row repeated; missing ones left out."""
    for name, array in arrays.items():
        assert len(array) == (len(ITEM_IDS) if SPECS[name].is_candidates else 1)
        assert array.ndim == SPECS[name].rank
    per_row = [{name: present(array[row % len(array)]) for name, array in arrays.items()} for row in range(len(ITEM_IDS))]
    return [{name: values for name, values in row.items() if values} for row in per_row]


@pytest.mark.parametrize("user_id", ["u1", "u2", "nobody"])
@pytest.mark.parametrize(
    "features",
    [
        {},
        {"author_id": "b"},
        {"author_id": {"x": "a", "i1": "b"}},
        {"author_id": {"i1": None}},
        {"author_id": None, "num_likes": 3},
        {"num_likes": {"i3": 1, "x": 3}},
        {"item_age_hours": 2.5, "user_idle_hours": 1.0},
        {"item_age_hours": None, "user_idle_hours": None},
        {"item_age_hours": {"i2": 7}, "country": "fr"},
        {"item_history": [1.5, 2.5], "user_author_history": {"i1": [0.5, 0.5]}},
        {"user_author_history": [], "user_history": None},
        {"last_items": []},
        {"last_items": ["i2", "i9", "i1"], "author_history": {"i1": [3.0], "i2": []}},
        {"surface": "search", "hour": 12},
        {"surface": None, "hour": 12.5},
        {"user_surface_history": [1.5, 2.5], "likes_this_week": {"i3": [3.0]}},
        {"num_likes": {"x": 77, "i3": None}},
        {"num_likes": 2, "likes_bucket": {"i1": "0"}},
        {"num_likes": {"i1": 60}, "likes_bucket": "1"},
    ],
)
def test_columns_hold_what_examples_hold(history_tables, user_id, features):
    arguments = user_id, ITEM_IDS, {"surface": "feed", "hour": 5}, features, NOW_MS
    encoder, examples = ColumnEncoder(history_tables), ExampleEncoder(history_tables).encode(*arguments)
    wanted = [{name: values for name, (_, values) in decoded(example).items() if name in SPECS} for example in examples]
    local_specs = {name: spec._replace(has_pieces=False) for name, spec in SPECS.items()}
    for _ in range(2):  # the second time from memory
        sent = {name: tf.make_ndarray(proto) for name, proto in encoder.encode(SPECS, *arguments).items()}
        assert rows(sent) == wanted
        own = encoder.encode_arrays(local_specs, *arguments)
        assert own.keys() == sent.keys()
        for name, array in own.items():
            np.testing.assert_array_equal(array, sent[name])
            assert array.dtype == sent[name].dtype


def test_a_column_with_one_value_that_has_several_is_not_sent_so(history_tables):
    encoder = ColumnEncoder(history_tables)
    arguments = "u1", ["i1", "i2"], {}
    for of_some in ({"country": {"i1": "fr"}}, {"surface": {"i1": "search"}}, {"hour": {"i1": 9}}):
        assert encoder.encode(SPECS, *arguments, of_some, NOW_MS) is None
    of_user = SPECS | {"num_likes": InputSpec(INT, False, 1, 1)}
    assert encoder.encode(of_user, *arguments, {}, NOW_MS) is None
    assert tf.make_ndarray(encoder.encode(of_user, *arguments, {"num_likes": 8}, NOW_MS)["num_likes"]).tolist() == [8]


def test_history_with_a_value_that_is_the_same_for_all_is_sent_once(history_tables):
    encoder, spec = ColumnEncoder(history_tables), {"user_author_history": InputSpec(FLOAT, False, 2, 2)}
    for features, wanted in (({"author_id": "b"}, [2.0, 0.75]), ({"author_id": "c"}, [0.0, 0.125])):
        inputs = encoder.encode(spec, "u1", ["i1", "i3"], {}, features, NOW_MS)
        assert tf.make_ndarray(inputs["user_author_history"]).tolist() == [wanted]
    for features in ({}, {"author_id": {"i1": "b"}}, {"user_author_history": {"i1": [1.0, 1.0]}}):
        assert encoder.encode(spec, "u1", ["i1", "i3"], {}, features, NOW_MS) is None


def test_names_that_are_no_inputs_are_found_by_their_input_name(tables):
    spec = {"column_video_type": InputSpec(STRING, False, 1, 1)}
    inputs = ColumnEncoder(tables).encode(spec, "u1", ["i1"], {"video.type": "ad"}, {}, NOW_MS)
    assert tf.make_ndarray(inputs["column_video_type"]).tolist() == [b"ad"]


def test_sequences_of_candidates_grow_to_the_longest(tables):
    spec = {"tags": InputSpec(STRING, True, None, 2)}
    features = {"tags": {"i1": ["a"], "i2": ["b", "c"]}}
    inputs = ColumnEncoder(tables).encode(spec, "u1", ["i2", "x", "i1"], {}, features, NOW_MS)
    assert tf.make_ndarray(inputs["tags"]).tolist() == [[b"b", b"c"], [b"", b""], [b"a", b""]]


@pytest.mark.parametrize(
    ("features", "message"),
    [
        ({"never_heard_of": "many"}, "feature never_heard_of must hold an integer of 64 bits. Received: 'many'"),
        ({"never_heard_of": 1 << 63}, "feature never_heard_of must hold an integer of 64 bits. Received: never_heard_of=.9223"),
        ({"num_likes": {"i1": 1.5}}, "feature num_likes must hold an integer of 64 bits. Received: 1.5"),
        ({"country": 7}, "feature country must hold a string. Received: 7"),
        ({"item_history": [1.0]}, "feature item_history must hold 2 values or none. Received: 1"),
        ({"author_id": ["a"]}, "feature author_id must be one value, as user_author_history goes by it"),
        ({"item_id": "i9"}, "must come as ids"),
    ],
)
def test_what_a_column_does_not_take_is_named(history_tables, features, message):
    with pytest.raises(FeatureValueError, match=message):
        ColumnEncoder(history_tables).encode(SPECS, "u1", ["i1"], {}, features, NOW_MS)


def test_inputs_are_read_from_the_servers_description():
    signature = meta_graph_pb2.SignatureDef()
    for name, dtype, shape in (("a", STRING, [1]), ("b", FLOAT, [-1, 3]), ("c", STRING, [1, -1]), ("d", INT, [-1])):
        signature.inputs[name].dtype = dtype
        for size in shape:
            signature.inputs[name].tensor_shape.dim.add(size=size)
    assert rank_inputs({"rank": signature}) == {
        "a": InputSpec(STRING, False, 1, 1),
        "b": InputSpec(FLOAT, True, 3, 2),
        "c": InputSpec(STRING, False, None, 2),
        "d": InputSpec(INT, True, 1, 1),
    }
    assert rank_inputs({"serving_default": signature}) is None
    signature.inputs["e"].dtype = types_pb2.DT_BOOL
    assert rank_inputs({"rank": signature}) is None


def test_a_value_that_is_not_a_number_is_a_missing_one(tables):
    inputs = ColumnEncoder(tables).encode({"age": InputSpec(FLOAT, False, 1, 1)}, "u2", ["i1"], {}, {}, NOW_MS)
    assert math.isnan(tf.make_ndarray(inputs["age"])[0])


TEXTS = ["", "\0", "a\0", "é" * 70, "x" * 20_000]


def test_serialized_columns_are_the_messages(history_tables):
    """Against protobuf's own encoding, with strings of every length of a length, and ones that end in a zero byte."""
    encoder, item_ids = ColumnEncoder(history_tables), ["i1", *TEXTS]
    features = {"author_id": dict(zip(item_ids, ["b", *TEXTS], strict=True)), "country": "f" * 300}
    arguments = "u1", item_ids, {"surface": "a\0"}, features, NOW_MS
    inputs = encoder.encode(SPECS, *arguments)
    assert tf.make_ndarray(inputs["item_id"]).tolist() == [item_id.encode() for item_id in item_ids]
    assert tf.make_ndarray(inputs["author_id"]).tolist() == [b"b", *(text.encode() for text in TEXTS)]
    assert tf.make_ndarray(inputs["surface"]).tolist() == [b"a\0"]
    wanted = predict_pb2.PredictRequest(inputs=inputs)
    wanted.model_spec.name = "ranker"
    head = predict_pb2.PredictRequest(model_spec=wanted.model_spec).SerializeToString()
    content = serialized_inputs(encoder.encode_serialized(SPECS, *arguments))
    assert predict_pb2.PredictRequest.FromString(head + content) == wanted
