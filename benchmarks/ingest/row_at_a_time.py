"""The contender that most Beam code looks like: a dict a row, one CoGroupByKey, labels in plain Python.

It does only join and labels: no tables, no tf.Examples. One key, the user, serves both ways of attribution, so that rows
are shuffled once.
"""

import os

import apache_beam as beam
import pyarrow as pa
from apache_beam.io.parquetio import ReadFromParquet, WriteToParquet
from apache_beam.options.pipeline_options import PipelineOptions

from benchmarks.ingest.task import LABEL_COLUMNS, Rules
from data.schema import CLICK, SATISFACTION, WATCH_SECONDS, mask_name

_IMPRESSION_COLUMNS = ["impression_id", "user_id", "item_id", "position", "surface", "impressed_at", "arm", "propensity"]
_ENGAGEMENT_COLUMNS = ["event_id", "impression_id", "user_id", "item_id", "kind", "engaged_at", "watch_seconds", "score"]
_OUTPUT_SCHEMA = pa.schema(
    [
        *(pa.field(name, pa.string()) for name in ("impression_id", "user_id", "item_id", "surface", "arm")),
        pa.field("position", pa.int64()),
        pa.field("impressed_at", pa.int64()),
        pa.field("propensity", pa.float64()),
        *(pa.field(name, pa.float32()) for name in LABEL_COLUMNS),
    ]
)


def run_rows(config, folder, beam_args):
    """Joins and labels the logs, a row at a time.

    Args:
        config: `DataConfig`, as of `benchmarks.ingest.task.data_config`.
        folder: where Parquet files are written.
        beam_args: flags of Beam.
    """
    rules = Rules.from_config(config)
    with beam.Pipeline(options=PipelineOptions(list(beam_args))) as pipeline:
        impressions = (
            pipeline
            | "ReadImpressions" >> ReadFromParquet(config.source.impressions, columns=_IMPRESSION_COLUMNS)
            | "KeyImpressions" >> beam.Map(_by_user, "impressed_at")
        )
        engagements = (
            pipeline
            | "ReadEngagements" >> ReadFromParquet(config.source.engagements, columns=_ENGAGEMENT_COLUMNS)
            | "KeyEngagements" >> beam.Map(_by_user, "engaged_at")
        )
        (
            {"impressions": impressions, "engagements": engagements}
            | beam.CoGroupByKey()
            | "Label" >> beam.FlatMap(_labelled_rows, rules)
            | WriteToParquet(os.path.join(folder, "rows"), _OUTPUT_SCHEMA, file_name_suffix=".parquet")
        )


def _by_user(row, time_column):
    # A whole number is cheaper to encode and to compare than a datetime with a time zone.
    row[time_column] = round(row[time_column].timestamp() * 1_000_000)
    return row["user_id"], row


def _labelled_rows(element, rules):
    """One user's impressions with labels."""
    _, logs = element
    impressions = _first_by_key(logs["impressions"], _impression_id, _IMPRESSION_COLUMNS, "impressed_at")
    engagements = _first_by_key(logs["engagements"], _event_id, _ENGAGEMENT_COLUMNS, "engaged_at").values()
    engagements = _first_by_key(engagements, _target_kind_time, _ENGAGEMENT_COLUMNS, "engaged_at").values()
    shown_by_item = {}
    for impression in sorted(impressions.values(), key=_time_and_id):
        shown_by_item.setdefault(impression["item_id"], []).append(impression)
    events_by_id = {}
    for engagement in engagements:
        impression = _impression_of(engagement, impressions, shown_by_item)
        if impression is None:
            continue
        age_us = engagement["engaged_at"] - impression["impressed_at"]
        if 0 <= age_us <= rules.window_us_by_kind[engagement["kind"]]:
            events_by_id.setdefault(impression["impression_id"], []).append(engagement)
    for impression_id, impression in impressions.items():
        yield {**impression, **_labels(impression["impressed_at"], events_by_id.get(impression_id, ()), rules)}


def _impression_id(row):
    return row["impression_id"]


def _event_id(row):
    return row["event_id"]


def _time_and_id(row):
    return row["impressed_at"], row["impression_id"]


def _target_kind_time(row):
    target = ("item", row["item_id"]) if row["impression_id"] is None else ("impression", row["impression_id"])
    return *target, row["kind"], row["engaged_at"]


def _first_by_key(rows, key_of, columns, time_column):
    """By key the earliest row, of equals the least by content; only rows that share a key are compared."""
    kept = {}
    for row in rows:
        key = key_of(row)
        other = kept.get(key)
        if other is None or _rank(row, columns, time_column) < _rank(other, columns, time_column):
            kept[key] = row
    return kept


def _rank(row, columns, time_column):
    # Nulls come last and are never compared with values.
    return row[time_column], [(True,) if row[name] is None else (False, row[name]) for name in columns]


def _impression_of(engagement, impressions, shown_by_item):
    if engagement["impression_id"] is not None:
        return impressions.get(engagement["impression_id"])
    last = None
    for impression in shown_by_item.get(engagement["item_id"], ()):
        if impression["impressed_at"] > engagement["engaged_at"]:
            break
        last = impression
    return last


def _labels(impressed_at_us, events, rules):
    kinds = {event["kind"] for event in events}
    mix = sum(weight for kind, weight in rules.weight_by_kind.items() if kind in kinds)
    scores = [event["score"] for event in events if event["kind"] == "survey"]
    if scores:
        mix += rules.survey_weight * (max(scores) - rules.survey_neutral)
    age_us = rules.watermark_us - impressed_at_us
    return {
        CLICK: float("click" in kinds),
        mask_name(CLICK): float(age_us >= rules.window_us_by_kind["click"]),
        WATCH_SECONDS: sum(event["watch_seconds"] for event in events if event["kind"] == "play"),
        mask_name(WATCH_SECONDS): float(age_us >= rules.window_us_by_kind["play"]),
        SATISFACTION: float(mix >= rules.threshold),
        mask_name(SATISFACTION): float(age_us >= rules.satisfaction_window_us),
    }
