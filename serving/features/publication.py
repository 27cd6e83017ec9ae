"""One publication of features: the tables that the pipeline exported, and what follows from them by configuration."""

import dataclasses
import json
import pathlib

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from data import buckets
from data.schema import BUCKETS_FILE, EMPTY_HISTORY_FILE, ITEMS_TABLE, USERS_TABLE, pair_table_name
from serving.errors import FeatureTableError
from serving.features.items import candidate_set, popularity_of_table


@dataclasses.dataclass(frozen=True)
class Publication:
    """All that a store holds at a time.

    Attributes:
        version: number of the publication, greater than that of every earlier one.
        users: Arrow table with `user_id` first.
        items: Arrow table with `item_id` first.
        pairs: tuple of Arrow tables of `user_id`, a column of items or of the context, and one list of float32.
        empty_history: list of numbers by column.
        bucketings: tuple of `data.buckets.Bucketing`.
        popularity: (items,) float64, NaN where unknown.
        candidate_sets: list of item ids by name.
    """

    version: int
    users: pa.Table
    items: pa.Table
    pairs: tuple
    empty_history: dict
    bucketings: tuple
    popularity: np.ndarray
    candidate_sets: dict

    @classmethod
    def of_tables(cls, users, items, pairs=(), empty_history=None, bucketings=(), config=None, version=0):
        """A publication of tables in memory.

        Args:
            users: Arrow table with `user_id` first.
            items: Arrow table with `item_id` first.
            pairs: Arrow tables of `user_id`, a column of items or of the context, and lists of float32.
            empty_history: list of numbers by column; None for none.
            bucketings: `data.buckets.Bucketing`s.
            config: `FeaturesConfig`, for popularity and candidate sets; None for neither.
            version: number of the publication.

        Returns:
            `Publication`.

        Raises:
            FeatureTableError: If the configuration names what the table of items does not hold.
        """
        popularity = popularity_of_table(items, config and config.popularity)
        sets = {
            name: candidate_set(items, popularity, name, each)
            for name, each in (config.candidate_sets if config else {}).items()
        }
        by_vector = tuple(each for table in pairs for each in _by_vector(table))
        return cls(version, users, items, by_vector, empty_history or {}, tuple(bucketings), popularity, sets)

    @classmethod
    def load(cls, folder, config=None, version=0):
        """The publication in the folder that the pipeline wrote tables to.

        Args:
            folder: path that holds `users.parquet` and `items.parquet`, where there is history the tables of pairs and
                `empty_history.json`, and where there are columns of buckets `buckets.json`. A history of pairs that is not in
                `empty_history.json` is left over from another configuration and not read.
            config: `FeaturesConfig`, for popularity and candidate sets; None for neither.
            version: number of the publication.

        Returns:
            `Publication`.

        Raises:
            FeatureTableError: If a file is missing, is not of its format, or does not hold what it must.
        """
        folder = pathlib.Path(folder)
        users, items = (_read(folder / name) for name in (USERS_TABLE, ITEMS_TABLE))
        empty_history = _read_empty_history(folder / EMPTY_HISTORY_FILE)
        pairs = [_read_pairs(path, empty_history) for path in sorted(folder.glob(pair_table_name("*")))]
        bucketings = _read_bucketings(folder / BUCKETS_FILE)
        pairs = [table for table in pairs if table is not None]
        return cls.of_tables(users, items, pairs, empty_history, bucketings, config, version)


def _read(path):
    try:
        return pq.read_table(path)
    except FileNotFoundError as error:
        raise FeatureTableError(
            f"{path.parent} must hold {path.name}. Received: no such file. Run the pipeline first: it writes the table"
        ) from error
    except (pa.ArrowInvalid, OSError) as error:
        raise FeatureTableError(f"{path} must be a Parquet file. Received: {str(error).splitlines()[0]}") from error


def _read_pairs(path, empty_history):
    """A table of pairs with the histories that are in use; None without any."""
    table = _read(path)
    used = [name for name in table.column_names[2:] if name in empty_history]
    return table.select([*table.column_names[:2], *used]) if used else None


def _by_vector(table):
    """A table of pairs as one for each of its histories."""
    names = table.column_names
    return [table.select([*names[:2], vector]) for vector in names[2:]] or [table]


def _read_bucketings(path):
    """Columns of buckets; none without the file."""
    try:
        return buckets.from_json(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return ()
    except ValueError as error:
        raise FeatureTableError(f"{path} must be JSON of columns of buckets. Received: {error}") from error


def _read_empty_history(path):
    """List of numbers by column; none without the file: a job without history has no vectors, which the tables then show."""
    try:
        histories = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise FeatureTableError(f"{path} must be JSON. Received: {error}") from error
    is_numbers_by_column = isinstance(histories, dict) and all(
        isinstance(numbers, list) and all(type(number) in (int, float) for number in numbers) for numbers in histories.values()
    )
    if not is_numbers_by_column:
        raise FeatureTableError(f"{path} must hold a list of numbers by column. Received: {str(histories)[:80]}")
    return {name: [float(number) for number in numbers] for name, numbers in histories.items()}
