"""The rankers of the study: every body with and without small towers, and the ranker as configured, on the same rows."""

import dataclasses

from benchmarks.history.study import refreshed_daily
from benchmarks.prepared import prepare, train_and_score
from models.bodies.config import MMoEConfig, PLEConfig, SharedBottomConfig
from models.config import SmallTowerConfig

TUNED = "as configured"
DAILY = "as configured, all of the past refreshed once a day"
# Of about as many parameters each, behind the same inputs.
BODIES = {
    "shared bottom": SharedBottomConfig(units=(128, 64)),
    "MMoE": MMoEConfig(kind="mmoe", num_experts=4, expert_units=(64, 64)),
    "PLE": PLEConfig(kind="ple", num_levels=1, num_shared_experts=1, num_task_experts=1, expert_units=(64, 64)),
}
SMALL_TOWER = SmallTowerConfig(kind="linear", gamma=0.5)


@dataclasses.dataclass(frozen=True)
class Variant:
    """A ranker of the study.

    Attributes:
        name: for tables.
        body: name in `BODIES`; None for the ranker as configured.
        has_small_towers: whether it has them.
    """

    name: str
    body: str | None
    has_small_towers: bool

    def applied(self, config):
        """The job with this ranker, of one body, otherwise as configured.

        Args:
            config: `pipeline.config.Config`.

        Returns:
            `pipeline.config.Config`.
        """
        if self.body is None:
            return config
        small_tower = SMALL_TOWER if self.has_small_towers else None
        tree = config.model_dump()
        own = {"body": BODIES[self.body].model_dump(), "small_tower": small_tower and small_tower.model_dump()}
        tree["model"] |= {**own, "members": 1}
        return type(config).model_validate(tree)


def variants(config, bodies):
    """Rankers of the study.

    Args:
        config: `pipeline.config.Config`.
        bodies: names in `BODIES`.

    Returns:
        List of `Variant`: of each body without and with small towers, then the one as configured.
    """
    of_bodies = [
        Variant(f"{body}{' + small towers' if has_small_towers else ''}", body, has_small_towers)
        for body in bodies
        for has_small_towers in (False, True)
    ]
    return [*of_bodies, Variant(TUNED, None, config.model.small_tower is not None)]


def study(config, seeds, folder, say, bodies=tuple(BODIES), has_daily=True):
    """Evaluation rows as every ranker scores them.

    Args:
        config: `pipeline.config.Config`.
        seeds: of the trainings; the same for every ranker.
        folder: `pathlib.Path` for data on its way.
        say: called with what happens now.
        bodies: names in `BODIES`.
        has_daily: whether the ranker as configured is trained on a past refreshed once a day too.

    Returns:
        Dict from name of a variant, and `DAILY` where there is a past, to list of `benchmarks.prepared.Scored`, one a seed.
    """
    say("Ingesting and transforming ...")
    prepared = prepare(config, folder / "configured", config.sized_model.features)
    jobs = {variant.name: (variant.applied(config), prepared) for variant in variants(config, bodies)}
    if has_daily:
        daily = refreshed_daily(config)
        jobs[DAILY] = daily, prepare(daily, folder / "daily", daily.sized_model.features)
    scored = {}
    for name, (own, rows) in jobs.items():
        scored[name] = []
        for seed in seeds:
            say(f"Training {name}, seed {seed} ...")
            scored[name].append(train_and_score(own, rows, seed))
    return scored
