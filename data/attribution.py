"""Which impression an engagement belongs to, and the labels that follow.

An engagement with an impression id belongs to that impression. One without belongs to the last impression of its item to
its user that is not later and at most the window old. Neither depends on the order of rows.
"""

import dataclasses

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from data.schema import CLICK, SATISFACTION, WATCH_SECONDS, EngagementKind, mask_name


@dataclasses.dataclass(frozen=True)
class Attribution:
    """Labelled impressions, and where every row went.

    Attributes:
        rows: `pyarrow.Table`, the distinct impressions sorted by id, with labels and masks.
        num_impressions_duplicate: impressions dropped because their id came before.
        num_engagements_attributed: engagements that belong to a row.
        num_engagements_duplicate: engagements dropped because their id came before.
        num_engagements_unattributed: engagements without an impression.
    """

    rows: pa.Table
    num_impressions_duplicate: int
    num_engagements_attributed: int
    num_engagements_duplicate: int
    num_engagements_unattributed: int


def attribute(impressions, engagements, config):
    """Labelled impressions.

    Args:
        impressions: `pyarrow.Table` in `IMPRESSION_SCHEMA`, plus any context columns.
        engagements: `pyarrow.Table` in `ENGAGEMENT_SCHEMA`.
        config: `DataConfig`; window, satisfaction and masks are read.

    Returns:
        `Attribution`.
    """
    impressions, num_impressions_duplicate = drop_duplicates(impressions, "impression_id", "impressed_at")
    engagements, num_engagements_duplicate = drop_duplicates(engagements, "event_id", "engaged_at")
    index = _impression_index(impressions, engagements, config.last_touch_window_hours)
    is_attributed = index >= 0
    labels = _labels(impressions.num_rows, engagements.filter(pa.array(is_attributed)), index[is_attributed], config)
    rows = impressions
    for name, values in labels.items():
        rows = rows.append_column(pa.field(name, pa.float32(), nullable=False), pa.array(values, pa.float32()))
    return Attribution(
        rows=rows,
        num_impressions_duplicate=num_impressions_duplicate,
        num_engagements_attributed=int(np.count_nonzero(is_attributed)),
        num_engagements_duplicate=num_engagements_duplicate,
        num_engagements_unattributed=int(np.count_nonzero(~is_attributed)),
    )


def drop_duplicates(table, id_column, time_column):
    """Rows with distinct ids, sorted by id; of rows with one id the earliest stays, then the least by content.

    Args:
        table: `pyarrow.Table`.
        id_column: name of a string column without nulls.
        time_column: name of a timestamp column without nulls.

    Returns:
        Pair (table, number of rows dropped).
    """
    ids = table[id_column].to_pandas()
    is_repeated = np.asarray(ids.duplicated(keep=False))
    if not is_repeated.any():
        return table.sort_by(id_column), 0
    rest = [name for name in table.column_names if name not in (id_column, time_column)]
    order = [(name, "ascending") for name in (id_column, time_column, *rest)]
    repeated = table.filter(pa.array(is_repeated)).sort_by(order)
    first = repeated.filter(pa.array(~np.asarray(repeated[id_column].to_pandas().duplicated())))
    distinct = pa.concat_tables([table.filter(pa.array(~is_repeated)), first]).sort_by(id_column)
    return distinct, table.num_rows - distinct.num_rows


def fill_users(impressions, engagements):
    """Engagements that have an impression id, with the user and item of that impression.

    Args:
        impressions: `pyarrow.Table` with distinct impression ids.
        engagements: `pyarrow.Table` in `ENGAGEMENT_SCHEMA`, all with an impression id.

    Returns:
        Pair (engagements whose impression exists, number of those whose does not).
    """
    index = _index_by_id(impressions, engagements)
    is_known = index >= 0
    engagements = engagements.filter(pa.array(is_known))
    for name in ("user_id", "item_id"):
        column = engagements.column_names.index(name)
        values = impressions[name].take(pa.array(index[is_known]))
        engagements = engagements.set_column(column, engagements.schema.field(name), values)
    return engagements, int(np.count_nonzero(~is_known))


def _impression_index(impressions, engagements, window_hours):
    """Row of each engagement's impression, -1 where it has none."""
    index = _index_by_id(impressions, engagements)
    is_without_id = np.asarray(pc.is_null(engagements["impression_id"])).astype(bool)
    if is_without_id.any():
        index[is_without_id] = _last_touch(impressions, engagements.filter(pa.array(is_without_id)), window_hours)
    return index


def _index_by_id(impressions, engagements):
    index = pc.index_in(engagements["impression_id"], value_set=impressions["impression_id"].combine_chunks())
    return np.asarray(pc.fill_null(index, -1)).astype(np.int64)


def _last_touch(impressions, engagements, window_hours):
    keys = ["user_id", "item_id"]
    shown = impressions.select([*keys, "impression_id"]).to_pandas()
    shown["at"] = np.asarray(impressions["impressed_at"].cast(pa.int64()))
    shown["row"] = np.arange(len(shown))
    engaged = engagements.select(keys).to_pandas()
    engaged["at"] = np.asarray(engagements["engaged_at"].cast(pa.int64()))
    engaged["engagement"] = np.arange(len(engaged))
    touched = pd.merge_asof(
        engaged.sort_values("at", kind="stable"),
        shown.sort_values(["at", "impression_id"]),
        on="at",
        by=keys,
        direction="backward",
        tolerance=round(window_hours * 3_600_000_000),
    )
    return np.asarray(touched.sort_values("engagement")["row"].fillna(-1)).astype(np.int64)


def _labels(num_rows, engagements, index, config):
    """Labels and masks by column name, from engagements (distinct, sorted by id) and their impressions' rows."""
    kinds = np.asarray(engagements["kind"])
    scores = np.asarray(engagements["score"])

    def has(is_wanted):
        return np.bincount(index[is_wanted], minlength=num_rows) > 0

    def has_kind(wanted):
        return has(np.isin(kinds, [kind.value for kind in wanted]))

    is_play = kinds == EngagementKind.PLAY.value
    watch_seconds = np.bincount(index[is_play], weights=np.asarray(engagements["watch_seconds"])[is_play], minlength=num_rows)
    is_clicked = has_kind([EngagementKind.CLICK])
    is_survey = kinds == EngagementKind.SURVEY.value
    is_satisfied = has_kind(config.satisfaction.positive)
    if config.satisfaction.survey_at_least is not None:
        is_satisfied |= has(is_survey & (scores >= config.satisfaction.survey_at_least))
    is_satisfied &= ~has_kind(config.satisfaction.negative)
    everything = np.ones(num_rows, bool)
    known_satisfaction = {"all": everything, "clicked": is_clicked, "surveyed": has(is_survey)}
    return {
        CLICK: is_clicked,
        mask_name(CLICK): everything,
        WATCH_SECONDS: watch_seconds,
        mask_name(WATCH_SECONDS): is_clicked if config.watch_known == "clicked" else everything,
        SATISFACTION: is_satisfied,
        mask_name(SATISFACTION): known_satisfaction[config.satisfaction.known],
    }
