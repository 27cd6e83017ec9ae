"""What a service asks of features, wherever they lie: a store gives out publications, a publication answers.

A request takes one publication and asks it alone, so that all its features belong together even while the next publication
arrives.
"""

from typing import NamedTuple, Protocol

import numpy as np

from serving.features.pairs import PairHistory


class UserFeatures(NamedTuple):
    """All that one publication knows of a user, from one look-up.

    Attributes:
        user_id: id of the user.
        is_known: whether the user has a row in the user table.
        columns: str, int, float, list or None by column name; `user_id` and empty histories for an unknown user.
        histories: tuple of `PairHistory`, as `Features.pairs`.
    """

    user_id: str
    is_known: bool
    columns: dict
    histories: tuple[PairHistory, ...]


class Features(Protocol):
    """One publication: user features by look-up, the item side in memory.

    Attributes:
        version: number of the publication, greater than that of every earlier one.
        pairs: tuple of objects with `column`, `vector` and `empty`, as `serving.features.pairs.Pair`.
        bucketings: tuple of `data.buckets.Bucketing`: columns that follow from others wherever a request gives those.
        float_columns: names of the columns of all tables that hold floats or lists of them.
        candidate_sets: tuple of item ids by name.
        popularity: (items,) float64 in the order of the item table, higher is more popular; NaN where unknown.
        item_ids: ids of all items, in the order of their table.
        item_columns: names of the columns that a known item has.
        num_items: rows of the item table.
    """

    version: int
    pairs: tuple
    bucketings: tuple
    float_columns: frozenset[str]
    candidate_sets: dict[str, tuple[str, ...]]
    popularity: np.ndarray
    item_ids: list[str]
    item_columns: frozenset[str]
    num_items: int

    def user_features(self, user_id) -> UserFeatures:
        """All that is known of a user.

        Args:
            user_id: id of the user, known or not.

        Returns:
            `UserFeatures`.

        Raises:
            FeatureStoreError: If the store does not answer.
        """

    def unknown_user(self, user_id) -> UserFeatures:
        """What is known of a user who is in no table; asks nobody.

        Args:
            user_id: id of the user.

        Returns:
            `UserFeatures`.
        """

    def has_item(self, item_id) -> bool:
        """Whether an item has a row.

        Args:
            item_id: id of the item.

        Returns:
            True or False.
        """

    def items(self, item_ids) -> list:
        """Columns of items.

        Args:
            item_ids: ids of items.

        Returns:
            List in the order of `item_ids`: str, int, float, list or None by column name.
        """

    def item_rows(self, item_ids) -> np.ndarray:
        """Rows of items in their table.

        Args:
            item_ids: ids of items.

        Returns:
            (items,) int64; `num_items` for an unknown one.
        """

    def item_values(self, column) -> list:
        """One column of all items.

        Args:
            column: one of `item_columns`.

        Returns:
            List of `num_items` + 1, in the order of the table, then that of an unknown item.
        """

    def popularity_of(self, item_ids) -> np.ndarray:
        """Popularity of items.

        Args:
            item_ids: ids of items.

        Returns:
            (items,) float64; negative infinity where it is unknown.
        """


class FeatureStore(Protocol):
    """Where publications come from; may be asked from several threads.

    Attributes:
        num_failed_polls: how often the look for a next publication failed; the one in place serves on.
    """

    num_failed_polls: int

    def current(self) -> Features:
        """The newest publication that is ready.

        Returns:
            `Features`.
        """

    def prepare_with(self, prepare_fn):
        """Has what follows from a publication computed before requests see it.

        Args:
            prepare_fn: called with each next `Features`, in the background; must not raise.
        """

    def close(self):
        """Lets go of files, connections and threads; publications that were given out answer no more."""
