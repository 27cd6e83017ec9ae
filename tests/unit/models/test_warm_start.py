"""A ranker that begins from an exported one: embeddings go by value through two vocabularies."""

import json

import numpy as np
import pytest
import tensorflow as tf

from data.schema import LABELS, mask_name
from models.config import ModelConfig
from models.errors import TrainingError
from models.export import export
from models.inputs import table_sizes
from models.ranker import MultiTaskRanker
from models.warm_start import INPUTS_FILE, save_inputs, start_from
from models.warm_start_report import CopiedRows, WarmStartReport
from tests.unit.models.conftest import MODEL

FEATURES = [
    {"kind": "categorical", "name": "category", "dimension": 3, "default": "none"},
    {"kind": "categorical", "name": "user_id", "dimension": 3, "num_oov_buckets": 2},
    {"kind": "categorical", "name": "tab", "dimension": 2, "hash_buckets": 6},
    {"kind": "numeric", "name": "age", "default": 30.0},
    {"kind": "numeric", "name": "fans", "transform": "bucket", "num_buckets": 4, "dimension": 2},
]


class FittedTransform:
    """What a ranker asks of a fitted transform, with vocabularies in files and without one."""

    def __init__(self, folder, values_by_name):
        self._folder = folder
        self._values_by_name = values_by_name
        for name, values in values_by_name.items():
            (folder / f"vocab_{name}").write_text("".join(f"{value}\n" for value in values))

    def transformed_feature_spec(self):
        dtype_by_name = dict.fromkeys(["age", *LABEL_COLUMNS], tf.float32) | dict.fromkeys(IDS, tf.int64)
        return {name: tf.io.FixedLenFeature([], dtype) for name, dtype in dtype_by_name.items()}

    def vocabulary_file_by_name(self, name):
        return str(self._folder / f"vocab_{name}")

    def vocabulary_by_name(self, name):
        return [value.encode() for value in self._values_by_name[name]]

    def vocabulary_size_by_name(self, name):
        return len(self._values_by_name[name])


LABEL_COLUMNS = [name for label in LABELS for name in (label, mask_name(label))]
IDS = ["category", "user_id", "tab", "fans"]
BATCH = {
    **{name: tf.ones([5]) for name in ["age", *LABEL_COLUMNS]},
    **{name: tf.constant([0, 1, 0, 1, 0], tf.int64) for name in IDS},
}


def model_of(*features, **changes):
    return ModelConfig(**MODEL | {"features": features, **changes})


def made(config, output, seed):
    ranker = MultiTaskRanker(config, table_sizes(config, output), seed=seed)
    ranker.batch_losses(BATCH, training=True)
    return ranker


@pytest.fixture(scope="module")
def before(tmp_path_factory):
    """A saved ranker of the users a to d, and where it lies."""
    folder = tmp_path_factory.mktemp("before")
    output = FittedTransform(folder, {"user_id": ["a", "b", "c", "d"], "category": ["music", "food"]})
    ranker = made(model_of(*FEATURES), output, seed=1)
    module = tf.Module()
    module.model_variables = ranker.served_variables
    module.assets = [tf.saved_model.Asset(output.vocabulary_file_by_name(name)) for name in ("user_id", "category")]
    tf.saved_model.save(module, str(folder / "model"))
    save_inputs(ranker, output, str(folder / "model"))
    return ranker, output, str(folder / "model")


@pytest.fixture(scope="module")
def now(tmp_path_factory):
    """The users c to f, d the most frequent, in a model whose features stand in another order."""
    values = {"user_id": ["d", "e", "f", "c"], "category": ["food", "music"]}
    return model_of(*reversed(FEATURES)), FittedTransform(tmp_path_factory.mktemp("now"), values)


def row(ranker, tft_output, feature, value):
    """Embedding of a value; of an out-of-vocabulary bucket by its negative number, counted from 1."""
    table = ranker.table_rows[feature]
    values = tft_output.vocabulary_by_name(feature)
    index = len(values) - value - 1 if isinstance(value, int) else values.index(value.encode())
    return table.variable.numpy()[table.first_row + index]


def test_rows_go_by_value(before, now):
    old, old_output, folder = before
    config, output = now
    ranker, untouched = made(config, output, seed=2), made(config, output, seed=2)
    report = start_from(ranker, output, folder)
    for value in ("c", "d", -1, -2):
        np.testing.assert_array_equal(row(ranker, output, "user_id", value), row(old, old_output, "user_id", value))
    for value in ("e", "f"):
        mine, initial = (row(each, output, "user_id", value) for each in (ranker, untouched))
        np.testing.assert_array_equal(mine, initial)
    # Copied by place instead, d, the most frequent user now, would have the row of a.
    assert not np.array_equal(row(ranker, output, "user_id", "d"), row(old, old_output, "user_id", "a"))
    assert report.tables["user_id"] == CopiedRows(copied=4, new=2, dropped=2)
    assert report.tables["category"] == CopiedRows(copied=3, new=0, dropped=0)
    assert report.tables["tab"] == CopiedRows(copied=6, new=0, dropped=0)
    assert report.tables["fans"] == CopiedRows(copied=4, new=0, dropped=0)
    assert report.model == folder


def test_layers_that_would_read_other_features_begin_anew(before, now):
    _, _, folder = before
    config, output = now
    ranker, untouched = made(config, output, seed=2), made(config, output, seed=2)
    report = start_from(ranker, output, folder)
    assert report.num_copied == 0
    assert set(report.kept_initial.values()) == {"other features or widths before, or another order"}
    tables = {rows.variable.ref() for rows in ranker.table_rows.values()}
    for mine, initial in zip(ranker.served_variables, untouched.served_variables, strict=True):
        if mine.ref() not in tables:
            np.testing.assert_array_equal(mine, initial)


def test_layers_that_would_read_features_at_other_places_begin_anew(before, now):
    """Two features that swap their widths leave all shapes of layers as they were."""
    old, output, folder = before
    swapped = [FEATURES[0], FEATURES[1] | {"dimension": 2}, FEATURES[2] | {"dimension": 3}, *FEATURES[3:]]
    ranker = made(model_of(*swapped), output, seed=2)
    shapes = [[variable.shape for variable in each.members[0].trainable_variables] for each in (ranker, old)]
    assert shapes[0] == shapes[1]
    assert start_from(ranker, output, folder).num_copied == 0


def test_layers_are_taken_over_whole(before, now):
    old, _, folder = before
    ranker = made(old.config, now[1], seed=2)
    report = start_from(ranker, now[1], folder)
    tables = {rows.variable.name for rows in ranker.table_rows.values()}
    mine, theirs = ({variable.name: variable for variable in each.served_variables} for each in (ranker, old))
    assert mine.keys() == theirs.keys()
    assert report.num_copied == len(mine) - len(tables)
    assert report.kept_initial == {}
    for name in mine.keys() - tables:
        np.testing.assert_array_equal(mine[name], theirs[name])


def test_every_member_is_taken_over(now, tmp_path):
    """Members have layers alike, which must be told apart."""
    config, output = now
    config = config.model_copy(update={"members": 2})
    old, ranker = made(config, output, seed=1), made(config, output, seed=2)
    module = tf.Module()
    module.model_variables = old.served_variables
    module.assets = [tf.saved_model.Asset(output.vocabulary_file_by_name(name)) for name in ("user_id", "category")]
    tf.saved_model.save(module, str(tmp_path))
    save_inputs(old, output, str(tmp_path))
    report = start_from(ranker, output, str(tmp_path))
    assert report.num_copied == len(old.served_variables) - len({rows.variable.ref() for rows in old.table_rows.values()})
    for mine, theirs in zip(ranker.served_variables, old.served_variables, strict=True):
        np.testing.assert_array_equal(mine, theirs)


def test_a_layer_of_another_shape_begins_anew(before, now):
    old, _, folder = before
    ranker = made(old.config.model_copy(update={"tower_units": (4,)}), now[1], seed=2)
    reasons = start_from(ranker, now[1], folder).kept_initial
    assert {reason.partition(" (")[0] for reason in reasons.values()} == {"shape"}
    assert all("tower_" in name for name in reasons)
    assert "shape (6, 5) before, now (6, 4)" in reasons.values()


def test_what_does_not_fit_keeps_its_initial_values_and_is_told(before, tmp_path):
    _, _, folder = before
    features = [
        FEATURES[0] | {"dimension": 4},
        FEATURES[1] | {"num_oov_buckets": 3},
        FEATURES[2] | {"hash_buckets": 7},
        {"kind": "categorical", "name": "fans"},
        FEATURES[3],
    ]
    config = model_of(*features)
    values = {"user_id": ["c"], "category": ["music"], "fans": ["1", "2"]}
    fitted = FittedTransform(tmp_path, values)
    ranker = made(config, fitted, seed=2)
    report = start_from(ranker, fitted, folder)
    reasons = report.kept_initial
    assert reasons["table of category"] == "dimension 3 before, now 4"
    assert reasons["table of tab"] == "6 rows before, now 7"
    assert reasons["table of fans"] == "vocabulary on one side only"
    # The rows of values are worth keeping though buckets of the others are not comparable.
    assert report.tables == {"user_id": CopiedRows(copied=1, new=3, dropped=5)}


@pytest.mark.parametrize("is_called", [True, False])
def test_an_exported_ranker_gives_the_same_scores(transformed, model_config, make_ranker, tmp_path, is_called):
    """However its variables came to be: their names differ where a ranker was called before its losses were asked for."""
    old = make_ranker(model_config, seed=1)
    export(old, transformed.output, str(tmp_path / "model"))
    save_inputs(old, transformed.output, str(tmp_path / "model"))
    ranker = MultiTaskRanker(model_config, table_sizes(model_config, transformed.output), seed=2)
    first = ranker(transformed.batch) if is_called else ranker.batch_losses(transformed.batch) and ranker(transformed.batch)
    report = start_from(ranker, transformed.output, str(tmp_path / "model"))
    assert report.kept_initial == {}
    assert all(rows.new == rows.dropped == 0 for rows in report.tables.values())
    for label, scores in ranker(transformed.batch).items():
        np.testing.assert_array_equal(scores, old(transformed.batch)[label])
        assert np.abs(scores - first[label]).max() > 0.01


@pytest.mark.parametrize(
    ("text", "obstacle"),
    [(None, f"it has no {INPUTS_FILE}"), ('{"features": []}', f"its {INPUTS_FILE} is of other sources: 1 of its keys differ")],
)
def test_a_model_of_other_sources_stops_no_training_and_the_report_says_why(now, tmp_path, text, obstacle):
    config, output = now
    (tmp_path / "saved_model.pb").touch()
    if text is not None:
        (tmp_path / INPUTS_FILE).parent.mkdir()
        (tmp_path / INPUTS_FILE).write_text(text)
    ranker, untouched = made(config, output, seed=2), made(config, output, seed=2)
    report = start_from(ranker, output, str(tmp_path))
    assert report == WarmStartReport(str(tmp_path), {}, 0, {}, obstacle)
    for mine, initial in zip(ranker.served_variables, untouched.served_variables, strict=True):
        np.testing.assert_array_equal(mine, initial)


def test_a_model_that_is_gone_is_an_error(now, tmp_path):
    config, output = now
    with pytest.raises(TrainingError, match=rf"needs an exported model\. Received: {tmp_path}/gone, which holds none"):
        start_from(made(config, output, seed=2), output, str(tmp_path / "gone"))


@pytest.mark.parametrize("content", [b'{"features": ["category cat', b"", b"\xff\xfe\x00"])
def test_a_model_whose_inputs_cannot_be_read_is_an_error(now, tmp_path, content):
    config, output = now
    (tmp_path / "saved_model.pb").touch()
    (tmp_path / INPUTS_FILE).parent.mkdir()
    (tmp_path / INPUTS_FILE).write_bytes(content)
    with pytest.raises(TrainingError, match=rf"can be read\. Received: {tmp_path}/{INPUTS_FILE}, which is no JSON"):
        start_from(made(config, output, seed=2), output, str(tmp_path))


def test_a_model_of_which_nothing_fits_is_told_as_none(before, tmp_path):
    _, _, folder = before
    config = model_of({"kind": "numeric", "name": "age"}, tower_units=(4,))
    fitted = FittedTransform(tmp_path, {})
    report = start_from(made(config, fitted, seed=2), fitted, folder)
    assert (report.tables, report.num_copied, report.obstacle) == ({}, 0, "nothing of it fits")
    assert report.kept_initial


def test_a_model_that_lost_its_variables_is_an_error(before, now, tmp_path):
    config, output = now
    (tmp_path / INPUTS_FILE).parent.mkdir()
    tf.io.gfile.copy(f"{before[2]}/{INPUTS_FILE}", str(tmp_path / INPUTS_FILE))
    with pytest.raises(TrainingError, match=rf"needs a model with its variables\. Received: {tmp_path}, "):
        start_from(made(config, output, seed=2), output, str(tmp_path))


def test_the_exported_model_is_whole_beside_its_tables(before):
    _, _, folder = before
    inputs = json.loads(tf.io.gfile.GFile(f"{folder}/{INPUTS_FILE}").read())
    assert set(inputs["tables"]) == {"category", "user_id", "tab", "fans"}
