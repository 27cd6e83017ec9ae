import pytest
import redis

from serving.errors import FeatureStoreError
from serving.features.config import FeaturesConfig
from serving.features.publication import Publication
from serving.features.redis_store import RedisStore, publish_to_redis
from tests.conformance.redis_server import running_redis
from tests.unit.serving.test_tables import ITEMS, USERS


@pytest.fixture
def server(tmp_path):
    with running_redis(tmp_path) as server:
        yield server


def config(server, **keys):
    return FeaturesConfig(redis_url=server.url, poll_seconds=0.01, **keys)


def publication(version):
    return Publication.of_tables(USERS, ITEMS, version=version)


def test_an_empty_redis_is_named(server):
    with pytest.raises(FeatureStoreError, match=r"Redis must hold smalltowers:current. Received: nothing. Publish"):
        RedisStore(config(server))


def test_a_redis_that_dies_is_a_typed_error_and_its_return_is_noticed(server, wait_until):
    publish_to_redis(publication(1), config(server))
    store = RedisStore(config(server))
    server.kill()
    with pytest.raises(FeatureStoreError, match=r"Redis must answer. Received: ConnectionError"):
        store.current().user_features("u1")
    assert store.current().items(["i1"])[0]["num_likes"] == 3
    wait_until(lambda: store.num_failed_polls > 0)
    server.start()
    # Nothing is in it: a known user is not taken for an unknown one.
    with pytest.raises(FeatureStoreError, match=r"smalltowers:1:parts is gone. Ask again, or raise .*keep_seconds"):
        store.current().user_features("u1")
    publish_to_redis(publication(2), config(server))
    wait_until(lambda: store.current().version == 2)
    assert store.current().user_features("u1").is_known
    store.close()


def test_users_are_there_before_a_reader_takes_one_without_record_for_unknown(server, monkeypatch):
    """As when a publication comes a second time, into a Redis that came back empty, while requests go on."""
    hset, were_there = redis.Redis.hset, []

    def noted(client, name, *arguments, **keys):
        if name.endswith(":parts"):
            were_there.append(redis.Redis.from_url(server.url).hlen("smalltowers:1:users"))
        return hset(client, name, *arguments, **keys)

    monkeypatch.setattr(redis.Redis, "hset", noted)
    publish_to_redis(publication(1), config(server))
    assert were_there
    assert set(were_there) == {USERS.num_rows}


def test_the_publication_before_is_kept_for_a_while(server):
    publish_to_redis(publication(1), config(server, keep_seconds=77))
    publish_to_redis(publication(2), config(server, keep_seconds=77))
    client = redis.Redis.from_url(server.url)
    keys = {key.decode(): client.ttl(key) for key in client.scan_iter()}
    assert {key for key, seconds in keys.items() if seconds == -1} == {
        "smalltowers:current",
        "smalltowers:2:parts",
        "smalltowers:2:users",
    }
    assert {key for key, seconds in keys.items() if 70 < seconds <= 77} == {"smalltowers:1:parts", "smalltowers:1:users"}


def test_prefixes_part_jobs(server):
    publish_to_redis(publication(1), config(server, redis_prefix="a"))
    publish_to_redis(publication(2), config(server, redis_prefix="b"))
    stores = [RedisStore(config(server, redis_prefix=prefix)) for prefix in "ab"]
    assert [store.current().version for store in stores] == [1, 2]
    for store in stores:
        store.close()


def test_large_parts_travel_in_pieces(server, monkeypatch):
    monkeypatch.setattr("serving.features.redis_store._PIECE_BYTES", 7)
    monkeypatch.setattr("serving.features.redis_store._RECORDS_AT_A_TIME", 1)
    publish_to_redis(publication(1), config(server))
    store = RedisStore(config(server))
    assert store.current().items(["i1"]) == [{"item_id": "i1", "num_likes": 3, "author_id": None}]
    assert [store.current().user_features(user_id).is_known for user_id in ("u1", "u2", "x")] == [True, True, False]
    store.close()


def test_a_password_comes_from_a_file(tmp_path):
    (tmp_path / "password").write_text("secret\n")
    with running_redis(tmp_path, "secret") as server:
        keys = {"redis_password_file": str(tmp_path / "password")}
        publish_to_redis(publication(1), config(server, **keys))
        store = RedisStore(config(server, **keys))
        assert store.current().user_features("u1").is_known
        store.close()
        with pytest.raises(FeatureStoreError, match=r"Redis must answer. Received: AuthenticationError"):
            RedisStore(config(server))
        with pytest.raises(FeatureStoreError, match=r"redis_password_file must name a readable text file. Received: .*/none"):
            RedisStore(config(server, redis_password_file=str(tmp_path / "none")))


def test_an_address_without_a_scheme_is_refused():
    with pytest.raises(ValueError, match=r"redis_url must begin with redis://, rediss:// or unix://. Received: localhost:6379"):
        FeaturesConfig(redis_url="localhost:6379")


@pytest.mark.parametrize("url", ["redis://:secret@host:6379/0", "redis://host:6379/0?password=secret"])
def test_a_password_in_the_address_is_refused_and_not_repeated(url):
    with pytest.raises(ValueError, match=r"redis_url must hold no password: name a redis_password_file. Received: one"):
        FeaturesConfig(redis_url=url)
