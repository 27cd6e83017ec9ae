"""Published tables are those of the last push, and no others."""

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tfx.dsl.io import fileio
from tfx.types import standard_artifacts

from data.schema import BUCKETS_FILE, EMPTY_HISTORY_FILE, pair_table_name
from pipeline.components.artifacts import FeatureTables, PublishedFeatures
from pipeline.components.feature_publisher import Executor
from serving.errors import FeatureStoreError, FeatureTableError
from serving.features import tables
from serving.features.config import FeaturesConfig
from serving.features.redis_store import RedisStore
from serving.features.sqlite_store import SQLITE_FILE, SqliteStore
from tests.conformance.redis_server import running_redis


@pytest.fixture
def publish(tmp_path):
    """Publishes files, given by name; gives back what is on record of it."""

    def run(files, is_pushed=True, features=None):
        made = {"source": FeatureTables(), "push": standard_artifacts.PushedModel(), "published": PublishedFeatures()}
        for name, artifact in made.items():
            artifact.uri = str(tmp_path / f"{name}_{len(list(tmp_path.iterdir()))}")
            fileio.makedirs(artifact.uri)
        for name, content in files.items():
            with fileio.open(f"{made['source'].uri}/{name}", "wb") as file:
                file.write(content)
        made["push"].set_int_custom_property("pushed", int(is_pushed))
        inputs = {"feature_tables": [made["source"]], "pushed_model": [made["push"]]}
        properties = {"destination": str(tmp_path / "features"), "features": (features or FeaturesConfig()).model_dump_json()}
        Executor().Do(inputs, {"published": [made["published"]]}, properties)
        return json.loads((tmp_path / made["published"].uri / "published.json").read_text())

    return run


def table(**columns):
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table({name: pa.array(values, type_) for name, (values, type_) in columns.items()}), sink)
    return sink.getvalue().to_pybytes()


VECTOR = pa.list_(pa.float32())


def publication(pair_column=None, has_buckets=False):
    """Files of a configuration whose one history is of users with the values of a column."""
    files = {
        "users.parquet": table(user_id=(["u"], pa.string())),
        "items.parquet": table(item_id=(["i"], pa.string()), tag=(["t"], pa.string()), author=(["a"], pa.string())),
    }
    if pair_column:
        pairs = {"user_id": (["u"], pa.string()), pair_column: (["t"], pa.string()), "taste": ([[1.0, 2.0]], VECTOR)}
        files[pair_table_name(pair_column)] = table(**pairs)
        files[EMPTY_HISTORY_FILE] = json.dumps({"taste": [0.0, 0.0]}).encode()
    if has_buckets:
        files[BUCKETS_FILE] = b"{}"
    return files


def test_a_table_that_the_configuration_no_longer_has_is_gone(publish, tmp_path):
    """The same history by another column: with both tables there the service would refuse to start."""
    publish(publication("tag"))
    publish(publication("author"))
    assert not (tmp_path / "features" / pair_table_name("tag")).exists()
    [pair] = tables.FeatureTables.load(tmp_path / "features").pairs
    assert (pair.column, pair.vector) == ("author", "taste")


def test_published_is_what_the_last_push_had_beside_what_is_not_its_own(publish, tmp_path):
    publish(publication("tag", has_buckets=True))
    (tmp_path / "features" / "notes.txt").write_text("of somebody else")
    publish(publication())
    left = {path.name for path in (tmp_path / "features").iterdir() if path.name != SQLITE_FILE}
    assert left == {"users.parquet", "items.parquet", "notes.txt"}


def test_nothing_is_touched_before_all_files_are_there(publish, tmp_path, monkeypatch):
    """A copy that fails in the middle leaves the publication before it as it was, and nothing of its own."""
    publish(publication("tag"))
    before = {path.name: path.read_bytes() for path in (tmp_path / "features").iterdir()}
    copy = fileio.copy

    def failing_copy(source, target, **options):
        if target.endswith("users.parquet.new"):
            raise OSError("disk full")
        copy(source, target, **options)

    monkeypatch.setattr(fileio, "copy", failing_copy)
    with pytest.raises(OSError, match="disk full"):
        publish(publication("author"))
    assert {path.name: path.read_bytes() for path in (tmp_path / "features").iterdir()} == before


@pytest.mark.parametrize("store", ["sqlite", "tables", "redis"])
def test_tables_that_the_service_could_not_read_leave_those_before(publish, tmp_path, store):
    """A table of Parquet whose key stands twice; nobody listens where Redis should be, and nobody is asked."""
    publish(publication("tag"))
    before = {path.name: path.read_bytes() for path in (tmp_path / "features").iterdir()}
    twice = table(user_id=(["u", "u"], pa.string()))
    with pytest.raises(FeatureTableError, match=r"user_id"):
        publish({**publication("author"), "users.parquet": twice}, features=FeaturesConfig(store=store))
    assert {path.name: path.read_bytes() for path in (tmp_path / "features").iterdir()} == before


def test_tables_wait_for_redis(publish, tmp_path):
    publish(publication("tag"))
    before = {path.name: path.read_bytes() for path in (tmp_path / "features").iterdir()}
    with pytest.raises(FeatureStoreError, match=r"Redis"):
        publish(publication("author"), features=FeaturesConfig(store="redis", redis_url="redis://127.0.0.1:1"))
    assert {path.name: path.read_bytes() for path in (tmp_path / "features").iterdir()} == before


def test_a_store_that_is_no_longer_the_configured_one_is_gone(publish, tmp_path):
    """A publication was killed in the middle of its copies, too."""
    publish(publication("tag"))
    assert (tmp_path / "features" / SQLITE_FILE).exists()
    for name in (SQLITE_FILE, pair_table_name("tag"), "notes.txt"):
        (tmp_path / "features" / f"{name}.new").write_text("half")
    publish(publication(), features=FeaturesConfig(store="tables"))
    assert {path.name for path in (tmp_path / "features").iterdir()} == {"users.parquet", "items.parquet", "notes.txt.new"}


@pytest.mark.parametrize("is_pushed", [True, False])
def test_tables_go_with_the_model(publish, tmp_path, is_pushed):
    record = publish(publication("tag"), is_pushed)
    assert (record["published"], record["destination"]) == (is_pushed, str(tmp_path / "features"))
    assert (tmp_path / "features").exists() == is_pushed


def test_the_store_holds_what_the_tables_hold(publish, tmp_path):
    record = publish(publication("tag"))
    store = SqliteStore(tmp_path / "features" / SQLITE_FILE)
    features = store.current()
    assert features.version == record["version"] > 1_700_000_000_000
    user = features.user_features("u")
    assert (user.is_known, user.histories[0].of("t").tolist(), user.histories[0].of("x").tolist()) == (True, [1, 2], [0, 0])
    assert features.items(["i"]) == [{"item_id": "i", "tag": "t", "author": "a"}]
    store.close()
    assert publish(publication("tag"))["version"] > record["version"]
    assert publish(publication("tag"), is_pushed=False)["version"] is None


@pytest.mark.parametrize("kind", ["tables", "redis"])
def test_the_store_is_the_configured_one(publish, tmp_path, kind):
    if kind == "tables":
        assert publish(publication(), features=FeaturesConfig(store=kind))["published"]
    else:
        (tmp_path / "redis").mkdir()
        with running_redis(tmp_path / "redis") as server:
            config = FeaturesConfig(store=kind, redis_url=server.url)
            record = publish(publication(), features=config)
            store = RedisStore(config)
            assert (store.current().version, store.current().user_features("u").is_known) == (record["version"], True)
            store.close()
    assert not (tmp_path / "features" / SQLITE_FILE).exists()
