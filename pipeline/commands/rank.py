"""`smalltowers rank`."""

import pyarrow as pa
from rich.table import Table

from data.columns import aggregate_column, labelled_schema
from pipeline.errors import ConfigError
from pipeline.terminal import framework_noise_to


def rank_candidates(config, user, candidates=None, features=(), top=10):
    """Asks the running server for a ranking and prints it.

    Args:
        config: `pipeline.config.Config`.
        user: id of the user.
        candidates: item ids separated by commas; None for the first `serving.max_candidates` known ones.
        features: `name=value` strings, columns that override the tables and the configured context.
        top: how many items to print.
    """
    with framework_noise_to(config.root / "logs" / "rank.log") as console:
        with console.status("Asking the model server ..."):
            from serving.features.tables import FeatureTables
            from serving.ranker.client import Ranker

            tables = FeatureTables.load(str(config.features_folder))
            item_ids = None if candidates is None else [name.strip() for name in candidates.split(",") if name.strip()]
            with Ranker(config.serving, tables) as ranker:
                ranking = ranker.rank(user, item_ids, features=dict(parse_feature(config, text) for text in features))
        print_ranking(console, user, ranking, top)


def print_ranking(console, user, ranking, top):
    """Prints the head of a ranking.

    Args:
        console: `rich.console.Console`.
        user: id of the user.
        ranking: `serving.ranker.client.Ranking`.
        top: how many items to print.
    """
    table = Table(
        title=f"Ranking for user {user} by version {ranking.model_version}",
        title_justify="left",
        box=None,
        pad_edge=False,
    )
    for name in ("rank", "item"):
        table.add_column(name)
    for name in ("click", "watch, s", "satisfaction", "score"):
        table.add_column(name, justify="right")
    for place, item in enumerate(ranking.items[:top], start=1):
        table.add_row(
            str(place),
            item.item_id if item.is_known else f"{item.item_id} (unknown)",
            f"{item.click:.4f}",
            f"{item.watch_seconds:.1f}",
            f"{item.satisfaction:.4f}",
            f"{item.score:.4f}",
        )
    console.print(table)
    if not ranking.is_known_user:
        console.print(f"user {user} is in no feature table and is served as an unknown one")
    num_below = len(ranking.items) - top
    if num_below > 0:
        console.print(f"{num_below:,} more candidates ranked below")
    if ranking.num_left_out:
        console.print(
            f"{ranking.num_left_out:,} items of the table were not asked for; name some with --candidates", soft_wrap=True
        )


def parse_feature(config, text):
    """A column of the request, as the log's schema types it.

    Args:
        config: `pipeline.config.Config`.
        text: `name=value`.

    Returns:
        Name and value, a string, int or float, or a list of them where the column holds lists; their text has commas.

    Raises:
        ConfigError: If the form is wrong, the ranking depends on no such column, or the value is of another type.
    """
    name, separator, value = text.partition("=")
    if not separator:
        raise ConfigError(f"--feature must be of the form name=value. Received: {text}")
    names = _columns_of_request(config)
    if name not in names:
        raise ConfigError(f"--feature must name a column that the ranking depends on ({', '.join(names)}). Received: {name}")
    column = labelled_schema(config.data).field(name).type
    is_list = pa.types.is_list(column)
    entry = column.value_type if is_list else column
    parse_fn = str if pa.types.is_string(entry) else int if pa.types.is_integer(entry) else float
    try:
        return name, [parse_fn(one) for one in value.split(",") if one] if is_list else parse_fn(value)
    except ValueError:
        raise ConfigError(f"--feature {name} must be of type {column}. Received: {value}") from None


def _columns_of_request(config):
    """Columns that the model reads, those by which the history of a pair is found, and those that have a bucket among them."""
    names = dict.fromkeys(config.model.columns)
    history = config.data.history
    for aggregate in history.aggregates if history else ():
        if len(aggregate.key) == 2 and aggregate_column(aggregate) in names:
            names[aggregate.key[-1]] = None
    names |= dict.fromkeys(bucket.column for name, bucket in config.data.bucket_columns.items() if name in names)
    return list(names)
