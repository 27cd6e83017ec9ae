"""Which labelled rows are written to which split, in which order, with which columns."""

import collections

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from data.columns import labelled_schema
from data.delays import label_weights
from data.sampling import is_kept, sampling_rates
from data.schema import EVAL_SPLIT, IMPRESSED_AT_MS, SAMPLING_RATE, TRAIN_SPLIT, VALIDATION_SPLIT
from data.split import split_of

_OPEN, _SAMPLED_OUT = "open", "sampled_out"


def select_rows(rows, config, last_day, delay_counts=None, watermark_us=None):
    """Rows to write, and where every other row went.

    Args:
        rows: `pyarrow.Table` of labelled rows with all features, sorted by content, with `is_dropped`.
        config: `DataConfig`.
        last_day: last day of the log, YYYY-MM-DD.
        delay_counts: `data.delays.DelayCounts` where delayed labels are weighted, else None.
        watermark_us: microseconds since 1970 until which the logs are complete; None for complete logs.

    Returns:
        Pair: `pyarrow.Table` in `labelled_schema(config)` by split, shuffled by content alone; number of impressions by
        outcome, as in `data.counts.OUTCOMES_BY_LOG`.
    """
    outcomes = split_of(rows["day"], rows["user_id"], config.split, last_day)
    is_trained = (outcomes == TRAIN_SPLIT) | (outcomes == VALIDATION_SPLIT)
    is_inside = is_trained | (outcomes == EVAL_SPLIT)
    outcomes[is_inside & np.asarray(rows["is_dropped"]).astype(bool)] = _OPEN
    if config.negative_sampling is not None:
        rates = sampling_rates(rows, config.negative_sampling)
        outcomes[is_trained & ~is_kept(rows, rates)] = _SAMPLED_OUT
        rows = rows.append_column(SAMPLING_RATE, pa.array(np.where(is_trained, rates, 1.0), pa.float32()))
    if config.attribution.delayed == "weight":
        for name, weights in label_weights(rows, delay_counts, config, watermark_us).items():
            # Only the loss is corrected; a measure on the evaluation days stays what it says.
            is_weighted = outcomes != EVAL_SPLIT
            rows = rows.append_column(name, pa.array(np.where(is_weighted, weights, 1.0), pa.float32()))
    milliseconds = pc.divide(rows["impressed_at"].cast(pa.int64()), 1000)
    rows = rows.append_column(IMPRESSED_AT_MS, milliseconds).select(labelled_schema(config).names)
    # Sorted rows, so neighbours may be one user's; the order must depend on nothing but the rows.
    order = np.random.default_rng(rows.num_rows).permutation(rows.num_rows)
    outcomes_in_order = outcomes[order]
    selected = {split: rows.take(pa.array(order[outcomes_in_order == split])) for split in config.split.names}
    return selected, dict(collections.Counter(outcomes.tolist()))
