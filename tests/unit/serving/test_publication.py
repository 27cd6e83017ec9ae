import pyarrow as pa
import pytest

from serving.errors import FeatureStoreError, FeatureTableError
from serving.features.config import FeaturesConfig
from serving.features.opening import open_store
from serving.features.publication import Publication
from serving.features.published import PublishedFeatures, encoded_publication
from serving.features.sqlite_store import SqliteStore, publish_to_sqlite
from serving.features.tables import FeatureTables
from tests.unit.serving.test_tables import HISTORY_USERS, ITEMS, USERS, history_folder


def config(**keys):
    return FeaturesConfig.model_validate(keys)


def test_without_popularity_items_are_as_popular_as_they_stand_first():
    tables = FeatureTables(USERS, ITEMS, config=config(candidate_sets={"all": {}, "first": {"limit": 1}}))
    assert tables.popularity.tolist() == [0, -1]
    assert tables.candidate_sets == {"all": ("i1", "i2"), "first": ("i1",)}
    assert FeatureTables(USERS, ITEMS).candidate_sets == {}


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"popularity": {"column": "likes"}}, r"popularity.column must be one of \['item_id', .*\]. Received: likes"),
        ({"popularity": {"column": "author_id"}}, "popularity.column must be numeric. Received: author_id: string"),
        ({"popularity": {"column": "h", "entry": 2}}, "popularity.entry must be a number of h. Received: 2"),
        ({"candidate_sets": {"s": {"where": {"x": 1}}}}, r"candidate_sets.s.where must name columns of .*. Received: x"),
        ({"candidate_sets": {"s": {"where": {"author_id": "z"}}}}, "candidate_sets.s.where must fit an item .* fits none"),
    ],
)
def test_configuration_that_the_tables_do_not_bear_out_is_refused(keys, message):
    items = ITEMS.append_column("h", pa.array([[1.0, 2.0], None], pa.list_(pa.float32())))
    with pytest.raises(FeatureTableError, match=message):
        FeatureTables(USERS, items, (), {"h": [0, 0]}, config=config(**keys))


def test_what_a_service_would_refuse_is_not_published(tmp_path):
    users = pa.concat_tables([USERS, USERS])
    with pytest.raises(FeatureTableError, match=r"users.parquet must hold each user_id once. Received: 'u1' twice"):
        publish_to_sqlite(Publication.of_tables(users, ITEMS), tmp_path / "f.sqlite")
    assert list(tmp_path.iterdir()) == []


def test_a_failed_publication_leaves_the_one_before(tmp_path, monkeypatch):
    path = tmp_path / "f.sqlite"
    publish_to_sqlite(Publication.of_tables(USERS, ITEMS, version=1), path)
    sequence = pa.array([["a", None], []], pa.list_(pa.string()))
    users = HISTORY_USERS.set_column(2, "last_items", sequence)
    with pytest.raises(FeatureTableError, match=r"last_items must hold strings. Received: a null within a row"):
        publish_to_sqlite(Publication.of_tables(users, ITEMS, (), {"user_history": [0, 0]}), path)
    assert [each.name for each in tmp_path.iterdir()] == ["f.sqlite"]
    store = SqliteStore(path)
    assert store.current().version == 1
    store.close()


def test_more_users_than_are_encoded_at_a_time(monkeypatch, tmp_path):
    monkeypatch.setattr("serving.features.records._USERS_AT_A_TIME", 3)
    names = [f"u{number}" for number in range(10)]
    users = pa.table({"user_id": names, "name": [name * 2 for name in names]})
    pairs = pa.table(
        {
            "user_id": [name for name in reversed(names) for _ in range(2)],
            "author_id": ["a", "bb"] * 10,
            "history": pa.array([[number, number + 0.5] for number in range(20)], pa.list_(pa.float32())),
        }
    )
    publish_to_sqlite(Publication.of_tables(users, ITEMS, [pairs], {"history": [0, 0]}), tmp_path / "f.sqlite")
    store = SqliteStore(tmp_path / "f.sqlite")
    for number, name in enumerate(names):
        user = store.current().user_features(name)
        assert user.columns == {"user_id": name, "name": name * 2}
        row = 2 * (9 - number)
        assert user.histories[0].of_all(["a", "bb", "c"]).tolist() == [[row, row + 0.5], [row + 1, row + 1.5], [0, 0]]
    store.close()


@pytest.mark.parametrize(
    ("content", "message"),
    [(None, "must be a file of features. Received: No such file"), (b"users", "must be a file of features. Received: ")],
)
def test_a_file_that_is_no_publication_is_named(tmp_path, content, message):
    path = tmp_path / "features.sqlite"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(FeatureStoreError, match=f"features.sqlite {message}"):
        SqliteStore(path)


def test_a_publication_that_cannot_be_read_leaves_the_one_before_in_place(tmp_path, wait_until):
    path = tmp_path / "features.sqlite"
    publish_to_sqlite(Publication.of_tables(USERS, ITEMS, version=1), path)
    store = SqliteStore(path, 0.01)
    (tmp_path / "broken").write_bytes(b"no database")
    (tmp_path / "broken").rename(path)
    wait_until(lambda: store.num_failed_polls > 0)
    assert "must be a file of features" in str(store.last_error)
    assert store.current().user_features("u1").columns["age"] == 30.0
    publish_to_sqlite(Publication.of_tables(USERS, ITEMS, version=2), path)
    wait_until(lambda: store.current().version == 2)
    store.close()


def test_a_closed_store_says_so(tmp_path):
    publish_to_sqlite(Publication.of_tables(USERS, ITEMS), tmp_path / "features.sqlite")
    store = SqliteStore(tmp_path / "features.sqlite")
    store.close()
    for _ in range(3):
        with pytest.raises(FeatureStoreError, match=r"features.sqlite must answer. Received: Cannot operate on a closed"):
            store.current().user_features("u1")


def test_parts_of_another_form_are_refused():
    parts, _ = encoded_publication(Publication.of_tables(USERS, ITEMS))
    other = parts | {"meta": parts["meta"].replace(b'"form": 1', b'"form": 2')}
    with pytest.raises(FeatureStoreError, match=r"must be of form 1. Received: form 2. Publish the features anew"):
        PublishedFeatures(other, None)
    with pytest.raises(FeatureStoreError, match=r"must hold whole parts. Received: KeyError: 'popularity'"):
        PublishedFeatures({name: content for name, content in parts.items() if name != "popularity"}, None)


@pytest.mark.parametrize("cut", [0, 3, 20])
def test_a_record_that_was_cut_is_not_taken_for_another(cut):
    parts, records = encoded_publication(Publication.of_tables(HISTORY_USERS, ITEMS, (), {"user_history": [0, 0]}))
    (((_, _), (whole, _)),) = records
    features = PublishedFeatures(parts, lambda _: whole[:cut])
    with pytest.raises(FeatureStoreError, match="the record of user 'u1' must be of its publication's form"):
        features.user_features("u1")


def test_the_store_is_the_configured_one(tmp_path):
    history_folder(tmp_path, {"user_history": [0, 0.5]})
    tables = open_store(config(store="tables"), tmp_path)
    assert tables.current().version == (tmp_path / "users.parquet").stat().st_mtime_ns // 1_000_000
    with pytest.raises(FeatureStoreError, match=r"features.sqlite must be a file"):
        open_store(config(), tmp_path)
    publish_to_sqlite(Publication.load(tmp_path, version=5), tmp_path / "features.sqlite")
    store = open_store(config(), tmp_path)
    assert store.current().version == 5
    store.close()
    with pytest.raises(FeatureStoreError, match=r"Redis must answer. Received: ConnectionError"):
        open_store(config(store="redis", redis_url=f"unix://{tmp_path}/nobody"), tmp_path)
