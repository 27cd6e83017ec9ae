"""Rows of both logs for tests: every column has a default, times are seconds since 2026-01-01."""

import datetime

import pyarrow as pa

from data.config import DataConfig
from data.schema import ENGAGEMENT_SCHEMA, IMPRESSION_SCHEMA

START = datetime.datetime(2026, 1, 1, tzinfo=datetime.timezone.utc)


def at(seconds):
    return START + datetime.timedelta(seconds=seconds)


def microseconds(moment):
    return None if moment is None else round(moment.timestamp() * 1_000_000)


def impression(impression_id, user_id="u", item_id="i", seconds=0, **columns):
    row = {"impression_id": impression_id, "user_id": user_id, "item_id": item_id, "impressed_at": at(seconds)}
    return {**dict.fromkeys(IMPRESSION_SCHEMA.names), **row, **columns}


def engagement(event_id, kind, seconds=1, **columns):
    row = {"event_id": event_id, "kind": kind, "engaged_at": at(seconds)}
    return {**dict.fromkeys(ENGAGEMENT_SCHEMA.names), **row, **columns}


def impression_table(rows):
    return pa.Table.from_pylist(rows, schema=IMPRESSION_SCHEMA)


def engagement_table(rows):
    return pa.Table.from_pylist(rows, schema=ENGAGEMENT_SCHEMA)


def data_config(**keys):
    defaults = {
        "source": {"kind": "events", "impressions": "impressions.jsonl", "engagements": "engagements.jsonl"},
        "split": {"eval_from": "2026-01-02"},
    }
    return DataConfig.model_validate({**defaults, **keys})
