"""A publication in a store: how it is parted into bytes, and the features that come of them.

The parts are few and read once a publication: the item table, popularity, what the tables' columns mean. Records of users are
many and read one at a time.
"""

import abc
import json
import threading

import numpy as np
import pyarrow as pa

from data import buckets
from data.schema import ITEMS_TABLE
from serving.errors import FeatureStoreError
from serving.features.checks import ITEM_KEY
from serving.features.items import ItemSide, KeyedTable
from serving.features.records import RecordFormat
from serving.features.tables import FeatureTables

# Changes when parts or records are written in another way; a store of another form is not read.
FORM = 1
META, USERS_SCHEMA, ITEMS, POPULARITY = "meta", "users_schema", "items", "popularity"


def encoded_publication(publication):
    """A publication as a store holds it.

    Args:
        publication: `serving.features.publication.Publication`.

    Returns:
        Bytes by name of the part, and an iterator of user ids with their records, some thousands at a time.

    Raises:
        FeatureTableError: If a table breaks its contract.
    """
    content = publication
    # What a service would refuse to read is not published.
    FeatureTables(content.users, content.items, content.pairs, content.empty_history, content.bucketings)
    pair_types = [(*table.column_names[1:], table.schema.field(1).type) for table in content.pairs]
    meta = {
        "form": FORM,
        "version": content.version,
        "empty_history": content.empty_history,
        "pairs": [[column, vector, str(type_)] for column, vector, type_ in pair_types],
        "bucketings": buckets.to_json(content.bucketings),
        "candidate_sets": content.candidate_sets,
    }
    users = content.users.replace_schema_metadata(None)
    parts = {
        META: json.dumps(meta).encode(),
        USERS_SCHEMA: _ipc(users.schema.empty_table()),
        ITEMS: _ipc(content.items.replace_schema_metadata(None)),
        POPULARITY: content.popularity.astype("<f8").tobytes(),
    }
    record_format = RecordFormat(users.schema, pair_types, content.empty_history)
    return parts, record_format.encode(users, content.pairs)


class PublishedFeatures(ItemSide):
    """Features of one publication in a store: the item side in memory, users by look-up.

    Attributes:
        version: number of the publication.
        pairs: tuple of `serving.features.pairs.Pair`.
        bucketings: tuple of `data.buckets.Bucketing`.
        float_columns: names of the columns of all tables that hold floats or lists of them.
    """

    def __init__(self, parts, record_fn, close_fn=None):
        """Features of a publication.

        Args:
            parts: bytes by name, as of `encoded_publication`.
            record_fn: user id to the user's record; None for a user without one.
            close_fn: lets go of what `record_fn` reads from; None for nothing.

        Raises:
            FeatureStoreError: If the parts are of another form, or not whole.
        """
        try:
            meta = json.loads(parts[META])
            if meta["form"] != FORM:
                raise FeatureStoreError(
                    f"the publication must be of form {FORM}. Received: form {meta['form']}. Publish the features anew"
                )
            schema = _table(parts[USERS_SCHEMA]).schema
            items = KeyedTable(_table(parts[ITEMS]), ITEM_KEY, ITEMS_TABLE, meta["empty_history"])
            popularity = np.frombuffer(parts[POPULARITY], "<f8")
        except (KeyError, ValueError, pa.ArrowException) as error:
            raise FeatureStoreError(
                f"the publication must hold whole parts. Received: {type(error).__name__}: {error}. Publish the features anew"
            ) from error
        super().__init__(items, meta["candidate_sets"], popularity)
        types = {str(type_): type_ for type_ in (pa.string(), pa.int64(), pa.float32())}
        pair_types = [(column, vector, types[type_]) for column, vector, type_ in meta["pairs"]]
        self._format = RecordFormat(schema, pair_types, meta["empty_history"])
        self._record_fn, self._close_fn = record_fn, close_fn
        self.version, self.pairs = meta["version"], self._format.pairs
        self.bucketings = buckets.from_json(meta["bucketings"])
        floats = {field.name for field in schema if field.type == pa.float32() or field.name in meta["empty_history"]}
        self.float_columns = items.float_columns | floats | {pair.vector for pair in self.pairs}

    def user_features(self, user_id):
        """All that is known of a user, by one look-up.

        Args:
            user_id: id of the user.

        Returns:
            `UserFeatures`.

        Raises:
            FeatureStoreError: If the store does not answer.
        """
        return self._format.decode(user_id, self._record_fn(user_id))

    def unknown_user(self, user_id):
        """What is known of a user who is in no table; asks nobody.

        Args:
            user_id: id of the user.

        Returns:
            `UserFeatures`.
        """
        return self._format.unknown(user_id)

    def close(self):
        """Lets go of what records are read from."""
        if self._close_fn is not None:
            self._close_fn()


class PolledStore(abc.ABC):
    """A store that looks for the next publication in the background and puts it in place whole.

    The item side of a publication is read before any request sees it, so that no request waits for it.

    Attributes:
        num_failed_polls: how often the look for a next publication failed; the one in place serves on.
        last_error: error of the latest such failure; None after a look that went well.
    """

    def __init__(self, poll_seconds):
        """A store with its first publication.

        Args:
            poll_seconds: how often to look.

        Raises:
            FeatureStoreError: If there is none.
        """
        self.num_failed_polls, self.last_error = 0, None
        self._poll_seconds = poll_seconds
        self._refreshing = threading.Lock()
        self._has_stopped = threading.Event()
        self._mark, self._current = None, None
        self._prepare_fn = None
        self.refresh()
        self._poller = threading.Thread(target=self._poll, name="features", daemon=True)
        self._poller.start()

    @abc.abstractmethod
    def _read_mark(self):
        """What differs between two publications, cheap to read."""

    @abc.abstractmethod
    def _read(self):
        """`PublishedFeatures` of the newest publication."""

    def current(self):
        """The newest publication that is ready.

        Returns:
            `PublishedFeatures`.
        """
        return self._current

    def prepare_with(self, prepare_fn):
        """Has what follows from a publication computed before requests see it.

        Args:
            prepare_fn: called with each next `PublishedFeatures`, in the background; must not raise.
        """
        self._prepare_fn = prepare_fn

    def refresh(self):
        """Looks for another publication once, and puts it in place.

        Raises:
            FeatureStoreError: If the store does not answer, or holds none that can be read.
        """
        with self._refreshing:
            mark = self._read_mark()
            if mark != self._mark:
                features = self._read()
                if self._prepare_fn is not None:
                    self._prepare_fn(features)
                # The one before is let go of when the last request that holds it has ended.
                self._current = features
                self._mark = mark

    def close(self):
        """Stops looking and lets go of the publication in place."""
        self._has_stopped.set()
        self._poller.join()
        self._current.close()

    def _poll(self):
        while not self._has_stopped.wait(self._poll_seconds):
            try:
                self.refresh()
                self.last_error = None
            except Exception as error:  # whatever it was: without this thread features would grow old in silence
                self.num_failed_polls += 1
                self.last_error = error


def _ipc(table):
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue().to_pybytes()


def _table(content):
    with pa.ipc.open_stream(content) as reader:
        return reader.read_all()
