"""Predict."""

import pytest
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2

from tests.conformance.model_server.calls import refusal
from tests.conformance.tiny_model import MODEL_NAME, VERSION, example, expected, predict_request


def test_predictions_have_the_models_values(predict):
    rows = [("u1", "i1"), ("u2", "i3"), ("nobody", "i2"), ("u1", "nothing")]
    response = predict(predict_request(*(example(user_id=user, item_id=item, age=31.0) for user, item in rows)))

    assert response.model_spec.name == MODEL_NAME
    assert response.model_spec.version.value == VERSION
    assert response.model_spec.signature_name == "serving_default"
    assert set(response.outputs) == {"click", "watch_seconds", "satisfaction"}
    for name, proto in response.outputs.items():
        wanted = [expected(VERSION, user, item, age=31.0)[name] for user, item in rows]
        assert tf.make_ndarray(proto).tolist() == pytest.approx(wanted, rel=1e-6)


def test_absent_features_take_their_defaults(predict):
    response = predict(predict_request(example()))
    wanted = expected(VERSION, "", "")["watch_seconds"]
    assert tf.make_ndarray(response.outputs["watch_seconds"]).tolist() == pytest.approx([wanted])


def test_an_empty_batch_has_empty_outputs(predict):
    response = predict(predict_request())
    assert tf.make_ndarray(response.outputs["click"]).shape == (0,)


def test_examples_that_were_joined_merge_and_the_last_value_wins(predict):
    joined = example(user_id="u1", item_id="i1", age=1.0) + example(item_id="i2")
    response = predict(predict_request(joined))
    wanted = expected(VERSION, "u1", "i2", age=1.0)
    assert tf.make_ndarray(response.outputs["watch_seconds"]).tolist() == pytest.approx([wanted["watch_seconds"]])


def test_output_filter_keeps_the_named_outputs(predict):
    response = predict(predict_request(example(), output_filter=["click", "satisfaction"]))
    assert set(response.outputs) == {"click", "satisfaction"}


@pytest.mark.parametrize("output_filter", [["nothing"], ["click", "click"]])
def test_wrong_output_filter_is_invalid(predict, output_filter):
    status, _ = refusal(predict, predict_request(example(), output_filter=output_filter))
    assert status == "INVALID_ARGUMENT"


def test_the_served_version_can_be_asked_for(predict):
    assert predict(predict_request(example(), version=VERSION)).model_spec.version.value == VERSION


def test_unknown_version_is_not_found(predict):
    status, details = refusal(predict, predict_request(example(), version=999))
    assert (status, "999" in details) == ("NOT_FOUND", True)


def test_unknown_model_is_not_found(predict):
    status, details = refusal(predict, predict_request(example(), model_name="other"))
    assert (status, "other" in details) == ("NOT_FOUND", True)


def test_unknown_signature_is_a_failed_precondition(predict):
    status, details = refusal(predict, predict_request(example(), signature_name="other"))
    assert (status, "other" in details) == ("FAILED_PRECONDITION", True)


def test_feature_of_a_wrong_type_is_named(predict):
    status, details = refusal(predict, predict_request(example(user_id="u1", age="thirty")))
    assert (status, "age" in details) == ("INVALID_ARGUMENT", True)


def test_bytes_that_are_no_example_are_invalid(predict):
    status, details = refusal(predict, predict_request(b"\xff\xff"))
    assert (status, "parse" in details) == ("INVALID_ARGUMENT", True)


def test_unknown_and_missing_inputs_are_named(predict):
    request = predict_request(example())
    request.inputs["rows"].CopyFrom(request.inputs["examples"])
    del request.inputs["examples"]
    status, details = refusal(predict, request)
    assert (status, "rows" in details) == ("INVALID_ARGUMENT", True)


@pytest.mark.parametrize("tensor", [tf.constant([1.0]), tf.constant("one")], ids=["dtype", "rank"])
def test_input_of_a_wrong_type_or_shape_is_invalid(predict, tensor):
    request = predict_request()
    request.inputs["examples"].CopyFrom(tf.make_tensor_proto(tensor))
    status, _ = refusal(predict, request)
    assert status == "INVALID_ARGUMENT"


def test_a_signature_of_plain_tensors(predict):
    request = predict_pb2.PredictRequest()
    request.model_spec.name, request.model_spec.signature_name = MODEL_NAME, "scale"
    request.inputs["left"].CopyFrom(tf.make_tensor_proto([[1.0, 2.0], [3.0, 4.0]]))
    request.inputs["b"].CopyFrom(tf.make_tensor_proto(2.0))
    response = predict(request)
    assert response.model_spec.signature_name == "scale"
    assert tf.make_ndarray(response.outputs["scaled"]).tolist() == [[2.0, 4.0], [6.0, 8.0]]


def test_columns_with_one_row_go_with_every_row_of_the_others(predict):
    request = predict_pb2.PredictRequest()
    request.model_spec.name, request.model_spec.signature_name = MODEL_NAME, "rank"
    for name, values in {"user_id": ["u2"], "item_id": ["i1", "i3", "x"], "age": [31.0], "surface": ["feed"]}.items():
        request.inputs[name].CopyFrom(tf.make_tensor_proto(values))
    response = predict(request)
    for name, proto in response.outputs.items():
        wanted = [expected(VERSION, "u2", item, age=31.0, surface="feed")[name] for item in ("i1", "i3", "x")]
        assert tf.make_ndarray(proto).tolist() == pytest.approx(wanted, rel=1e-6)


def test_a_request_without_a_name_is_invalid(predict):
    assert refusal(predict, predict_pb2.PredictRequest())[0] == "INVALID_ARGUMENT"
    status, details = refusal(predict, predict_request(example(), model_name=""))
    assert (status, details) == ("INVALID_ARGUMENT", "ModelSpec has no name specified.")


def test_values_one_by_one_are_the_same_as_bytes(predict):
    answers = []
    for form in ("content", "values"):
        request = predict_pb2.PredictRequest()
        request.model_spec.name, request.model_spec.signature_name = MODEL_NAME, "scale"
        request.inputs["b"].CopyFrom(tf.make_tensor_proto(3.0))
        left = request.inputs["left"]
        left.CopyFrom(tf.make_tensor_proto([[1.0, 2.0]]))
        if form == "values":
            left.ClearField("tensor_content")
            left.float_val.extend([1.0, 2.0])
        answers.append(tf.make_ndarray(predict(request).outputs["scaled"]).tolist())
    assert answers == [[[3.0, 6.0]], [[3.0, 6.0]]]


def test_one_value_fills_a_shape(predict):
    request = predict_pb2.PredictRequest()
    request.model_spec.name, request.model_spec.signature_name = MODEL_NAME, "scale"
    request.inputs["b"].CopyFrom(tf.make_tensor_proto(2.0))
    left = request.inputs["left"]
    left.dtype = tf.float32.as_datatype_enum
    left.tensor_shape.dim.add(size=2)
    left.tensor_shape.dim.add(size=2)
    left.float_val.append(1.5)
    assert tf.make_ndarray(predict(request).outputs["scaled"]).tolist() == [[3.0, 3.0], [3.0, 3.0]]


def test_values_beyond_the_shape_are_cut_off(predict):
    request = predict_request(example(user_id="u1"), example(user_id="u2"), example(user_id="u3"))
    request.inputs["examples"].tensor_shape.dim[0].size = 2
    two = predict(predict_request(example(user_id="u1"), example(user_id="u2")))
    assert predict(request).outputs == two.outputs


def test_infinite_and_missing_numbers_are_computed_with(predict):
    rows = predict_request(example(user_id="u1", age=float("inf")), example(user_id="u1", age=float("nan")))
    first, second = tf.make_ndarray(predict(rows).outputs["watch_seconds"]).tolist()
    assert first == float("inf")
    assert second != second
