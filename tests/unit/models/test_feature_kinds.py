"""Hashes, crosses, shared tables, clipping and positions: the same raw rows through the served graph and through NumPy."""

import bisect
import itertools

import hypothesis
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import strategies as st

from data.schema import LABELS, mask_name
from models.categories import crossed, hashed
from models.config import ModelConfig
from models.errors import FeatureError
from models.features import MISSING_INTEGER, preprocess
from models.inputs import FeatureInputs, table_sizes
from tests.unit.models.conftest import transform

NUM_TRAIN_ROWS = 200
CONFIG = ModelConfig(
    features=[
        {"kind": "categorical", "name": "item", "dimension": "auto", "default": "none"},
        {"kind": "categorical", "name": "last_item", "shares": "item"},
        {"kind": "categorical", "name": "tag", "hash_buckets": 11, "default": "no tag"},
        {"kind": "categorical", "name": "last_tag", "shares": "tag"},
        {"kind": "categorical", "name": "tab", "hash_buckets": 7},
        {"kind": "sequence", "name": "last_tags", "shares": "tag", "max_length": 3},
        {"kind": "cross", "name": "tag_in_tab", "of": ["tag", "tab"], "hash_buckets": 97, "dimension": 2},
        {"kind": "cross", "name": "three", "of": ["item", "tab", "last_tag"], "hash_buckets": 5},
        {"kind": "numeric", "name": "age", "transform": "piecewise", "num_buckets": 4, "dimension": 2, "default": 30.0},
        {"kind": "numeric", "name": "rates", "transform": "piecewise", "num_buckets": 4, "dimension": 3},
        {"kind": "numeric", "name": "length", "transform": "log", "clip": False},
        {"kind": "numeric", "name": "clipped"},
        {"kind": "numeric", "name": "unclipped", "clip": False},
        {"kind": "numeric", "name": "fans", "transform": "bucket", "num_buckets": 4},
    ]
)
SPEC = {
    "item": tf.io.VarLenFeature(tf.string),
    "last_item": tf.io.FixedLenFeature([], tf.string),
    "tag": tf.io.VarLenFeature(tf.string),
    "last_tag": tf.io.FixedLenFeature([], tf.string),
    "tab": tf.io.VarLenFeature(tf.int64),
    "last_tags": tf.io.VarLenFeature(tf.string),
    "age": tf.io.VarLenFeature(tf.float32),
    "rates": tf.io.FixedLenFeature([2], tf.float32),
    "length": tf.io.FixedLenFeature([], tf.float32),
    "clipped": tf.io.FixedLenFeature([], tf.float32),
    "unclipped": tf.io.FixedLenFeature([], tf.float32),
    "fans": tf.io.FixedLenFeature([], tf.int64),
} | {name: tf.io.FixedLenFeature([], tf.float32) for label in LABELS for name in (label, mask_name(label))}


def raw_rows(num_rows, seed, scale):
    """Rows of which every fourth lacks item, tag, tab and age; `scale` widens the numbers."""
    generator = np.random.default_rng(seed)
    rows = []
    for index in range(num_rows):
        row = {
            "last_item": f"i{generator.integers(12)}",
            "last_tag": f"t{generator.integers(30)}",
            "last_tags": [f"t{entry}" for entry in generator.integers(30, size=index % 5)],
            # Most rows hold no rate at all: two buckets without width.
            "rates": [float(scale * generator.normal()), float(generator.exponential() * (index % 8 > 4))],
            "length": float(scale * generator.exponential(9)),
            "clipped": float(scale * generator.normal(5, 2)),
            "unclipped": float(scale * generator.normal(5, 2)),
            "fans": int(generator.integers(100)),
        } | {name: float(generator.integers(2)) for label in LABELS for name in (label, mask_name(label))}
        if index % 4:
            row |= {"item": [f"i{generator.integers(10)}"], "tag": [f"t{generator.integers(30)}"]}
            row |= {"tab": [int(generator.integers(-3, 3))], "age": [float(scale * generator.normal(40, 10))]}
        rows.append(row)
    return rows


@pytest.fixture(scope="module")
def fitted(tmp_path_factory):
    """Fitted on 200 rows; the others reach beyond their numbers, and hold items that were never seen."""
    folder = tmp_path_factory.mktemp("kinds")
    return transform(folder, CONFIG, SPEC, raw_rows(NUM_TRAIN_ROWS, 0, 1), raw_rows(60, 1, 3))


def column(fitted, name):
    return np.array([row[name] for row in fitted.rows])


def raw(fitted, name, missing=None):
    values = [row.get(name, [missing]) for row in fitted.raw_rows]
    return [value[0] if isinstance(value, list) else value for value in values]


def bucket(value, num_buckets):
    """Of one string, by TensorFlow's own kernel, whose values are fixed for ever."""
    return int(tf.strings.to_hash_bucket_fast(value, num_buckets))


def test_the_hash_is_the_one_that_it_has_always_been():
    """A model in service, and the rows of the next one, must agree on it."""
    assert [bucket(value, 1_000_003) for value in ("", "a", "KuaiRand", "日本")] == [377723, 291400, 909927, 912016]


@pytest.mark.parametrize(
    ("name", "missing", "num_buckets"), [("tag", "no tag", 11), ("last_tag", None, 11), ("tab", MISSING_INTEGER, 7)]
)
def test_hashed_categories(fitted, name, missing, num_buckets):
    expected = [bucket(str(value), num_buckets) for value in raw(fitted, name, missing)]
    assert column(fitted, name).tolist() == expected
    assert len(set(expected)) > 3


def test_hashed_sequences_have_the_ids_of_their_category(fitted):
    for row, ids in zip(fitted.raw_rows, column(fitted, "last_tags"), strict=True):
        entries = [1 + bucket(entry, 11) for entry in row["last_tags"][:3]]
        assert ids.tolist() == entries + [0] * (3 - len(entries))


def test_a_shared_vocabulary_is_that_of_its_owner(fitted):
    vocabulary = [entry.decode() for entry in fitted.output.vocabulary_by_name("item")]
    assert set(vocabulary) == {f"i{index}" for index in range(10)} | {"none"}
    for value, id_ in zip(raw(fitted, "last_item"), column(fitted, "last_item"), strict=True):
        assert id_ == (vocabulary.index(value) if value in vocabulary else len(vocabulary))
    for value, id_ in zip(raw(fitted, "item", "none"), column(fitted, "item"), strict=True):
        assert id_ == vocabulary.index(value)


def cross_oracle(values, num_buckets):
    return bucket("".join(f"{len(str(value).encode())}:{value}" for value in values), num_buckets)


def test_crosses_hash_all_values_together_defaults_included(fitted):
    tags, tabs = raw(fitted, "tag", "no tag"), raw(fitted, "tab", MISSING_INTEGER)
    expected = [cross_oracle(values, 97) for values in zip(tags, tabs, strict=True)]
    assert column(fitted, "tag_in_tab").tolist() == expected
    items, last_tags = raw(fitted, "item", "none"), raw(fitted, "last_tag")
    expected = [cross_oracle(values, 5) for values in zip(items, tabs, last_tags, strict=True)]
    assert column(fitted, "three").tolist() == expected


VALUES = st.one_of(st.text(max_size=4), st.sampled_from(["a:", ":a", "1:a", "", "-", "a-b"]))


@hypothesis.settings(deadline=None, max_examples=200)
@hypothesis.given(st.tuples(VALUES, VALUES), st.tuples(VALUES, VALUES))
def test_two_combinations_never_make_one_value(first, second):
    """Told apart by 2**60 buckets, in which no two of a test's few strings meet by chance."""
    ids = [int(crossed([tf.constant([value]) for value in values], 2**60)[0]) for values in (first, second)]
    assert (ids[0] == ids[1]) == (first == second)


@hypothesis.settings(deadline=None, max_examples=100)
@hypothesis.given(st.lists(st.one_of(st.integers(-(2**63), 2**63 - 1)), min_size=1, max_size=5), st.integers(2, 10_000))
def test_integers_hash_as_their_decimal_strings(numbers, num_buckets):
    ids = hashed(tf.constant(numbers, tf.int64), num_buckets).numpy()
    assert ids.tolist() == hashed(tf.constant([str(number) for number in numbers]), num_buckets).numpy().tolist()
    assert ids.min() >= 0
    assert ids.max() < num_buckets


def test_one_row_crosses_with_many():
    many = crossed([tf.constant(["u"]), tf.constant([3, 4, 5], tf.int64)], 1_000)
    assert many.numpy().tolist() == [cross_oracle(("u", number), 1_000) for number in (3, 4, 5)]


def test_a_user_of_one_row_crosses_with_candidates_in_the_served_graph(fitted):
    layer = fitted.output.transform_features_layer()
    one = {"tag": tf.sparse.from_dense(tf.constant([["t1"]]))}
    many = {"tab": tf.sparse.from_dense(tf.constant([[1], [2], [-1]], tf.int64))}
    served = layer({**many, **one})
    assert served["tag"].shape[0] in (1, None)
    assert served["tag_in_tab"].numpy().tolist() == [cross_oracle(("t1", tab), 97) for tab in (1, 2, -1)]


def clipped_zscores(numbers, clip):
    train = numbers[:NUM_TRAIN_ROWS]
    return ((np.clip(numbers, train.min(), train.max()) if clip else numbers) - train.mean()) / train.std()


def test_numbers_beyond_the_training_rows_count_as_their_ends(fitted):
    numbers = np.array(raw(fitted, "clipped"))
    assert numbers[NUM_TRAIN_ROWS:].max() > numbers[:NUM_TRAIN_ROWS].max() + 1
    np.testing.assert_allclose(column(fitted, "clipped"), clipped_zscores(numbers, True), atol=1e-4)
    np.testing.assert_allclose(
        column(fitted, "unclipped"), clipped_zscores(np.array(raw(fitted, "unclipped")), False), atol=1e-4
    )
    lengths = np.log1p(raw(fitted, "length"))
    np.testing.assert_allclose(column(fitted, "length"), clipped_zscores(lengths, False), atol=1e-4)


def test_positions_follow_the_quantiles_of_the_training_rows(fitted):
    ages = np.array(raw(fitted, "age", 30.0))
    found, train = column(fitted, "age"), sorted(ages[:NUM_TRAIN_ROWS])
    for age, position in zip(ages, found, strict=True):
        # Quarters of the training rows below it, and not above it.
        below, up_to = (4 * bisect_fn(train, age) / NUM_TRAIN_ROWS for bisect_fn in (bisect.bisect_left, bisect.bisect_right))
        assert below - 0.1 <= np.floor(position) + 1
        assert np.ceil(position) - 1 <= up_to + 0.1
    order = np.argsort(ages)
    assert (np.diff(found[order]) >= 0).all()
    assert found[:NUM_TRAIN_ROWS].min() == 0
    assert found[:NUM_TRAIN_ROWS].max() == 4
    assert found.max() == 4


def test_positions_of_a_column_that_is_mostly_one_value(fitted):
    """Five of eight rates are 0: of the four buckets two have a width, and only these are counted."""
    rates = np.array([row["rates"] for row in fitted.raw_rows])
    found = column(fitted, "rates")
    assert (found[rates[:, 1] == 0, 1] == 0).all()
    assert found[:, 1].max() == 2
    assert 0.4 < found[rates[:, 1] > 0, 1].mean() < 1.6
    assert found[:, 0].max() == 4


def test_files_hold_positions_as_numbers_and_everything_else_as_ids(fitted):
    spec = fitted.output.transformed_feature_spec()
    floats = {name for name, feature in spec.items() if feature.dtype == tf.float32}
    assert floats - {name for label in LABELS for name in (label, mask_name(label))} == {
        "age", "rates", "length", "clipped", "unclipped",
    }  # fmt: skip


def test_table_sizes(fitted):
    assert table_sizes(CONFIG, fitted.output) == {
        "item": 12, "tag": 11, "tab": 7, "tag_in_tab": 97, "three": 5, "age": 4, "rates": 8, "fans": 4,
    }  # fmt: skip


def test_inputs_read_what_the_transform_makes(fitted):
    layer = FeatureInputs(CONFIG.features, table_sizes(CONFIG, fitted.output))
    vectors = layer.vectors(fitted.batch)
    assert {name: vector.shape[1] for name, vector in vectors.items()} == {
        "item": 4, "last_item": 4, "tag": 8, "last_tag": 8, "tab": 8, "last_tags": 8, "tag_in_tab": 2, "three": 8,
        "age": 2, "rates": 6, "length": 1, "clipped": 1, "unclipped": 1, "fans": 8,
    }  # fmt: skip


def test_a_row_that_lacks_columns_is_served_their_defaults(fitted):
    """A new version of a feature, or an old client: what the row lacks takes the default, in crosses too."""
    layer = fitted.output.transform_features_layer()
    nothing = tf.sparse.from_dense(tf.constant([[""]]))
    no_tab = tf.SparseTensor(tf.zeros([0, 2], tf.int64), tf.zeros([0], tf.int64), [1, 0])
    served = layer({"tag": nothing, "tab": no_tab})
    given = layer(
        {
            "tag": tf.sparse.from_dense(tf.constant([["no tag"]])),
            "tab": tf.sparse.from_dense(tf.constant([[MISSING_INTEGER]], tf.int64)),
        }
    )
    for name in ("tag", "tab", "tag_in_tab"):
        assert served[name].numpy().tolist() == given[name].numpy().tolist()


def test_vocabularies_go_with_an_exported_graph(fitted, tmp_path):
    """A table that was not initialised would fail, or give every value the same id."""
    module = tf.Module()
    module.layer = fitted.output.transform_features_layer()
    module.serve = tf.function(
        lambda last_item: module.layer({"last_item": last_item})["last_item"],
        input_signature=[tf.TensorSpec([None], tf.string)],
    )
    tf.saved_model.save(module, str(tmp_path / "model"))
    values = raw(fitted, "last_item")
    served = tf.saved_model.load(str(tmp_path / "model")).serve(tf.constant(values)).numpy()
    assert served.tolist() == column(fitted, "last_item").tolist()
    assert len(set(served)) > 8


@pytest.mark.parametrize(
    ("features", "inputs", "message"),
    [
        (
            [{"kind": "categorical", "name": "x"}, {"kind": "categorical", "name": "y", "shares": "x"}],
            {"x": ["a"], "y": [1]},
            r"features.y.shares must name a column of integers, as y holds integers. Received: x \(string\)",
        ),
        (
            [{"kind": "categorical", "name": "x", "hash_buckets": 5}],
            {"x": [0.5]},
            "features.x must name a column of strings or integers.*float32",
        ),
        (
            [{"kind": "categorical", "name": "x"}, {"kind": "cross", "name": "xx", "of": ["x", "x"]}],
            {},
            r"features and tasks must name columns of the data \(\). Received: x",
        ),
    ],
)
def test_refuses_columns_that_do_not_suit(features, inputs, message):
    config = ModelConfig(features=features)
    with tf.Graph().as_default(), pytest.raises(FeatureError, match=message):
        preprocess({name: tf.constant(values) for name, values in inputs.items()}, config)


def test_every_pair_of_kinds_has_its_own_column(fitted):
    names = [feature.name for feature in CONFIG.features]
    for first, second in itertools.combinations(names, 2):
        one, other = column(fitted, first), column(fitted, second)
        assert one.shape != other.shape or not np.array_equal(one, other), (first, second)
