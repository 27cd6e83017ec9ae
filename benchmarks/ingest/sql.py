"""The contender of one machine: DuckDB with the same join, windows, repeats, tables and labels, to Parquet."""

import os

import duckdb

from benchmarks.ingest.task import ITEM_COLUMNS, USER_COLUMNS, Rules

_SQL = """
CREATE TEMP TABLE delivered_impressions AS
SELECT * EXCLUDE (impressed_at), epoch_us(impressed_at) AS impressed_at_us FROM read_parquet('{impressions}');

CREATE TEMP TABLE impressions AS {distinct_impressions};

CREATE TEMP TABLE delivered_engagements AS
SELECT event_id, impression_id, user_id, item_id, kind, epoch_us(engaged_at) AS engaged_at_us, watch_seconds, score,
    coalesce(impression_id, item_id) AS target, impression_id IS NULL AS is_unnamed
FROM read_parquet('{engagements}');

CREATE TEMP TABLE events AS {distinct_events};

CREATE TEMP TABLE engagements AS {distinct_engagements};

CREATE TEMP TABLE attributed AS
WITH windows (kind, window_us) AS (VALUES {windows}), touched AS (
    SELECT impressions.user_id, impressions.impression_id, impressed_at_us, kind, engaged_at_us, watch_seconds, score
    FROM engagements JOIN impressions USING (user_id, impression_id)
    UNION ALL
    SELECT impressions.user_id, impressions.impression_id, impressed_at_us, kind, engaged_at_us, watch_seconds, score
    FROM (SELECT * FROM engagements WHERE is_unnamed) AS unnamed ASOF JOIN impressions
    ON unnamed.user_id = impressions.user_id AND unnamed.item_id = impressions.item_id AND engaged_at_us >= impressed_at_us
)
SELECT user_id, impression_id, kind, watch_seconds, score
FROM touched JOIN windows USING (kind)
WHERE engaged_at_us BETWEEN impressed_at_us AND impressed_at_us + window_us;

COPY (
    WITH signals AS (
        SELECT user_id, impression_id, bool_or(kind = 'click') AS is_clicked,
            sum(watch_seconds) FILTER (kind = 'play') AS watch_seconds,
            {mix} + coalesce({survey_weight} * (max(score) FILTER (kind = 'survey') - {survey_neutral}), 0) AS mix
        FROM attributed GROUP BY user_id, impression_id
    )
    SELECT impressions.* EXCLUDE (impressed_at_us), impressed_at_us // 1000 AS impressed_at_ms, {columns},
        coalesce(is_clicked, false)::FLOAT AS click,
        (impressed_at_us + {click_window_us} <= {watermark_us})::FLOAT AS click_mask,
        coalesce(signals.watch_seconds, 0)::FLOAT AS watch_seconds,
        (impressed_at_us + {play_window_us} <= {watermark_us})::FLOAT AS watch_seconds_mask,
        coalesce(mix >= {threshold}, false)::FLOAT AS satisfaction,
        (impressed_at_us + {satisfaction_window_us} <= {watermark_us})::FLOAT AS satisfaction_mask
    FROM impressions
    LEFT JOIN signals USING (user_id, impression_id)
    LEFT JOIN read_parquet('{users}') AS users USING (user_id)
    LEFT JOIN read_parquet('{items}') AS items USING (item_id)
) TO '{output}' (FORMAT parquet);
"""


def run_sql(config, folder, num_threads):
    """Joins and labels the logs with DuckDB.

    Args:
        config: `DataConfig`, as of `benchmarks.ingest.task.data_config`.
        folder: where one Parquet file is written.
        num_threads: of DuckDB.
    """
    rules = Rules.from_config(config)
    sql = _SQL.format(
        impressions=config.source.impressions,
        engagements=config.source.engagements,
        users=config.source.users,
        items=config.source.items,
        distinct_impressions=_distinct(
            "delivered_impressions", "user_id, impression_id", "impressed_at_us, request_id, item_id, position"
        ),
        distinct_events=_distinct(
            "delivered_engagements", "user_id, event_id", "engaged_at_us, impression_id, item_id, kind, watch_seconds, score"
        ),
        distinct_engagements=_distinct("events", "user_id, target, is_unnamed, kind, engaged_at_us", "event_id"),
        output=os.path.join(folder, "rows.parquet"),
        windows=", ".join(f"('{kind}', {window})" for kind, window in rules.window_us_by_kind.items()),
        mix=" + ".join(f"{weight} * bool_or(kind = '{kind}')::INT" for kind, weight in rules.weight_by_kind.items()),
        survey_weight=rules.survey_weight,
        survey_neutral=rules.survey_neutral,
        threshold=rules.threshold,
        watermark_us=rules.watermark_us,
        click_window_us=rules.window_us_by_kind["click"],
        play_window_us=rules.window_us_by_kind["play"],
        satisfaction_window_us=rules.satisfaction_window_us,
        columns=", ".join([*(f"users.{name}" for name in USER_COLUMNS), *(f"items.{name}" for name in ITEM_COLUMNS)]),
    )
    # Order of rows is nobody's wish here, and keeping it costs memory.
    settings = {"threads": num_threads, "preserve_insertion_order": False, "temp_directory": folder}
    with duckdb.connect(config=settings) as connection:
        connection.execute(sql)


def _distinct(table, keys, order):
    """A query of the first row of each key; only rows whose key repeats are ranked, which takes a third of the time."""
    return f"""
WITH repeated AS (SELECT {keys} FROM {table} GROUP BY ALL HAVING count(*) > 1)
SELECT * FROM {table} ANTI JOIN repeated USING ({keys})
UNION ALL
SELECT * FROM {table} SEMI JOIN repeated USING ({keys})
QUALIFY row_number() OVER (PARTITION BY {keys} ORDER BY {order}) = 1
"""
