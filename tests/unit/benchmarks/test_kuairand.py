from benchmarks.figures import PROJECT
from benchmarks.kuairand.study import BODIES, SMALL_TOWER, TUNED, variants
from pipeline.config import load


def test_variants_differ_in_body_and_small_towers_alone():
    config = load(PROJECT / "configs" / "kuairand.toml", ["model.members=3"])
    found = {variant.name: variant.applied(config) for variant in variants(config, list(BODIES))}
    assert found.pop(TUNED) == config
    assert list(found) == [f"{body}{towers}" for body in BODIES for towers in ("", " + small towers")]
    for body, own in BODIES.items():
        for name, small_tower in ((body, None), (f"{body} + small towers", SMALL_TOWER)):
            model = config.model.model_copy(update={"body": own, "small_tower": small_tower, "members": 1})
            assert found[name] == config.model_copy(update={"model": model}), name
