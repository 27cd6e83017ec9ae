import copy
import json
import types

import keras_tuner
import pytest

from models.errors import DivergedError, TrainingError
from models.keras import keras
from models.training import fit
from pipeline import trainer_module
from pipeline.config import Config
from pipeline.errors import TunerError
from pipeline.graph import create_components
from pipeline.tuner_config import TunerConfig
from pipeline.tuner_module import TrainingTuner, trial_train_config, tuner_fn
from tests.unit.models import conftest as models_conftest

# Two transformed features are enough: a trial is mostly the making of a graph.
model_config = models_conftest.model_config
transformed = models_conftest.transformed
train_files = models_conftest.train_files
train_config = models_conftest.train_config


@pytest.fixture
def small_model(model_config):
    features = tuple(feature for feature in model_config.features if feature.name in ("user_id", "fans"))
    return model_config.model_copy(update={"features": features})


def search(config, model, train, fit_fn, folder):
    tuner = TrainingTuner(config, model, trial_train_config(train, config), fit_fn, str(folder))
    tuner.search()
    return tuner


def fitted(value):
    epochs = (types.SimpleNamespace(stopping_value=9.0), types.SimpleNamespace(stopping_value=value))
    return types.SimpleNamespace(history=types.SimpleNamespace(training=types.SimpleNamespace(epochs=epochs, best_epoch=2)))


def tried(space, trials=6, **changes):
    return TunerConfig(**{"trials": trials, "algorithm": "random", "space": space, **changes})


def best(tuner):
    return tuner.get_best_hyperparameters()[0].values


def test_the_learning_rate_that_is_plainly_better_is_found(small_model, train_config, transformed, train_files, tmp_path):
    config = tried({"train.learning_rate": {"values": [1e-6, 0.03]}}, trials=2, epochs=3)
    seeds = []

    def fit_fn(model, train):
        seeds.append(train.seed)
        return fit(model, train, transformed.output, train_files, train_files)

    tuner = search(config, small_model, train_config.model_copy(update={"seed": 5}), fit_fn, tmp_path)
    assert best(tuner) == {"train.learning_rate": 0.03}
    better, worse = (trial.score for trial in tuner.oracle.get_best_trials(2))
    assert better < worse - 0.1
    assert seeds == [5, 5]


@pytest.mark.parametrize("algorithm", ["random", "bayesian"])
def test_a_search_comes_near_the_lowest_value(small_model, train_config, tmp_path, algorithm):
    config = tried({"model.dropout": {"min": 0.0, "max": 0.9}}, trials=12, algorithm=algorithm)
    tuner = search(config, small_model, train_config, lambda model, _: fitted((model.dropout - 0.3) ** 2), tmp_path)
    assert len(tuner.oracle.trials) == 12
    assert best(tuner)["model.dropout"] == pytest.approx(0.3, abs=0.12)


def test_a_trial_that_diverges_has_failed_and_the_search_goes_on(small_model, train_config, tmp_path):
    def fit_fn(model, train):
        if train.batch_size != 8:
            raise DivergedError("the training loss must stay finite")
        return fitted(1.0)

    config = tried({"train.batch_size": {"values": [2, 3, 4, 5, 6, 7, 8]}}, trials=7)
    tuner = search(config, small_model, train_config, fit_fn, tmp_path)
    assert best(tuner) == {"train.batch_size": 8}
    statuses = [trial.status for trial in tuner.oracle.trials.values()]
    assert sorted(set(statuses)) == ["COMPLETED", "FAILED"]
    assert statuses.count("COMPLETED") == 1


def test_values_that_do_not_go_together_are_a_failed_trial(small_model, train_config, tmp_path):
    """Each is allowed by itself; ten groups of six units are not."""
    space = {"model.small_tower.kind": {"values": ["linear", "pooled"]}, "model.small_tower.width": {"values": [1, 10]}}
    fit_fn = lambda model, _: fitted(1.0 - model.small_tower.width / 20)  # noqa: E731
    tuner = search(tried(space, trials=4), small_model, train_config, fit_fn, tmp_path)
    assert {trial.status for trial in tuner.oracle.trials.values()} == {"COMPLETED", "FAILED"}


def test_a_search_without_a_result_is_an_error(small_model, train_config, tmp_path):
    def fit_fn(model, train):
        raise DivergedError("the training loss must stay finite")

    with pytest.raises(TunerError, match=r"none of 3 trials came to its end; narrow tuner\.space\. .* must stay finite"):
        search(tried({"model.dropout": {"min": 0, "max": 0.5}}, trials=3), small_model, train_config, fit_fn, tmp_path)


def test_any_other_error_ends_the_search(small_model, train_config, tmp_path):
    def fit_fn(model, train):
        raise TrainingError("training needs rows")

    with pytest.raises(keras_tuner.errors.FatalError, match="training needs rows"):
        search(tried({"model.dropout": {"min": 0, "max": 0.5}}), small_model, train_config, fit_fn, tmp_path)


def test_a_trial_is_judged_by_the_measure_of_the_search(train_config):
    train = train_config.model_copy(update={"refit": True, "epochs": 9})
    trial = trial_train_config(train, tried({"model.dropout": {"min": 0, "max": 0.5}}, measure="click auc", patience=2))
    assert (trial.epochs, trial.refit, trial.early_stopping.measure, trial.early_stopping.patience) == (
        9,
        False,
        "click auc",
        2,
    )


def test_the_entry_point_makes_a_search_over_the_rows(small_model, train_config, transformed, train_files, tmp_path):
    config = tried({"train.learning_rate": {"values": [1e-6, 0.03]}}, trials=1, measure="click auc")
    fn_args = types.SimpleNamespace(
        custom_config={
            "model": small_model.model_dump_json(),
            "train": train_config.model_dump_json(),
            "tuner": config.model_dump_json(),
        },
        transform_graph_path=transformed.output.transform_savedmodel_dir.rsplit("/", 1)[0],
        train_files=train_files,
        eval_files=train_files,
        working_dir=str(tmp_path),
    )
    result = tuner_fn(fn_args)
    result.tuner.search(**result.fit_kwargs)
    [trial] = result.tuner.oracle.trials.values()
    # AUC is turned round: the lower the better.
    assert -1 <= trial.score <= 0


def test_importing_the_tuner_leaves_keras_2_in_place():
    assert keras.__version__.startswith("2.")


@pytest.fixture
def tuned_tree(tree):
    tree["data"]["split"]["validation_days"] = 1
    tree["tuner"] = {"trials": 2, "space": {"train.learning_rate": {"min": 1e-4, "max": 1e-2, "log": True}}}
    return tree


def components_of(tree):
    made = create_components(Config.model_validate(tree), "logs", None, "models", "features")
    return {each.id: each for each in made}


def test_what_is_found_goes_to_the_trainer_and_the_pusher(tuned_tree):
    components = components_of(tuned_tree)
    names = list(components)
    assert names.index("Transform") < names.index("Tuner") < names.index("Trainer")
    for reader in ("Trainer", "Pusher"):
        assert components[reader].inputs["hyperparameters"] is components["Tuner"].outputs["best_hyperparameters"]


def test_without_a_tuner_the_graph_is_as_it_was(tuned_tree):
    del tuned_tree["tuner"]
    components = components_of(tuned_tree)
    assert "Tuner" not in components
    assert all("hyperparameters" not in components[reader].inputs for reader in ("Trainer", "Pusher"))


def test_another_budget_searches_and_trains_again(tuned_tree):
    changed = copy.deepcopy(tuned_tree)
    changed["tuner"]["trials"] = 3
    before, after = (
        {name: each.exec_properties for name, each in components_of(tree).items()} for tree in (tuned_tree, changed)
    )
    assert {name for name in before if before[name] != after[name]} == {"Tuner", "Pusher"}


def test_the_trainer_trains_with_what_was_found(small_model, train_config, monkeypatch):
    class StopError(Exception):
        pass

    def fit_fn(model, train, *args, **kwargs):
        raise StopError(model.body.units, train.learning_rate)

    monkeypatch.setattr(trainer_module, "fit", fit_fn)
    monkeypatch.setattr(trainer_module, "training_digest", lambda fn_args: "digest")
    monkeypatch.setattr(trainer_module.tft, "TFTransformOutput", lambda folder: None)
    values = {"values": {"train.learning_rate": 0.25, "model.body.units": "[9, 7]"}, "space": []}
    fn_args = types.SimpleNamespace(
        custom_config={
            "model": small_model.model_dump_json(),
            "train": train_config.model_dump_json(),
            "has_validation": json.dumps(True),
            "candidate_columns": "[]",
            "unfinished": "unfinished",
        },
        transform_output="transform",
        train_files=[],
        eval_files=[],
        base_model=None,
        hyperparameters=values,
    )
    with pytest.raises(StopError) as found:
        trainer_module.run_fn(fn_args)
    assert found.value.args == ((9, 7), 0.25)
