import subprocess
import sys
import typing

import numpy as np
import pydantic
import pytest

from models.balancing.config import BalancingConfig, CAGradConfig, DWAConfig, FAMOConfig, GradNormConfig, MGDAConfig
from models.balancing.registry import METHOD_BY_KIND, make_balancing
from tests.unit.models.balancing.problems import drive, random_steps

ADAPTER = pydantic.TypeAdapter(BalancingConfig)
CONFIG_BY_KIND = {
    config_class.model_fields["kind"].default: config_class
    for config_class in typing.get_args(typing.get_args(BalancingConfig)[0])
}


def test_every_kind_has_a_method():
    assert set(CONFIG_BY_KIND) == set(METHOD_BY_KIND)


@pytest.mark.parametrize("kind", METHOD_BY_KIND)
def test_kind_selects_configuration_and_method(kind):
    config = ADAPTER.validate_python({"kind": kind})
    assert type(config) is CONFIG_BY_KIND[kind]
    assert ADAPTER.validate_json(config.model_dump_json()) == config
    method = make_balancing(config, 3)
    assert type(method) is METHOD_BY_KIND[kind]
    assert ("gradients_of" in type(config).model_fields) == method.needs_gram


@pytest.mark.parametrize(
    ("default", "other"),
    [
        (DWAConfig(), DWAConfig(temperature=0.5)),
        (GradNormConfig(), GradNormConfig(alpha=0.0)),
        (GradNormConfig(), GradNormConfig(learning_rate=0.1)),
        (MGDAConfig(), MGDAConfig(normalize="l2")),
        (MGDAConfig(normalize="l2"), MGDAConfig(normalize="loss+")),
        (CAGradConfig(), CAGradConfig(c=0.9)),
        (FAMOConfig(), FAMOConfig(learning_rate=0.2)),
        (FAMOConfig(), FAMOConfig(decay=0.9)),
    ],
)
def test_options_reach_the_method(default, other):
    steps = random_steps(3, 8, seed=0)
    assert not np.allclose(drive(make_balancing(default, 3), steps), drive(make_balancing(other, 3), steps), rtol=1e-3)


def test_seed_reaches_the_method():
    steps = random_steps(4, 8, seed=0)
    config = ADAPTER.validate_python({"kind": "pcgrad"})
    weights = drive(make_balancing(config, 4, seed=1), steps)
    np.testing.assert_array_equal(drive(make_balancing(config, 4, seed=1), steps), weights)
    assert not np.allclose(drive(make_balancing(config, 4, seed=2), steps), weights)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"kind": "nashmtl"}, "does not match any of the expected tags"),
        ({"kind": "static", "alpha": 1}, "Extra inputs are not permitted"),
        ({"kind": "dwa", "temperature": 0}, "greater than 0"),
        ({"kind": "dwa", "gradients_of": "representation"}, "Extra inputs are not permitted"),
        ({"kind": "gradnorm", "alpha": -1}, "greater than or equal to 0"),
        ({"kind": "mgda", "normalize": "loss"}, "'none', 'l2' or 'loss\\+'"),
        ({"kind": "cagrad", "c": 1}, "less than 1"),
        ({"kind": "pcgrad", "gradients_of": "towers"}, "'parameters' or 'representation'"),
        ({"kind": "famo", "decay": float("nan")}, "finite number"),
    ],
)
def test_wrong_options_are_refused(values, message):
    with pytest.raises(pydantic.ValidationError, match=message):
        ADAPTER.validate_python(values)


def test_configuration_loads_without_tensorflow():
    code = "import sys, models.balancing.config; print(sorted({'tensorflow', 'tf_keras', 'keras'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
