import copy

import keras_tuner
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.config import Config, load
from pipeline.errors import ConfigError
from pipeline.tuner_config import TunerConfig, ValuesConfig, values_of, with_values

SPACE = {
    "train.learning_rate": {"min": 1e-4, "max": 1e-2, "log": True},
    "model.body.units": {"values": [[64], [128, 64]]},
    "train.batch_size": {"min": 128, "max": 512, "step": 128},
}


def with_tuner(tree, **changes):
    tree = copy.deepcopy(tree)
    tree["data"].setdefault("split", {})["validation_days"] = 1
    tree["tuner"] = {"trials": 3, "space": SPACE, **changes}
    return tree


def test_a_space_is_read(tree):
    tuner = Config.model_validate(with_tuner(tree)).tuner
    assert [type(choice).__name__ for choice in tuner.space.values()] == ["RangeConfig", "ValuesConfig", "StepsConfig"]
    assert tuner.space["train.batch_size"].candidates == (128, 256, 384, 512)


def test_a_job_without_a_tuner_has_none(config):
    assert config.tuner is None


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"space": {"model.body.num_experts": {"min": 2, "max": 8, "step": 2}}},
            r"tuner\.space\.model\.body\.num_experts: no such key in this configuration",
        ),
        ({"space": {"serving.port": {"values": [1, 2]}}}, r"tuner\.space\.serving\.port must be a key of model or train"),
        (
            {"space": {"model.dropout": {"min": 0.0, "max": 1.0}}},
            r"tuner\.space\.model\.dropout must not be 1\.0: Input should be less than 1",
        ),
        (
            {"space": {"train.optimizer": {"values": ["adam", "sgd"]}}},
            r"tuner\.space\.train\.optimizer must not be 'sgd': Input should be 'adam' or 'adagrad'",
        ),
        (
            {"space": {"model.features.0.min_count": {"values": [1, 2]}}},
            r"tuner\.space\.model\.features\.0\.min_count is read before the training",
        ),
        (
            {"space": {"train": {"learning_rate": {"min": 1, "max": 2}}}},
            r'put the keys into quotes, as "train\.learning_rate"',
        ),
        (
            {"space": {"model.tasks.0.weight": {"min": 0.1, "max": 2.0}}},
            r"tuner\.space\.model\.tasks\.0\.weight changes the loss .*set tuner\.measure to one of a task, as click auc",
        ),
        (
            {"measure": "click gauc"},
            r"tuner\.measure must be one of .*gauc and ndcg are the gate's: they go by user, day .*Received: click gauc",
        ),
        ({"measure": "click accuracy"}, r"tuner\.measure must be one of loss, click auc, .*Received: click accuracy"),
        (
            {"space": {"train.learning_rate": {"min": 0.1, "max": 0.01}}},
            r"min must be below max\. Received: min=0\.1, max=0\.01",
        ),
        (
            {"space": {"train.learning_rate": {"min": 0, "max": 0.01, "log": True}}},
            r"min must be positive where log is true\. Received: 0",
        ),
        ({"space": {"train.epochs": {"min": 3, "max": 3, "step": 1}}}, r"min must be below max\. Received: min=3, max=3"),
    ],
)
def test_a_space_that_cannot_be_searched_is_refused(tree, changes, message):
    with pytest.raises(ValueError, match=message):
        Config.model_validate(with_tuner(tree, **changes))


def test_a_search_needs_validation_rows(tree):
    tree = with_tuner(tree)
    tree["data"]["split"]["validation_days"] = 0
    with pytest.raises(ValueError, match=r"tuner needs validation rows: set data\.split\.validation_days to at least 1"):
        Config.model_validate(tree)


def test_the_file_and_the_key_are_named(tmp_path):
    path = tmp_path / "job.toml"
    path.write_text('[job]\nname = "x"\n[tuner]\ntrials = 1\n[tuner.space]\n"train.learning_rate" = { min = 1e-3 }\n')
    with pytest.raises(ConfigError, match=r"job\.toml: .*tuner\.space\.train\.learning_rate\.max: required, but not given"):
        load(path)


def test_values_are_put_where_their_keys_say():
    tree = {"a": {"b": [1, {"c": 2}]}, "d": None}
    assert with_values(tree, {"a.b.1.c": [3], "d": 4}) == {"a": {"b": [1, {"c": [3]}]}, "d": 4}
    assert tree == {"a": {"b": [1, {"c": 2}]}, "d": None}


@pytest.mark.parametrize("key", ["e", "a.x", "a.b.2", "a.b.c", "d.x", "a.b.-1"])
def test_a_key_that_is_not_there_is_an_error(key):
    with pytest.raises(KeyError, match=key.replace(".", r"\.")):
        with_values({"a": {"b": [1, 2]}, "d": None}, {key: 1})


def test_a_job_takes_the_values_found(tree):
    config = Config.model_validate(tree).with_values({"train.learning_rate": 0.5, "model.body.units": [7, 5]})
    assert (config.train.learning_rate, config.model.body.units) == (0.5, (7, 5))


JSON = st.recursive(st.none() | st.booleans() | st.integers(-9, 9) | st.floats(-2, 2) | st.text(max_size=3),
                    lambda inner: st.lists(inner, max_size=3), max_leaves=4)  # fmt: skip


@settings(deadline=None)
@given(st.lists(JSON, min_size=2, max_size=4))
def test_values_of_any_kind_come_back_from_a_search(values):
    choice = ValuesConfig(values=tuple(values))
    search = keras_tuner.HyperParameters()
    search.Choice("key", choice.as_written)
    for written, value in zip(choice.as_written, values, strict=True):
        search.values["key"] = written
        assert values_of(search.get_config()) == {"key": value}


def test_no_search_gives_no_values():
    assert values_of(None) == {}


def test_defaults_of_a_tuner():
    tuner = TunerConfig(trials=2, space={"train.learning_rate": {"min": 0.1, "max": 0.2}})
    assert (tuner.algorithm, tuner.measure, tuner.epochs) == ("bayesian", "loss", None)


def test_weights_of_tasks_are_searched_by_a_measure_of_a_task(tree):
    space = {"model.tasks.0.weight": {"min": 0.1, "max": 2.0}}
    assert Config.model_validate(with_tuner(tree, space=space, measure="click auc")).tuner.space


@pytest.mark.parametrize("measure", ["click accuracy", "clicks auc", "click gauc"])
def test_a_measure_that_validation_rows_cannot_give_does_not_stop_a_training(tree, measure):
    tree["data"].setdefault("split", {})["validation_days"] = 1
    tree["train"] = {"early_stopping": {"measure": measure}}
    with pytest.raises(ValueError, match=rf"train\.early_stopping\.measure must be one of loss, .* Received: {measure}"):
        Config.model_validate(tree)
    tree["train"] = {"early_stopping": {"measure": "click auc"}}
    assert Config.model_validate(tree).train.early_stopping.measure == "click auc"


@pytest.mark.parametrize("measure", ["click gauc", "satisfaction ndcg"])
def test_a_user_id_among_the_features_is_no_group_of_user_and_day(tree, measure):
    tree["model"]["features"] = [{"kind": "categorical", "name": "user_id"}]
    space = {"train.batch_size": SPACE["train.batch_size"]}
    with pytest.raises(ValueError, match=rf"tuner\.measure must be one of loss, click auc, .* Received: {measure}"):
        Config.model_validate(with_tuner(tree, measure=measure, space=space))
