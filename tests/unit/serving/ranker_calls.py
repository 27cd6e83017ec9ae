"""Calls of the ranker service, and what they must answer, written from the definition of the blend."""

import json
import math
import pathlib

import grpc
import pytest

from serving.config import ServingConfig
from serving.features.sqlite_store import publish_to_sqlite
from serving.protos import ranker_pb2
from serving.ranker.messages import value_message
from serving.ranker.service import RankerServer
from tests.conformance.test_feature_stores import CONFIG as FEATURES
from tests.conformance.test_feature_stores import ITEMS, publication
from tests.unit.serving.fake_model_server import predicted

ITEM_IDS = ITEMS["item_id"]


def started_ranker(folder, backends=(), content=None, models=None, **keys):
    """A ranker service over features in SQLite, and its port; keys are those of `serving`."""
    features = FEATURES.model_dump() | {"poll_seconds": 0.01} | keys.pop("features", {})
    ranker = {"port": 0, "backends": tuple(backends)} | keys.pop("ranker", {})
    exposure = {"sync_seconds": 0.01} | keys.pop("exposure", {})
    publish_to_sqlite(content or publication(), folder / "features.sqlite")
    config = ServingConfig.model_validate(
        {"deadline_ms": 5_000, **keys, "features": features, "ranker": ranker, "exposure": exposure}
    )
    server = RankerServer(config, folder, folder / "exposures", models)
    return server, server.start()


def ask(stub, user_id="u1", candidates=ITEM_IDS, timeout=5.0, **keys):
    for name in ("context", "features"):
        keys[name] = {column: value_message(value) for column, value in keys.get(name, {}).items()}
    return stub.Rank(ranker_pb2.RankRequest(user_id=user_id, candidates=candidates, **keys), timeout=timeout)


def blended(click, watch_seconds, satisfaction):
    return click * math.sqrt(1 + watch_seconds) * math.sqrt(satisfaction)


def ranked_by_hand(version, user_id, item_ids, age=30.5):
    """Item ids with predictions and score, best first, as the definition of the blend says."""
    rows = [(item_id, *predicted(version, user_id, item_id, age)) for item_id in item_ids]
    return sorted(((*row, blended(*row[1:])) for row in rows), key=lambda row: (-row[-1], row[0]))


def check_items(items, wanted):
    assert [item.item_id for item in items] == [row[0] for row in wanted]
    for item, (_, click, watch_seconds, satisfaction, score) in zip(items, wanted, strict=True):
        assert (item.click, item.watch_seconds, item.satisfaction) == (click, watch_seconds, satisfaction)
        assert item.score == pytest.approx(score, rel=1e-12)


def logged(tmp_path, server):
    """Rows of the exposure log by request, after its end."""
    server.exposures.close()
    rows = {}
    for path in sorted(pathlib.Path(tmp_path, "exposures").glob("*.jsonl")):
        for line in path.read_text().splitlines():
            row = json.loads(line)
            rows.setdefault(row["request_id"], []).append(row)
    return rows


def status_of(call):
    with pytest.raises(grpc.RpcError) as caught:
        call()
    return caught.value.code().name, caught.value.details()
