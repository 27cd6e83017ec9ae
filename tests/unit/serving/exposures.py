"""Answers to log, for tests that start processes of their own: nothing here is slow to import."""

from serving.exposure.record import Exposure, ShownItem


def exposure(request_id="r1", num_items=2, user_id="u1", at_ms=1_768_000_000_123, **context):
    items = tuple(ShownItem(f"i{place}", 0.5, 7.25, 0.125, 1.5 - place, 1.0) for place in range(num_items))
    return Exposure(request_id, user_id, at_ms, "treatment", "1795", 42, False, {"surface": "feed", **context}, items)
