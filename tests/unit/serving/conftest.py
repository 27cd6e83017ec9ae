import threading
import time

import pyarrow as pa
import pytest

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
