"""One raw row through every signature: as an example, as columns of a request, and as transformed columns."""

import math

import numpy as np
import pytest
import tensorflow as tf

from models.calibration import IsotonicCalibrator, PlattCalibrator
from models.config import ModelConfig
from models.errors import ExportError
from models.export import export
from models.features import MISSING_INTEGER
from models.inputs import table_sizes
from models.ranker import MultiTaskRanker
from models.signatures import ServedColumns, rank_spec
from tests.unit.models.conftest import transform

CANDIDATE_COLUMNS = ("item_id", "tab", "duration_seconds", "fans", "item_history", "author.history", "position", "not read")
FEATURES = (
    {"kind": "categorical", "name": "user_id", "dimension": 4},
    {"kind": "categorical", "name": "item_id", "dimension": 3},
    {"kind": "categorical", "name": "country", "hash_buckets": 50, "dimension": 2, "default": "none"},
    {"kind": "categorical", "name": "tab", "dimension": 2, "default": 1},
    {"kind": "numeric", "name": "age", "transform": "piecewise", "num_buckets": 4, "default": 30.0},
    {"kind": "numeric", "name": "duration_seconds", "transform": "log", "default": 9.0},
    {"kind": "numeric", "name": "fans", "transform": "bucket", "num_buckets": 4, "dimension": 2, "default": 50},
    {"kind": "sequence", "name": "last_items", "shares": "item_id", "pooling": "attention", "max_length": 3},
    {"kind": "sequence", "name": "last_countries", "dimension": 2, "max_length": 3},
    {"kind": "numeric", "name": "user_history"},
    {"kind": "numeric", "name": "item_history", "transform": "log", "size": 2, "default": 5.0},
    {"kind": "numeric", "name": "author.history", "size": 2},
    {"kind": "categorical", "name": "position", "dimension": 2},
    {"kind": "cross", "name": "country_tab", "of": ("country", "tab"), "hash_buckets": 40, "dimension": 3},
    {"kind": "cross", "name": "user_country", "of": ("user_id", "country"), "hash_buckets": 40, "dimension": 3},
)
TASKS = (
    {"label": "click", "head": "binary"},
    {"label": "watch_seconds", "head": {"kind": "duration_quantile", "duration": "duration_seconds", "num_groups": 3}},
    {"label": "satisfaction", "head": "binary", "given": "click"},
)
RAW_SPEC = {
    "user_id": tf.io.FixedLenFeature([], tf.string),
    "item_id": tf.io.VarLenFeature(tf.string),
    "country": tf.io.VarLenFeature(tf.string),
    "tab": tf.io.VarLenFeature(tf.int64),
    "age": tf.io.VarLenFeature(tf.float32),
    "duration_seconds": tf.io.VarLenFeature(tf.float32),
    "fans": tf.io.FixedLenFeature([], tf.int64),
    "last_items": tf.io.VarLenFeature(tf.string),
    "last_countries": tf.io.RaggedFeature(tf.string, row_splits_dtype=tf.int64),
    "user_history": tf.io.FixedLenFeature([3], tf.float32),
    "item_history": tf.io.VarLenFeature(tf.float32),
    "author.history": tf.io.RaggedFeature(tf.float32, row_splits_dtype=tf.int64),
    "position": tf.io.FixedLenFeature([1], tf.int64),
} | {name: tf.io.FixedLenFeature([], tf.float32) for task in TASKS for name in (task["label"], f"{task['label']}_mask")}
READ = tuple(name for name in RAW_SPEC if name != "position" and not name.startswith(("click", "watch", "satis")))
CANDIDATES = tuple(name for name in READ if name in CANDIDATE_COLUMNS)
CALIBRATORS = {
    "click": PlattCalibrator(0.7, 0.3),
    "watch_seconds": IsotonicCalibrator([2.0, 8.0, 30.0], [1.0, 9.0, 20.0], math.inf),
}


def raw_rows(num_rows, seed):
    """Rows as instance dicts; an absent key is a missing value."""
    generator = np.random.default_rng(seed)
    rows = []
    for index in range(num_rows):
        row = {
            "user_id": f"u{generator.integers(40)}",
            "fans": int(generator.integers(100)),
            "position": [int(generator.integers(10))],
            "last_items": [f"i{entry}" for entry in generator.integers(30, size=index % 5)],
            "last_countries": [["de", "fr", "it"][entry] for entry in generator.integers(3, size=(index + 1) % 4)],
            "user_history": [float(value) for value in generator.normal(3, 2, 3)],
            "click": float(generator.integers(2)),
            "watch_seconds": float(generator.exponential(10)),
            "satisfaction": float(generator.integers(2)),
            "click_mask": 1.0,
            "watch_seconds_mask": 1.0,
            "satisfaction_mask": float(index % 2),
        }
        optional = {
            "item_id": [f"i{generator.integers(30)}"],
            "country": [["de", "fr", "it"][generator.integers(3)]],
            "tab": [int(generator.integers(4))],
            "age": [float(generator.normal(40, 10))],
            "duration_seconds": [float(generator.exponential(30))],
            "item_history": [float(value) for value in generator.exponential(9, 2)],
            "author.history": [float(value) for value in generator.normal(0, 1, 2)],
        }
        present = generator.uniform(size=len(optional)) < 0.8
        rows.append(row | {name: optional[name] for name, is_present in zip(optional, present, strict=True) if is_present})
    return rows


def assert_same(outputs, expected):
    """To float32's rounding: of a probability 1e-6; a quantile table may be steep, an ulp of the logit many of the seconds."""
    for label, values in expected.items():
        np.testing.assert_allclose(outputs[label], values, rtol=1e-5 if label.startswith("watch") else 1e-6, atol=1e-6)


def example(row):
    message = tf.train.Example()
    for name in READ:
        values = row.get(name, [])
        feature, dtype = message.features.feature[name], RAW_SPEC[name].dtype
        values = values if isinstance(values, list) else [values]
        if dtype == tf.string:
            feature.bytes_list.value.extend(value.encode() for value in values)
        elif dtype == tf.int64:
            feature.int64_list.value.extend(values)
        else:
            feature.float_list.value.extend(values)
        if not values:
            del message.features.feature[name]
    return message.SerializeToString()


def column(name, rows, size):
    """A column of a request, with the stand-ins for missing values."""
    dtype = RAW_SPEC[name].dtype
    missing = {tf.string: "", tf.int64: MISSING_INTEGER, tf.float32: math.nan}[dtype]
    values = [row.get(name, []) for row in rows]
    values = [value if isinstance(value, list) else [value] for value in values]
    if size is None:
        length = max(map(len, values)) + 1
        return tf.constant([value + [""] * (length - len(value)) for value in values], dtype)
    filled = [value or [missing] * size for value in values]
    return tf.constant([value[0] for value in filled] if size == 1 else filled, dtype)


def request(user, candidates, columns):
    return {
        name.replace("author.history", "column_author_history"): column(
            name, candidates if name in CANDIDATES else [user], columns.size(name)
        )
        for name in READ
    }


@pytest.fixture(scope="module")
def fitted(tmp_path_factory):
    folder = tmp_path_factory.mktemp("signatures")
    config = ModelConfig(
        features=FEATURES,
        tasks=TASKS,
        body={"kind": "mmoe", "num_experts": 2, "expert_units": (6,)},
        tower_units=(5,),
        bias_tower={"features": ("position",), "tasks": ("click",)},
        interaction={"kind": "dot", "dimension": 4},
        dropout=0.5,
    )
    return config, transform(folder, config, RAW_SPEC, raw_rows(300, seed=0), raw_rows(30, seed=1))


@pytest.fixture(scope="module")
def ranker(fitted):
    config, transformed = fitted
    ranker = MultiTaskRanker(config, table_sizes(config, transformed.output), seed=0)
    ranker.adapt_heads({name: column.numpy() for name, column in transformed.batch.items()})
    ranker.compute_loss(transformed.batch, training=True)
    generator = np.random.default_rng(0)
    for variable in ranker.trainable_variables:
        variable.assign(generator.normal(0, 0.5, variable.shape))
    return ranker


@pytest.fixture(scope="module")
def columns(ranker, fitted):
    return ServedColumns(ranker, fitted[1].output)


@pytest.fixture(scope="module")
def model(ranker, fitted, tmp_path_factory):
    path = str(tmp_path_factory.mktemp("served") / "1")
    export(ranker, fitted[1].output, path, CALIBRATORS, CANDIDATE_COLUMNS)
    return tf.saved_model.load(path)


@pytest.fixture(scope="module")
def signatures(model):
    return model.signatures


def test_examples_and_transformed_columns_give_the_scores_of_training(ranker, fitted, signatures, columns):
    _, transformed = fitted
    expected = ranker(transformed.batch)
    calibrated = {label: CALIBRATORS.get(label, tf.identity)(values) for label, values in expected.items()}
    examples = tf.constant([example(row) for row in transformed.raw_rows])
    inputs = {
        name.replace(".", "_"): tf.cast(transformed.batch[name], spec.dtype) for name, spec in columns.transformed_spec.items()
    }
    inputs["column_author_history"] = inputs.pop("author_history")
    from_columns = signatures["transformed"](**inputs)
    from_examples = signatures["serving_default"](examples=examples)
    assert_same(from_examples, calibrated)
    assert_same(from_columns, calibrated | {f"{label}_uncalibrated": values for label, values in expected.items()})
    assert all(np.ptp(values) > 0.05 for values in expected.values())
    assert len(from_columns) == 2 * len(from_examples)
    assert np.abs(calibrated["click"] - expected["click"]).max() > 0.01


def test_columns_of_one_user_and_many_candidates_give_the_scores_of_their_examples(fitted, signatures, columns):
    rows = fitted[1].raw_rows
    for user, first in ((rows[0], 0), (rows[301], 40), ({}, 290)):
        user = {"user_id": ""} | user
        candidates = rows[first : first + 35]
        merged = [
            {**{name: user[name] for name in READ if name in user and name not in CANDIDATES}}
            | {name: row[name] for name in CANDIDATES if name in row}
            for row in candidates
        ]
        if user["user_id"] == "":
            merged = [row | {"user_history": [0.0, 0.0, 0.0]} for row in merged]
        ranked = signatures["rank"](**request(user, candidates, columns))
        expected = signatures["serving_default"](examples=tf.constant([example(row) for row in merged]))
        assert_same(ranked, expected)
        assert all(np.ptp(values) > 1e-3 for values in expected.values())
        assert {values.dtype for values in ranked.values()} == {tf.float32}


def test_inputs_of_rank_say_what_is_the_users_and_what_a_candidates(signatures, columns):
    specs = signatures["rank"].structured_input_signature[1]
    assert {name: (spec.shape.as_list(), spec.dtype) for name, spec in specs.items()} == {
        "user_id": ([1], tf.string),
        "item_id": ([None], tf.string),
        "country": ([1], tf.string),
        "tab": ([None], tf.int64),
        "age": ([1], tf.float32),
        "duration_seconds": ([None], tf.float32),
        "fans": ([None], tf.int64),
        "last_items": ([1, None], tf.string),
        "last_countries": ([1, None], tf.string),
        "user_history": ([1, 3], tf.float32),
        "item_history": ([None, 2], tf.float32),
        "column_author_history": ([None, 2], tf.float32),
    }
    assert set(columns.raw) == set(READ)


@pytest.mark.parametrize(
    ("name", "default", "other"),
    [
        ("country", "none", "de"),
        ("tab", 1, 2),
        ("age", 30.0, 55.0),
        ("duration_seconds", 9.0, 50.0),
        ("fans", 50, 99),
        ("item_history", [5.0, 5.0], [0.0, 80.0]),
        ("author.history", [0.0, 0.0], [1.0, -2.0]),
        ("user_history", [0.0, 0.0, 0.0], [9.0, 1.0, 1.0]),
        ("last_items", [], ["i1", "i2"]),
    ],
)
def test_a_missing_column_takes_its_default_in_both_signatures(name, default, other, fitted, signatures, columns):
    row = next(row for row in fitted[1].raw_rows if all(column in row for column in READ))
    without = {key: value for key, value in row.items() if key != name}
    rows = [without, row | {name: default}, row | {name: other}]
    from_examples = signatures["serving_default"](examples=tf.constant([example(one) for one in rows]))
    ranked = [signatures["rank"](**request(one, [one], columns)) for one in rows]
    scores = {label: np.array([outputs[label].numpy()[0] for outputs in ranked]) for label in from_examples}
    assert_same(scores, from_examples)
    for values in scores.values():
        assert values[0] == values[1]
        assert values[0] != values[2]


def test_an_empty_request_has_empty_outputs(fitted, signatures, columns):
    empty = {
        name: values[:0] if spec.shape[0] is None else values
        for (name, values), spec in zip(
            request(fitted[1].raw_rows[0], fitted[1].raw_rows[:1], columns).items(),
            rank_spec(columns, CANDIDATE_COLUMNS).values(),
            strict=True,
        )
    }
    assert {label: values.shape for label, values in signatures["rank"](**empty).items()} == dict.fromkeys(
        ("click", "watch_seconds", "satisfaction"), (0,)
    )


def test_candidates_of_different_numbers_are_refused(fitted, signatures, columns):
    inputs = request(fitted[1].raw_rows[0], fitted[1].raw_rows[:4], columns)
    with pytest.raises(tf.errors.InvalidArgumentError, match="columns of candidates must hold as many rows each"):
        signatures["rank"](**(inputs | {"fans": inputs["fans"][:3]}))


def test_the_users_part_is_computed_once(model):
    """What reads the user's columns alone has one row in the graph, and the attention many."""
    graph = model.signatures["rank"].graph
    functions = [graph, *(graph._get_function(name) for name in graph._functions if graph._get_function(name) is not None)]
    shapes = {
        tuple(output.shape.as_list())
        for function in functions
        for operation in getattr(function, "graph", function).get_operations()
        if operation.type in ("GatherV2", "ResourceGather")
        for output in operation.outputs
        if output.shape.rank is not None
    }
    assert any(shape[0] == 1 for shape in shapes if len(shape) > 1)
    assert any(shape[0] is None for shape in shapes if len(shape) > 1)


def test_served_state_is_stored_and_the_bias_tower_is_not(model, ranker):
    assert [variable.shape for variable in model.model_variables] == [variable.shape for variable in ranker.served_variables]
    assert [variable.numpy().tolist() for variable in model.model_state] == [
        variable.numpy().tolist() for variable in ranker.served_state
    ]
    assert len(model.model_state) > 0
    assert not any("bias_tower" in variable.name or "small" in variable.name for variable in model.model_variables)


def test_columns_that_cannot_be_inputs_are_refused(ranker, fitted, columns, tmp_path):
    with pytest.raises(ExportError, match=r"features must hold a column of the candidates, of \['price'\]"):
        export(ranker, fitted[1].output, str(tmp_path / "1"), candidate_columns=("price",))
    columns.raw_spec["author history"] = columns.raw_spec["author.history"]
    columns.raw["author history"] = columns.raw["author.history"]
    with pytest.raises(ExportError, match=r"names that differ in letters and digits. Received: column_author_history twice"):
        rank_spec(columns, CANDIDATE_COLUMNS)
    del columns.raw_spec["author history"], columns.raw["author history"]
