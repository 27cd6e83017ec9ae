"""Answers to log, for tests that start processes of their own: nothing here is slow to import."""

import numpy as np

from serving.exposure.record import Exposure, ShownItems


def exposure(request_id="r1", num_items=2, user_id="u1", at_ms=1_768_000_000_123, **context):
    columns = (np.full(num_items, value) for value in (0.5, 7.25, 0.125))
    item_ids = [f"i{place}" for place in range(num_items)]
    items = ShownItems(item_ids, *columns, score=1.5 - np.arange(num_items), propensity=np.ones(num_items))
    return Exposure(request_id, user_id, at_ms, "treatment", "1795", 42, False, {"surface": "feed", **context}, items)
