"""The rankers of the study: with the past, without it, and with the past refreshed once a day, on the same rows."""

from benchmarks.prepared import prepare, train_and_score
from data.columns import history_fields

SAME, WITHOUT = "the same without the past", "without the past, in its best form"
WITH, OTHER = "with the past", "with the past, all of it refreshed once a day"

# What the ranker without the past has in its own best form, chosen on 2 May as all other settings: an embedding of the user
# in the place of his statistics, and the two passes that it bears.
OWN_FEATURE = {"kind": "categorical", "name": "user_id", "dimension": 16, "min_count": 2}
OWN_TRAINING = {"batch_size": 256, "epochs": 2, "learning_rate": 1e-3}


def study(config, seeds, folder, say, has_other_refresh=True):
    """Scored evaluation rows of every ranker.

    Args:
        config: `pipeline.config.Config` with a history.
        seeds: of the trainings.
        folder: `pathlib.Path` for data on its way.
        say: called with what happens now.
        has_other_refresh: whether the past refreshed once a day is trained too.

    Returns:
        Dict from `SAME`, `WITHOUT`, `WITH` and, if wanted, `OTHER` to list of `ScoredRows`, one a seed.
    """
    own = in_best_form(without_past(config))
    features = {feature.name: feature for each in (own, config) for feature in each.sized_model.features}
    say("Ingesting and transforming ...")
    shipped = prepare(config, folder / "shipped", features.values())
    jobs = {SAME: (without_past(config), shipped), WITHOUT: (own, shipped), WITH: (config, shipped)}
    if has_other_refresh:
        say("Ingesting and transforming with daily refresh ...")
        other = refreshed_daily(config)
        jobs[OTHER] = other, prepare(other, folder / "other", other.sized_model.features)
    return {name: [_scored(*job, seed, say, name) for seed in seeds] for name, job in jobs.items()}


def without_past(config):
    """The same job whose ranker knows nothing of the past, and is otherwise the same.

    Args:
        config: `pipeline.config.Config` with a history.

    Returns:
        `pipeline.config.Config`; rows are still ingested with their history, which its model does not read.
    """
    past = {field.name for field in history_fields(config.data.history)}
    tree = config.model_dump()
    tree["model"]["features"] = [feature for feature in tree["model"]["features"] if feature["name"] not in past]
    return type(config).model_validate(tree)


def in_best_form(config):
    """A job without the past, with the user's embedding and the training that suit it best.

    Args:
        config: `pipeline.config.Config` from `without_past`.

    Returns:
        `pipeline.config.Config`.
    """
    tree = config.model_dump()
    if OWN_FEATURE["name"] not in {feature["name"] for feature in tree["model"]["features"]}:
        tree["model"]["features"] = [*tree["model"]["features"], OWN_FEATURE]
    tree["train"] |= OWN_TRAINING
    return type(config).model_validate(tree)


def refreshed_daily(config):
    """The same job with all features of the past refreshed once a day, as tables that a daily run publishes.

    Args:
        config: `pipeline.config.Config` with a history.

    Returns:
        `pipeline.config.Config`.
    """
    tree = config.model_dump()
    history = tree["data"]["history"]
    history["refresh_hours"] = 24.0
    for feature in (*history["aggregates"], *history["sequences"]):
        feature["refresh_hours"] = None
    return type(config).model_validate(tree)


def _scored(config, prepared, seed, say, name):
    say(f"Training {name}, seed {seed} ...")
    return train_and_score(config, prepared, seed).served
