import threading
import time

import pyarrow as pa
import pytest

from data.buckets import Bucketing
from data.schema import ColumnType
from serving.config import ServingConfig
from serving.features.tables import FeatureTables


@pytest.fixture
def wait_until():
    """Polls a condition until it holds; fails after ten seconds."""

    def wait(condition, seconds=10.0):
        deadline = time.monotonic() + seconds
        pause = threading.Event()
        while not condition():
            assert time.monotonic() < deadline, "the condition did not come true in time"
            pause.wait(0.01)

    return wait


@pytest.fixture
def config():
    return ServingConfig(port=0, poll_seconds=0.05, max_message_mib=1, max_workers=4)


@pytest.fixture(scope="session")
def saved(tmp_path_factory):
    """Folder of two versions of a model: the first is asked by examples, the second by columns."""
    from tests.conformance.tiny_model import write_version

    folder = tmp_path_factory.mktemp("saved")
    write_version(folder, 1, has_rank=False)
    write_version(folder, 2)
    return folder


@pytest.fixture(scope="session")
def tables():
    users = pa.table(
        {
            "user_id": pa.array(["u1", "u2"]),
            "age": pa.array([30.0, None], pa.float32()),
            "country": pa.array(["de", None]),
        }
    )
    items = pa.table(
        {
            "item_id": pa.array(["i1", "i2", "i3"]),
            "duration_seconds": pa.array([10.5, None, 30.0], pa.float32()),
            "author_id": pa.array(["a", "b", None]),
            "num_likes": pa.array([1, None, 3], pa.int64()),
        }
    )
    return FeatureTables(users, items)


EMPTY_HISTORY = {
    "user_history": [0.0, 0.25],
    "item_history": [0.0, 0.5],
    "author_history": [0.0],
    "user_author_history": [0.0, 0.125],
    "user_num_likes_history": [9.0],
    "likes_this_week": [-1.0],
    "user_surface_history": [0.0, 0.75],
    "user_likes_bucket_history": [0.5],
}
PAIRS = (
    pa.table(
        {
            "user_id": ["u2", "u1", "u1"],
            "author_id": ["a", "b", "a"],
            "user_author_history": pa.array([[4.0, 0.5], [2.0, 0.75], [1.0, 0.1]], pa.list_(pa.float32())),
        }
    ),
    pa.table(
        {
            "user_id": ["u1"],
            "num_likes": pa.array([3], pa.int64()),
            "user_num_likes_history": pa.array([[7.0]], pa.list_(pa.float32())),
            "likes_this_week": pa.array([[6.0]], pa.list_(pa.float32())),
        }
    ),
    pa.table(
        {
            "user_id": ["u1", "u1", "u2"],
            "surface": ["feed", "search", "feed"],
            "user_surface_history": pa.array([[3.0, 0.25], [1.0, 0.5], [2.0, 0.1]], pa.list_(pa.float32())),
        }
    ),
    pa.table(
        {
            "user_id": ["u1", "u1"],
            "likes_bucket": ["0", "1"],
            "user_likes_bucket_history": pa.array([[1.5], [2.5]], pa.list_(pa.float32())),
        }
    ),
)
BUCKETINGS = (
    Bucketing("likes_bucket", "num_likes", ColumnType.INT, (2.0, 50.0)),
    Bucketing("hour_bucket", "hour", ColumnType.FLOAT, (6.0, 12.1, 18.0)),
)


@pytest.fixture(scope="session")
def history_tables():
    """The tables with vectors, sequences, times, pairs and buckets; u2 and i2 have no history yet."""
    users = pa.table(
        {
            "user_id": ["u1", "u2"],
            "country": ["de", None],
            "user_history": pa.array([[3.0, 0.1], None], pa.list_(pa.float32())),
            "last_items": pa.array([["i3", "i1"], []], pa.list_(pa.string())),
            "last_impressed_at_ms": pa.array([1_000_000, None], pa.int64()),
        }
    )
    items = pa.table(
        {
            "item_id": ["i1", "i2", "i3"],
            "author_id": ["a", "b", None],
            "num_likes": pa.array([1, None, 3], pa.int64()),
            "likes_bucket": ["0", None, "1"],
            "item_history": pa.array([[5.0, 0.2], None, [6.0, 0.3]], pa.list_(pa.float32())),
            "author_history": pa.array([[8.0], [9.0], None], pa.list_(pa.float32())),
            "first_impressed_at_ms": pa.array([0, None, 3_600_000], pa.int64()),
        }
    )
    return FeatureTables(users, items, PAIRS, EMPTY_HISTORY, BUCKETINGS)
