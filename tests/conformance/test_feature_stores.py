"""One suite for every feature store: the same tables give the same answers, written here in plain Python."""

import contextlib
import math
import threading

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data.buckets import Bucketing
from data.schema import ColumnType
from serving.features.config import FeaturesConfig
from serving.features.publication import Publication
from serving.features.sqlite_store import SqliteStore, publish_to_sqlite
from serving.features.tables import FeatureTables
from serving.ranker.columns import ColumnEncoder
from serving.ranker.request import ExampleEncoder
from tests.conformance.redis_server import running_redis
from tests.unit.serving.conftest import wait_until  # noqa: F401, a fixture
from tests.unit.serving.test_columns import SPECS
from tests.unit.serving.test_request import decoded

STORES = ("tables", "sqlite", "redis")
VECTOR, SEQUENCE = pa.list_(pa.float32()), pa.list_(pa.string())
USERS = {
    "user_id": ["u1", "u2", "Ü3", ""],
    "country": ["de", None, "", "日本"],
    "age": [30.5, None, 0.1, -1e30],
    "num_likes": [1, None, -(1 << 63), (1 << 63) - 1],
    "user_history": [[3.0, 0.1], None, [0.0, 0.0], [1e-40, -2.5]],
    "last_items": [["i3", "", "ï1"], [], None, ["i2"]],
    "last_impressed_at_ms": [1_000_000, None, 0, 5],
}
USER_TYPES = (pa.string(), pa.string(), pa.float32(), pa.int64(), VECTOR, SEQUENCE, pa.int64())
ITEMS = {
    "item_id": ["i1", "i2", "i3", "i4"],
    "author_id": ["a", "b", None, "a"],
    "num_likes": [1, None, 3, 3],
    "likes_bucket": ["0", None, "1", "1"],
    "item_history": [[5.0, 0.25], None, [6.0, 0.5], [6.0, 0.75]],
    "first_impressed_at_ms": [0, None, 3_600_000, 7],
}
ITEM_TYPES = (pa.string(), pa.string(), pa.int64(), pa.string(), VECTOR, pa.int64())
PAIRS = (
    {
        "user_id": ["u2", "u1", "u1", "stray"],
        "author_id": ["a", "b", "a", "é"],
        "user_author_history": [[4.0, 0.5], [2.0, 1], [1, 0.5], [7, 8]],
    },
    {"user_id": ["u1", "Ü3"], "num_likes": [3, -5], "user_num_likes_history": [[7.0], [8.0]]},
    {"user_id": ["u1", "u1"], "weight": [0.5, 0.1], "user_weight_history": [[7.0], [8.0]]},
    {"user_id": [], "surface": [], "user_surface_history": []},
)
PAIR_TYPES = (pa.string(), pa.int64(), pa.float32(), pa.string())
EMPTY = {
    "user_history": [0.0, 0.25],
    "item_history": [0.0, 0.5],
    "user_author_history": [0.0, 0.125],
    "user_num_likes_history": [9.0],
    "user_weight_history": [-1.0],
    "user_surface_history": [0.5, 0.75],
}
BUCKETINGS = (Bucketing("likes_bucket", "num_likes", ColumnType.INT, (2.0, 50.0)),)
CONFIG = FeaturesConfig.model_validate(
    {
        "popularity": {"column": "item_history", "entry": 0},
        "candidate_sets": {"by_a": {"where": {"author_id": "a"}}, "best": {"limit": 2}, "three": {"where": {"num_likes": 3}}},
    }
)
VERSION = 1_790_000_000_123


def table(columns, types):
    return pa.table({name: pa.array(values, type_) for (name, values), type_ in zip(columns.items(), types, strict=True)})


def publication(version=VERSION, users=None, config=CONFIG):
    pairs = [table(pair, (pa.string(), type_, VECTOR)) for pair, type_ in zip(PAIRS, PAIR_TYPES, strict=True)]
    return Publication.of_tables(
        table(users or USERS, USER_TYPES), table(ITEMS, ITEM_TYPES), pairs, EMPTY, BUCKETINGS, config, version
    )


@contextlib.contextmanager
def opened(kind, folder, content):
    """A store of a kind with a publication in it, and what publishes another one; tables are published once."""
    if kind == "tables":
        arguments = content.users, content.items, content.pairs, content.empty_history, content.bucketings
        yield FeatureTables(*arguments, CONFIG, content.version), None
        return
    with contextlib.ExitStack() as stack:
        if kind == "sqlite":
            path = folder / "features.sqlite"
            publish_to_sqlite(content, path)
            store, publish = SqliteStore(path, 0.01), lambda another: publish_to_sqlite(another, path)
        else:
            from serving.features.redis_store import RedisStore, publish_to_redis

            server = stack.enter_context(running_redis(folder))
            config = FeaturesConfig(redis_url=server.url, poll_seconds=0.01)
            publish_to_redis(content, config)
            store, publish = RedisStore(config), lambda another: publish_to_redis(another, config)
        try:
            yield store, publish
        finally:
            store.close()


@pytest.fixture(scope="module", params=STORES)
def features(request, tmp_path_factory):
    with opened(request.param, tmp_path_factory.mktemp(request.param), publication()) as (store, _):
        yield store.current()


def row_of(columns, types, key, value):
    """A row of a table, floats as 32 bits and absent vectors as empty histories."""
    name = next(iter(columns))
    row = {name: value} | {name: EMPTY[name] for name in columns if name in EMPTY}
    if value in columns[name]:
        place = columns[name].index(value)
        for (column, values), type_ in zip(columns.items(), types, strict=True):
            is_float = type_ in (VECTOR, pa.float32())
            if values[place] is not None:
                row[column] = np.asarray(values[place], np.float32).tolist() if is_float else values[place]
            elif type_ != VECTOR:
                row[column] = None
    return row


@pytest.mark.parametrize("user_id", ["u1", "u2", "Ü3", "", "stray", "nobody", "u1\0"])
def test_users(features, user_id):
    user = features.user_features(user_id)
    assert (user.user_id, user.is_known) == (user_id, user_id in USERS["user_id"])
    assert user.columns == row_of(USERS, USER_TYPES, "user_id", user_id)
    assert len(user.histories) == len(PAIRS)
    for history, pair, pair_columns in zip(user.histories, features.pairs, PAIRS, strict=True):
        users, values, numbers = pair_columns.values()
        assert (pair.column, pair.vector) == tuple(pair_columns)[1:]
        assert pair.empty.tolist() == EMPTY[pair.vector]
        own = {value: row for user, value, row in zip(users, values, numbers, strict=True) if user == user_id}
        if pair.column == "weight":
            own = {float(np.float32(value)): row for value, row in own.items()}
        asked = [*own, "never seen", None, 77]
        assert history.of_all(asked).tolist() == [own.get(value, EMPTY[pair.vector]) for value in asked]
        assert [history.of(value).tolist() for value in asked] == history.of_all(asked).tolist()
        assert history.row_by_value.keys() == own.keys()


def test_a_changed_answer_does_not_change_the_store(features):
    for user_id in ("u1", "nobody"):
        features.user_features(user_id).columns["user_history"][0] = 99.0
        assert features.user_features(user_id).columns == row_of(USERS, USER_TYPES, "user_id", user_id)


def test_an_unknown_user_is_known_without_asking(features):
    user = features.unknown_user("u1")
    assert (user.user_id, user.is_known, user.columns) == (
        "u1",
        False,
        row_of(USERS, USER_TYPES, "user_id", "x") | {"user_id": "u1"},
    )
    assert [history.of("a").tolist() for history in user.histories] == [EMPTY[pair.vector] for pair in features.pairs]


def test_items(features):
    asked = ["i3", "x", "i1", "i2"]
    assert features.items(asked) == [row_of(ITEMS, ITEM_TYPES, "item_id", item_id) for item_id in asked]
    assert features.item_rows(asked).tolist() == [2, 4, 0, 1]
    assert features.item_ids == ITEMS["item_id"]
    assert (features.num_items, features.item_columns) == (4, set(ITEMS))
    assert [features.has_item(item_id) for item_id in asked] == [True, False, True, True]
    assert features.item_values("author_id") == ["a", "b", None, "a", None]
    assert features.item_values("item_history") == [[5.0, 0.25], [0.0, 0.5], [6.0, 0.5], [6.0, 0.75], [0.0, 0.5]]


def test_what_a_publication_says_of_itself(features):
    assert features.version == VERSION
    assert features.bucketings == BUCKETINGS
    assert features.float_columns == {"age", *EMPTY}


def test_popularity_and_candidate_sets(features):
    assert features.candidate_sets == {"by_a": ("i4", "i1"), "best": ("i3", "i4"), "three": ("i3", "i4")}
    assert np.array_equal(features.popularity, [5, math.nan, 6, 6], equal_nan=True)
    assert features.popularity_of(["x", "i3", "i2"]).tolist() == [-math.inf, 6, -math.inf]


@pytest.mark.parametrize("user_id", ["u1", "nobody"])
def test_requests_hold_the_same(features, user_id, tmp_path):
    with opened("tables", tmp_path, publication()) as (tables, _):
        arguments = user_id, ["i4", "x", "i1", "i2"], {"surface": "feed"}, {"num_likes": {"i1": 60}}, 9_000_000
        wanted = [decoded(example) for example in ExampleEncoder(tables).encode(*arguments)]
        assert [decoded(example) for example in ExampleEncoder(features).encode(*arguments)] == wanted
        specs = {name: spec for name, spec in SPECS.items() if name not in ("hour_bucket",)}
        assert ColumnEncoder(features).encode(specs, *arguments) == ColumnEncoder(tables).encode(specs, *arguments)
        user = features.user_features(user_id)
        assert [decoded(one) for one in ExampleEncoder(features).encode(*arguments, user=user)] == wanted


@pytest.mark.parametrize("kind", STORES[1:])
def test_the_next_publication_takes_over_and_the_one_before_answers_on(kind, tmp_path, wait_until):  # noqa: F811
    later = {**USERS, "country": ["fr"] * 4}
    with opened(kind, tmp_path, publication()) as (store, publish):
        before = store.current()
        publish(publication(VERSION + 1, later))
        wait_until(lambda: store.current().version == VERSION + 1)
        assert store.current().user_features("u1").columns["country"] == "fr"
        assert before.user_features("u1").columns["country"] == "de"
        assert before.version == VERSION


@pytest.mark.parametrize("kind", STORES[1:])
def test_threads_meet_one_publication_at_a_time(kind, tmp_path):
    """Versions 1 to 6 name themselves in every user's country; no answer mixes two of them."""
    wrong, has_ended = [], threading.Event()

    def ask(store):
        while not has_ended.is_set():
            features = store.current()
            countries = {features.user_features(user_id).columns["country"] for user_id in USERS["user_id"]}
            if countries != {str(features.version)}:
                wrong.append((features.version, countries))

    named = [publication(number, {**USERS, "country": [str(number)] * 4}) for number in range(1, 7)]
    with opened(kind, tmp_path, named[0]) as (store, publish):
        threads = [threading.Thread(target=ask, args=(store,)) for _ in range(6)]
        for thread in threads:
            thread.start()
        try:
            for content in named[1:]:
                publish(content)
                store.refresh()
        finally:
            has_ended.set()
            for thread in threads:
                thread.join()
        assert store.current().version == 6
    assert wrong == []


text = st.text(max_size=4)
float32 = st.floats(width=32, allow_nan=False)


@settings(max_examples=25, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.none() | text,
            st.none() | float32,
            st.none() | st.integers(-(1 << 63), (1 << 63) - 1),
            st.none() | st.lists(float32, min_size=2, max_size=2),
            st.none() | st.lists(text, max_size=3),
            st.lists(st.tuples(text, st.lists(float32, min_size=2, max_size=2)), max_size=3, unique_by=lambda pair: pair[0]),
        ),
        max_size=6,
    )
)
def test_whatever_the_tables_hold_comes_back(tmp_path_factory, rows):
    columns = {"user_id": [f"u{place}" for place in range(len(rows))]}
    for place, name in enumerate(("country", "age", "num_likes", "user_history", "last_items")):
        columns[name] = [row[place] for row in rows]
    users = table(columns, USER_TYPES[:-1])
    triples = [(f"u{place}", value, numbers) for place, row in enumerate(rows) for value, numbers in row[5]]
    pair = table(
        dict(zip(("user_id", "author_id", "user_author_history"), map(list, zip(*triples, strict=True)), strict=True))
        if triples
        else {"user_id": [], "author_id": [], "user_author_history": []},
        (pa.string(), pa.string(), VECTOR),
    )
    empty = {name: EMPTY[name] for name in ("user_history", "item_history", "user_author_history")}
    arguments = users, table(ITEMS, ITEM_TYPES), [pair], empty
    tables = FeatureTables(*arguments)
    path = tmp_path_factory.mktemp("any") / "features.sqlite"
    publish_to_sqlite(Publication.of_tables(*arguments), path)
    store = SqliteStore(path)
    try:
        for user_id in [*columns["user_id"], "nobody"]:
            wanted, given_back = tables.user_features(user_id), store.current().user_features(user_id)
            assert given_back[:3] == wanted[:3]
            assert given_back.histories[0].row_by_value == wanted.histories[0].row_by_value
            assert np.array_equal(given_back.histories[0].numbers, wanted.histories[0].numbers)
    finally:
        store.close()
