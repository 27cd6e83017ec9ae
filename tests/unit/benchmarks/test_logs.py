import collections
import hashlib

import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from benchmarks import logs
from data.schema import ENGAGEMENT_SCHEMA, IMPRESSION_SCHEMA

NUM_IMPRESSIONS = 20_000


def digests(folder):
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.iterdir())}


def table_of(folder, log):
    return pq.read_table(sorted(map(str, folder.glob(f"{log}-*.parquet"))))


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    folder = tmp_path_factory.mktemp("logs")
    numbers = []
    files = logs.write_logs(str(folder), NUM_IMPRESSIONS, seed=3, num_files=4, on_file=numbers.append)
    assert numbers == [1, 2, 3, 4]
    return folder, files


def test_files_are_a_function_of_the_seed(written, tmp_path):
    folder, _ = written
    logs.write_logs(str(tmp_path / "same"), NUM_IMPRESSIONS, seed=3, num_files=4)
    logs.write_logs(str(tmp_path / "other"), NUM_IMPRESSIONS, seed=4, num_files=4)
    assert digests(tmp_path / "same") == digests(folder)
    other = digests(tmp_path / "other")
    assert all(other[name] != digest for name, digest in digests(folder).items())


def test_counts(written):
    folder, files = written
    impressions, engagements = table_of(folder, "impressions"), table_of(folder, "engagements")
    assert (files.num_impressions, files.num_engagements) == (impressions.num_rows, engagements.num_rows) == (20_000, 40_000)
    assert impressions.schema.equals(IMPRESSION_SCHEMA)
    assert engagements.schema.equals(ENGAGEMENT_SCHEMA)
    assert pc.count_distinct(impressions["impression_id"]).as_py() == 20_000 - 4 * 10
    assert pc.count_distinct(engagements["event_id"]).as_py() == 40_000 - 4 * 150
    assert pq.read_table(folder / "users.parquet").num_rows == 400
    assert pq.read_table(folder / "items.parquet").num_rows == 1_000


def test_shares_are_those_declared(written):
    folder, _ = written
    impressions, engagements = table_of(folder, "impressions"), table_of(folder, "engagements")
    rows = engagements.to_pylist()
    known = set(impressions["impression_id"].to_pylist())
    named = [row for row in rows if row["impression_id"] is not None]
    assert 1 - len(named) / len(rows) == pytest.approx(logs.NO_IMPRESSION_ID_SHARE, abs=0.01)
    assert np.mean([row["impression_id"] not in known for row in named]) == pytest.approx(0.005, abs=0.002)
    kinds = collections.Counter(row["kind"] for row in rows)
    assert kinds["click"] / len(rows) == pytest.approx(0.27, abs=0.01)
    for row in rows:
        assert (row["watch_seconds"] is not None) == (row["kind"] == "play")
        assert (row["score"] is not None) == (row["kind"] == "survey")
    keys = collections.Counter((r["user_id"], r["impression_id"] or r["item_id"], r["kind"], r["engaged_at"]) for r in rows)
    num_repeats = sum(count - 1 for count in keys.values())
    assert num_repeats / len(rows) == pytest.approx(logs.REPEAT_SHARE, abs=0.001)


def test_an_event_names_the_user_and_item_of_its_impression(written):
    folder, _ = written
    shown = {row["impression_id"]: row for row in table_of(folder, "impressions").to_pylist()}
    num_checked = 0
    for row in table_of(folder, "engagements").to_pylist():
        if row["impression_id"] in shown:
            impression = shown[row["impression_id"]]
            assert (row["user_id"], row["item_id"]) == (impression["user_id"], impression["item_id"])
            num_checked += 1
    assert num_checked > 30_000


def test_items_follow_zipfs_law(written):
    counts = collections.Counter(table_of(written[0], "impressions")["item_id"].to_pylist()).most_common()
    weights = np.arange(1, 1_001) ** -0.9
    assert counts[0][1] / NUM_IMPRESSIONS == pytest.approx(weights[0] / weights.sum(), rel=0.1)


def test_ids_are_sixteen_digits_and_distinct():
    ids = logs.hex_ids(np.arange(5_000), "user").to_pylist()
    assert len({*ids, *logs.hex_ids(np.arange(5_000), "item").to_pylist()}) == 10_000
    assert all(len(id_) == 16 and int(id_, 16) >= 0 for id_ in ids)


def test_too_few_impressions():
    with pytest.raises(ValueError, match=r"num_impressions must be at least num_files \(8\). Received: 7"):
        logs.write_logs("unused", 7)
