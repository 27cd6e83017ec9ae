import copy

import pytest
from tfx import v1 as tfx

from pipeline.components.version_pusher import ANOMALIES
from pipeline.config import Config
from pipeline.graph import create_components


def components_of(tree, **options):
    config = Config.model_validate(tree)
    return {each.id: each for each in create_components(config, "logs", None, "models", "features", **options)}


def keys(tree):
    """What of the configuration enters each component's cache key."""
    return {name: each.exec_properties for name, each in components_of(tree).items()}


@pytest.mark.parametrize(
    ("branch", "key", "value", "rerun"),
    [
        ("serving", "port", 1, {"Pusher"}),
        ("serving", "blend", {"watch_weight": 0.1}, {"Pusher"}),
        ("validation", "blocking", False, {"Pusher"}),
        ("validation", "drift", {"surface": 0.3}, {"DriftValidator", "Pusher"}),
        ("validation", "skew", {"surface": 0.3}, {"SkewValidator", "Pusher"}),
        ("evaluation", "gates", {"click": {"floor": 0.7}}, {"Gate", "Pusher"}),
        ("evaluation", "ndcg_at", 3, {"Evaluator", "Gate", "Pusher"}),
        ("evaluation", "slices", ["country"], {"Evaluator", "Pusher"}),
        ("train", "learning_rate", 0.1, {"Trainer", "Pusher"}),
        ("model", "tower_units", [8], {"Trainer", "Pusher"}),
        (
            "model",
            "features",
            [{"kind": "categorical", "name": "item_id"}],
            {"Transform", "Trainer", "Pusher"},
        ),
        ("data", "split", {"eval_from": "2026-01-03"}, {"LogExampleGen", "Pusher"}),
    ],
)
def test_a_change_reruns_what_reads_it(tree, branch, key, value, rerun):
    """Beyond these, components run again whose input artifacts have changed."""
    tree["validation"] = {"drift": {"surface": 0.1}, "skew": {"surface": 0.1}}
    changed = copy.deepcopy(tree)
    changed.setdefault(branch, {})[key] = value
    before, after = keys(tree), keys(changed)
    assert {name for name in before if before[name] != after[name]} == rerun


def test_transform_and_trainer_know_the_size_of_a_column_of_the_past(tree):
    tree["model"]["features"] = [{"kind": "numeric", "name": "user_history"}]
    for name in ("Transform", "Trainer"):
        assert '\\"size\\":15' in keys(tree)[name]["custom_config"], name


def test_validators_that_are_not_configured_are_not_there(tree):
    assert {"DriftValidator", "SkewValidator", "PreviousStatistics"}.isdisjoint(components_of(tree))


@pytest.mark.parametrize(
    ("validation", "blocking"),
    [
        ({"drift": {"surface": 0.1}, "skew": {"surface": 0.1}}, set(ANOMALIES)),
        ({"drift": {"surface": 0.1}}, {"schema_anomalies", "drift_anomalies"}),
        ({}, {"schema_anomalies"}),
        ({"drift": {"surface": 0.1}, "blocking": False}, set()),
    ],
)
def test_anomalies_that_block_reach_the_pusher(tree, validation, blocking):
    tree["validation"] = validation
    assert set(ANOMALIES) & set(components_of(tree)["Pusher"].inputs) == blocking


def test_runner_without_metadata_takes_strategies_that_it_knows(tree):
    tree["validation"] = {"drift": {"surface": 0.1}}
    components = components_of(tree, has_metadata=False)
    strategies = {name: components[name].exec_properties["resolver_class"] for name in ("ModelInService", "PreviousStatistics")}
    assert strategies == {
        "ModelInService": tfx.dsl.experimental.LatestBlessedModelStrategy,
        "PreviousStatistics": tfx.dsl.experimental.LatestArtifactStrategy,
    }
    assert "in_service" not in components["Pusher"].inputs


def test_the_pusher_obeys_the_gate(tree):
    components = components_of(tree)
    assert components["Pusher"].inputs["model_blessing"].producer_component_id == "Gate"
    assert components["Evaluator"].exec_properties["module_path"] == "pipeline.evaluator_module"


def test_the_gate_is_told_what_is_in_service(tree):
    gate = components_of(tree)["Gate"]
    assert {gate.inputs[key].producer_component_id for key in ("in_service", "pushed_model")} == {"ModelInService"}
    assert "pushed_model" not in components_of(tree, has_metadata=False)["Gate"].inputs


@pytest.mark.parametrize("has_metadata", [True, False])
def test_a_training_begins_from_a_model_where_that_is_wanted(tree, has_metadata):
    assert "WarmStart" not in components_of(tree, has_metadata=has_metadata)
    tree["train"] = {"warm_start": True}
    components = components_of(tree, has_metadata=has_metadata)
    assert list(components).index("WarmStart") < list(components).index("Trainer")
    base_model = components["Trainer"].inputs["base_model"]
    assert base_model.producer_component_id == "WarmStart"
    if has_metadata:
        # From these it knows the candidate's first evaluation day.
        assert components["WarmStart"].inputs.keys() == {"model", "pushed_model", "current", "report"}
