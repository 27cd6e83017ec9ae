"""A SavedModel small enough to know its every prediction: written here in TensorFlow, answered here in plain Python.

`python -m tests.conformance.tiny_model FOLDER` writes version 7 for another model server to be tested against:

    tensorflow_model_server --port=8500 --model_name=ranker --model_base_path=FOLDER
    SMALLTOWERS_TF_SERVING=127.0.0.1:8500 pytest tests/conformance/model_server
"""

import pathlib
import sys

import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2
from tensorflow_serving.apis import predict_pb2

MODEL_NAME = "ranker"
VERSION = 7
USERS = ("u1", "u2")
ITEMS = ("i1", "i2", "i3")
DEFAULT_AGE = 20.0
CLASSES = ("skip", "click")
SAVED_MODEL = "saved_model.pb"

_COLUMNS = {
    "user_id": tf.io.FixedLenFeature([], tf.string, ""),
    "item_id": tf.io.FixedLenFeature([], tf.string, ""),
    "age": tf.io.FixedLenFeature([], tf.float32, DEFAULT_AGE),
    "surface": tf.io.FixedLenFeature([], tf.string, ""),
}
# Signatures made of the outputs of `judge`, with the methods that only graphs of TensorFlow 1 could name when exported.
_METHODS = {
    "classify": ("tensorflow/serving/classify", ("classes", "scores")),
    "classify_labels": ("tensorflow/serving/classify", ("classes",)),
    "regress": ("tensorflow/serving/regress", ("outputs",)),
}


class TinyRanker(tf.Module):
    """Predictions by table look-up; the satisfaction tells which version answered."""

    def __init__(self, version):
        super().__init__()
        self.user_table = _vocabulary(USERS)
        self.item_table = _vocabulary(ITEMS)
        self.satisfaction = tf.Variable(version / 100, dtype=tf.float32)

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="examples")])
    def serve(self, examples):
        return self._predictions(tf.io.parse_example(examples, _COLUMNS))

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="inputs")])
    def judge(self, inputs):
        """Two classes with their scores, and a value: what Classify and Regress answer with."""
        predictions = self._predictions(tf.io.parse_example(inputs, _COLUMNS))
        click = predictions["click"]
        return {
            "classes": tf.tile([CLASSES], [tf.size(click), 1]),
            "scores": tf.stack([1 - click, click], axis=1),
            "outputs": predictions["watch_seconds"],
        }

    @tf.function(
        input_signature=[
            tf.TensorSpec([1], tf.string, name="user_id"),
            tf.TensorSpec([None], tf.string, name="item_id"),
            tf.TensorSpec([1], tf.float32, name="age"),
            tf.TensorSpec([1], tf.string, name="surface"),
        ]
    )
    def rank(self, user_id, item_id, age, surface):
        age = tf.where(tf.math.is_nan(age), DEFAULT_AGE, age)
        return self._predictions({"user_id": user_id, "item_id": item_id, "age": age, "surface": surface})

    def _predictions(self, columns):
        user = tf.cast(self.user_table.lookup(columns["user_id"]), tf.float32)
        item = tf.cast(self.item_table.lookup(columns["item_id"]), tf.float32)
        is_feed = tf.cast(columns["surface"] == "feed", tf.float32)
        return {
            "click": 0.1 * (1 + user) + 0.05 * item,
            "watch_seconds": columns["age"] + 10 * item + 100 * is_feed,
            "satisfaction": self.satisfaction * tf.ones_like(item),
        }

    @tf.function(input_signature=[tf.TensorSpec([None, 2], tf.float32, name="left"), tf.TensorSpec([], tf.float32, "b")])
    def scale(self, left, b):
        return {"scaled": left * b}


def expected(version, user_id, item_id, age=DEFAULT_AGE, surface=""):
    """Predictions of one candidate as plain numbers."""
    user = USERS.index(user_id) if user_id in USERS else len(USERS)
    item = ITEMS.index(item_id) if item_id in ITEMS else len(ITEMS)
    return {
        "click": 0.1 * (1 + user) + 0.05 * item,
        "watch_seconds": age + 10 * item + (100 if surface == "feed" else 0),
        "satisfaction": version / 100,
    }


def write_version(base_path, version, has_rank=True):
    """Writes a version so that it appears under its number only when it is complete."""
    base_path = pathlib.Path(base_path)
    module = TinyRanker(version)
    unfinished = base_path / f"unfinished-{version}"
    signatures = {"serving_default": module.serve, "scale": module.scale, "judge": module.judge}
    signatures |= {"rank": module.rank} if has_rank else {}
    tf.saved_model.save(module, str(unfinished), signatures)
    _add_methods(unfinished / SAVED_MODEL)
    unfinished.rename(base_path / str(version))


def _add_methods(path):
    saved_model = saved_model_pb2.SavedModel.FromString(path.read_bytes())
    signature_defs = saved_model.meta_graphs[0].signature_def
    judge = signature_defs["judge"]
    for name, (method_name, outputs) in _METHODS.items():
        signature_defs[name].method_name = method_name
        signature_defs[name].inputs["inputs"].CopyFrom(judge.inputs["inputs"])
        for output in outputs:
            signature_defs[name].outputs[output].CopyFrom(judge.outputs[output])
    path.write_bytes(saved_model.SerializeToString())


def example(**columns):
    """Serialized tf.Example of str, int and float values."""
    message = tf.train.Example()
    for name, value in columns.items():
        feature = message.features.feature[name]
        if isinstance(value, str):
            feature.bytes_list.value.append(value.encode())
        elif isinstance(value, int):
            feature.int64_list.value.append(value)
        else:
            feature.float_list.value.append(value)
    return message.SerializeToString()


def predict_request(*examples, model_name=MODEL_NAME, version=None, signature_name="", output_filter=()):
    """PredictRequest over serialized examples."""
    request = predict_pb2.PredictRequest(output_filter=output_filter)
    request.model_spec.name = model_name
    request.model_spec.signature_name = signature_name
    if version is not None:
        request.model_spec.version.value = version
    request.inputs["examples"].CopyFrom(tf.make_tensor_proto(list(examples), tf.string, shape=[len(examples)]))
    return request


def _vocabulary(keys):
    values = tf.range(len(keys), dtype=tf.int64)
    return tf.lookup.StaticVocabularyTable(tf.lookup.KeyValueTensorInitializer(list(keys), values), num_oov_buckets=1)


if __name__ == "__main__":
    write_version(sys.argv[1], VERSION)
