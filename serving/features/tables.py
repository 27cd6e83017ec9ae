"""User, item and pair features in memory, from the tables that the pipeline exports beside the model."""

from data.schema import EMPTY_HISTORY_FILE, ITEMS_TABLE, USERS_TABLE, pair_table_name
from serving.errors import FeatureTableError
from serving.features.checks import ITEM_KEY, USER_KEY
from serving.features.items import ItemSide, KeyedTable
from serving.features.pairs import PairTable
from serving.features.publication import Publication
from serving.features.store import UserFeatures


class FeatureTables(ItemSide):
    """Features of all known users, items and pairs, in memory; who is unknown has the empty history.

    It is a store that gives out itself: one publication, the only one.

    Attributes:
        version: number of the publication.
        pairs: tuple of `PairTable`.
        bucketings: tuple of `data.buckets.Bucketing`: columns that follow from others wherever a request gives those.
        float_columns: names of the columns of all tables that hold floats or lists of them.
        num_failed_polls: 0, as no other publication is looked for.
    """

    def __init__(self, users, items, pairs=(), empty_history=None, bucketings=(), config=None, version=0):
        """Features from tables.

        Args:
            users: Arrow table with a `user_id` column, its name first; other columns string, int64, float32, or lists of
                strings or of float32, the latter as long as their empty history.
            items: the same with `item_id`.
            pairs: Arrow tables of `user_id`, a column of items or of the context, and lists of float32.
            empty_history: list of numbers by column of such lists; None for no such columns.
            bucketings: `data.buckets.Bucketing`s.
            config: `FeaturesConfig`, for popularity and candidate sets; None for neither.
            version: number of the publication.

        Raises:
            FeatureTableError: If a key column is not first, not a string, null or repeated, a type or a length is another
                one, a history stands in two tables, or an empty one belongs to none.
        """
        empty_history = empty_history or {}
        self._users = KeyedTable(users, USER_KEY, USERS_TABLE, empty_history)
        item_table = KeyedTable(items, ITEM_KEY, ITEMS_TABLE, empty_history)
        publication = Publication.of_tables(users, items, pairs, empty_history, bucketings, config, version)
        super().__init__(item_table, publication.candidate_sets, publication.popularity)
        self.pairs = tuple(PairTable(table, empty_history) for table in publication.pairs)
        check_distinct(self.pairs)
        self.version, self.bucketings, self.num_failed_polls = version, publication.bucketings, 0
        self.float_columns = self._users.float_columns | item_table.float_columns | {pair.vector for pair in self.pairs}
        held = {*self._users.columns, *item_table.columns, *(pair.vector for pair in self.pairs)}
        if unheld := sorted(empty_history.keys() - held):
            raise FeatureTableError(f"{EMPTY_HISTORY_FILE} must name columns of the tables. Received: {unheld[0]}")

    @classmethod
    def load(cls, folder, config=None, version=0):
        """Features from the folder that the pipeline wrote them to.

        Args:
            folder: path, as of `Publication.load`.
            config: `FeaturesConfig`, for popularity and candidate sets; None for neither.
            version: number of the publication.

        Returns:
            `FeatureTables`.

        Raises:
            FeatureTableError: If a file is missing, is not of its format, or does not hold what it must.
        """
        content = Publication.load(folder, version=version)
        return cls(
            content.users, content.items, content.pairs, content.empty_history, content.bucketings, config, content.version
        )

    def current(self):
        """The one publication.

        Returns:
            Itself.
        """
        return self

    def prepare_with(self, prepare_fn):
        """Nothing to prepare: there is no next publication.

        Args:
            prepare_fn: not called.
        """

    def close(self):
        """Nothing to let go of."""

    @property
    def user_ids(self):
        """Ids of all users, in the order of their table."""
        return self._users.keys

    def has_user(self, user_id):
        """Whether a user has a row.

        Args:
            user_id: id of the user.

        Returns:
            True or False.
        """
        return user_id in self._users

    def user(self, user_id):
        """Columns of a user.

        Args:
            user_id: id of the user.

        Returns:
            str, int, float, list or None by column name; `user_id` and empty histories for an unknown user.
        """
        return self._users.rows([user_id])[0]

    def user_features(self, user_id):
        """All that is known of a user.

        Args:
            user_id: id of the user.

        Returns:
            `UserFeatures`.
        """
        histories = tuple(pair.history(user_id) for pair in self.pairs)
        return UserFeatures(user_id, self.has_user(user_id), self.user(user_id), histories)

    def unknown_user(self, user_id):
        """What is known of a user who is in no table.

        Args:
            user_id: id of the user.

        Returns:
            `UserFeatures`.
        """
        columns = {**self._users.rows([None])[0], USER_KEY: user_id}
        return UserFeatures(user_id, False, columns, tuple(pair.history(None) for pair in self.pairs))


def check_distinct(pairs):
    """Checks that a history stands in one table of pairs.

    Args:
        pairs: objects with `column` and `vector`.

    Raises:
        FeatureTableError: If two tables hold it, of which one is left over from another configuration.
    """
    column_by_vector = {}
    for pair in pairs:
        other = column_by_vector.setdefault(pair.vector, pair.column)
        if other != pair.column:
            raise FeatureTableError(
                f"{pair.vector} must stand in one table of pairs; one of them is left over from another configuration. "
                f"Received: {pair_table_name(other)} and {pair_table_name(pair.column)}"
            )
