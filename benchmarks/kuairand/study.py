"""The rankers of the study: every body with and without small towers, and the ranker as configured, on the same impressions."""

import dataclasses

from benchmarks.history.study import refreshed_daily
from benchmarks.prepared import Prepared, prepare, score, train, with_evaluation_rows
from models.bodies.config import MMoEConfig, PLEConfig, SharedBottomConfig
from models.config import SmallTowerConfig
from pipeline.config import Config

TUNED = "as configured"
LATE = "as configured, the past known ten minutes late"
STALE = "as configured, served the past as of midnight"
DAILY = "trained on the past as of midnight too"
OLDER = (STALE, LATE, DAILY)
LATE_SECONDS = 600.0
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


def study(config, seeds, folder, say, bodies=tuple(BODIES), has_older=True):
    """Evaluation rows as every ranker scores them.

    Args:
        config: `pipeline.config.Config`.
        seeds: of the trainings; the same for every ranker.
        folder: `pathlib.Path` for data on its way.
        say: called with what happens now.
        bodies: names in `BODIES`.
        has_older: whether the ranker as configured meets a past that is less fresh, in training and serving or there alone.

    Returns:
        Dict from name of a variant, and of `OLDER` ones if wanted, to list of `benchmarks.prepared.Scored`, one
        a seed.
    """
    say("Ingesting and transforming ...")
    shipped = prepare(config, folder / "configured", config.sized_model.features)
    jobs = jobs_of(config, variants(config, bodies), shipped)
    if has_older:
        say("Ingesting and transforming an older past ...")
        late, daily = known_late(config), refreshed_daily(config)
        on_late = prepare(late, folder / "late", late.sized_model.features)
        on_daily = prepare(daily, folder / "daily", daily.sized_model.features)
        at_midnight = with_evaluation_rows(shipped, on_daily, config.sized_model)
        jobs = with_older(jobs, at_midnight, (late, on_late), (daily, on_daily))
    scored = {name: [] for job in jobs for name in job.judged}
    for job in jobs:
        for seed in seeds:
            say(f"Training {next(iter(job.judged))}, seed {seed} ...")
            fitted = train(job.config, job.rows, seed)
            for name, evaluated in job.judged.items():
                scored[name].append(score(fitted, evaluated))
    return scored


@dataclasses.dataclass(frozen=True)
class Job:
    """A ranker to train, and what it is judged on.

    Attributes:
        config: `pipeline.config.Config`.
        rows: `benchmarks.prepared.Prepared` that it is trained on.
        judged: by name in the tables, `Prepared` whose evaluation rows it scores.
    """

    config: Config
    rows: Prepared
    judged: dict


def jobs_of(config, own, shipped):
    """Every ranker of the study, trained and judged on the rows as configured.

    Args:
        config: `pipeline.config.Config`.
        own: `Variant`s.
        shipped: `benchmarks.prepared.Prepared` as configured.

    Returns:
        List of `Job`.
    """
    return [Job(variant.applied(config), shipped, {variant.name: shipped}) for variant in own]


def with_older(jobs, at_midnight, late, daily):
    """The jobs and what meets an older past: the ranker as configured once more, and two that are trained on one.

    Args:
        jobs: list of `Job`, one of them of `TUNED`.
        at_midnight: `benchmarks.prepared.Prepared` whose evaluation rows have the past as of midnight.
        late: pair of the job whose past is known late and its `Prepared`.
        daily: the same of the job whose past is refreshed once a day.

    Returns:
        List of `Job`; names follow in the order of `OLDER` after `TUNED`.
    """
    again = [dataclasses.replace(job, judged=job.judged | {STALE: at_midnight}) if TUNED in job.judged else job for job in jobs]
    return [*again, *(Job(config, rows, {name: rows}) for name, (config, rows) in ((LATE, late), (DAILY, daily)))]


def known_late(config):
    """The same job with a past that is known `LATE_SECONDS` later than it happened.

    Args:
        config: `pipeline.config.Config` with a history.

    Returns:
        `pipeline.config.Config`.
    """
    tree = config.model_dump()
    tree["data"]["history"]["delay_seconds"] = LATE_SECONDS
    return type(config).model_validate(tree)
