import copy

import pytest

from pipeline.config import Config

TREE = {
    "job": {"name": "test"},
    "data": {
        "source": {"kind": "events", "impressions": "impressions.jsonl", "engagements": "engagements.jsonl"},
        "user_columns": {"country": "string"},
        "item_columns": {"age_days": "int", "duration_seconds": "float"},
        "history": {"sequences": [{"name": "last_items"}]},
        "split": {"eval_from": "2026-01-02"},
    },
    "model": {
        "features": [
            {"kind": "categorical", "name": "item_id"},
            {"kind": "categorical", "name": "country"},
            {"kind": "numeric", "name": "duration_seconds"},
            {"kind": "numeric", "name": "age_days"},
        ]
    },
}


@pytest.fixture
def tree():
    return copy.deepcopy(TREE)


@pytest.fixture
def config(tree, tmp_path):
    tree["job"]["root"] = str(tmp_path / "root")
    return Config.model_validate(tree)
