import math

import numpy as np
import pytest
import tensorflow as tf

from models.config import ModelConfig, TrainConfig
from models.errors import DivergedError
from models.keras import keras
from models.training import fit, make_dataset, make_optimizer
from tests.unit.models.conftest import MODEL


def rows_of(dataset, name):
    return np.concatenate([batch[name].numpy() for batch in dataset])


def test_reads_every_row_once(transformed, train_files, train_config):
    dataset = make_dataset(train_files, transformed.output.transformed_feature_spec(), train_config, shuffle=False)
    sizes = [len(batch["click"]) for batch in dataset]
    assert sizes == [64] * 5
    expected = sorted(row["duration_seconds"] for row in transformed.rows)
    np.testing.assert_allclose(sorted(rows_of(dataset, "duration_seconds")), expected, rtol=1e-6)


def test_keeps_the_last_small_batch(transformed, train_files):
    spec = transformed.output.transformed_feature_spec()
    for shuffle in (False, True):
        dataset = make_dataset(train_files, spec, TrainConfig(batch_size=96, shuffle_rows=10), shuffle=shuffle)
        assert [len(batch["click"]) for batch in dataset] == [96, 96, 96, 32]


def test_shuffles_by_seed_and_anew_in_every_pass(transformed, train_files, train_config):
    spec = transformed.output.transformed_feature_spec()

    def passes(seed):
        dataset = make_dataset(train_files, spec, train_config.model_copy(update={"seed": seed}), shuffle=True)
        return [rows_of(dataset, "duration_seconds").tolist() for _ in range(2)]

    first, again, other = passes(1), passes(1), passes(2)
    assert first == again
    assert first[0] != first[1]
    assert first[0] != other[0]
    assert sorted(first[0]) == sorted(other[0])


def test_labels_stay_with_their_rows(transformed, train_files, train_config):
    dataset = make_dataset(train_files, transformed.output.transformed_feature_spec(), train_config, shuffle=True)
    columns = [(batch["duration_seconds"].numpy(), batch["watch_seconds"].numpy()) for batch in dataset]
    pairs = {pair for durations, seconds in columns for pair in zip(durations, seconds, strict=True)}
    assert pairs == {(np.float32(row["duration_seconds"]), np.float32(row["watch_seconds"])) for row in transformed.rows}


def test_missing_files_are_an_error(transformed, train_config):
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"/nowhere/\*"):
        make_dataset(["/nowhere/*"], transformed.output.transformed_feature_spec(), train_config, shuffle=False)


def test_fit_learns_repeats_and_reports(transformed, train_files, model_config, train_config):
    config = train_config.model_copy(update={"epochs": 3, "learning_rate": 0.02})

    def run():
        return fit(model_config, config, transformed.output, train_files, train_files)

    fitted, again = run(), run()
    assert len(fitted.epochs) == 3
    for label in ("click", "watch_seconds"):
        assert fitted.epochs[2].train_losses[label] < fitted.epochs[0].train_losses[label]
        assert fitted.epochs[2].eval_losses[label] == again.epochs[2].eval_losses[label]
    batch = transformed.batch
    weights, labels = batch["click_mask"].numpy(), batch["click"].numpy()
    probabilities = fitted.ranker(batch)["click"].numpy()
    expected = np.average([-math.log(p if y else 1 - p) for p, y in zip(probabilities, labels, strict=True)], weights=weights)
    assert fitted.epochs[2].eval_losses["click"] == pytest.approx(expected, rel=1e-4)


def test_fit_calls_further_callbacks_and_needs_no_evaluation(transformed, train_files, model_config, train_config):
    seen = []
    callback = keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: seen.append(epoch))
    fitted = fit(model_config, train_config, transformed.output, train_files, callbacks=[callback])
    assert seen == [0]
    assert fitted.epochs[0].eval_losses == {}


def test_a_diverging_loss_stops_the_run(transformed, train_files, train_config):
    config = train_config.model_copy(update={"learning_rate": 1e30, "epochs": 50})
    with pytest.raises(DivergedError, match=r"must stay finite; lower train.learning_rate. Received: loss=.* in epoch"):
        fit(ModelConfig(**MODEL), config, transformed.output, train_files)


@pytest.mark.parametrize(("name", "kind"), [("adam", keras.optimizers.Adam), ("adagrad", keras.optimizers.Adagrad)])
def test_optimizers(name, kind):
    optimizer = make_optimizer(TrainConfig(optimizer=name, learning_rate=0.25))
    assert type(optimizer) is kind
    assert float(optimizer.learning_rate) == 0.25
