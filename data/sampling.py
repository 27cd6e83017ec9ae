"""Thinning of negatives, with the rate on record so that calibration can be undone."""

import numpy as np

from data.batches import hash_of
from data.schema import CLICK, SATISFACTION

# Of its own, so that the rows which stay are not those of certain partitions.
_SAMPLING_HASH_KEY = "smalltowers-keep"


def sampling_rates(rows, config):
    """Probability with which each row stays.

    Args:
        rows: `pyarrow.Table` with the labels `click` and `satisfaction`.
        config: `NegativeSamplingConfig`.

    Returns:
        (rows,) float64: `keep` for a row without click and without satisfaction, else 1.
    """
    is_negative = (np.asarray(rows[CLICK]) == 0) & (np.asarray(rows[SATISFACTION]) == 0)
    return np.where(is_negative, config.keep, 1.0)


def is_kept(rows, rates):
    """Which rows stay: decided by the impression, so that every run keeps the same ones.

    Args:
        rows: `pyarrow.Table` with `impression_id`.
        rates: (rows,) float in (0, 1].

    Returns:
        (rows,) bool.
    """
    return hash_of(rows["impression_id"], _SAMPLING_HASH_KEY) / 2.0**64 < rates
