import numpy as np
import pyarrow as pa
import pytest

from data.config import NegativeSamplingConfig
from data.sampling import is_kept, sampling_rates

CONFIG = NegativeSamplingConfig(keep=0.3)


def rows_of(num_rows, clicks=0.0, satisfied=0.0):
    ids = [f"impression-{number}" for number in range(num_rows)]
    return pa.table({"impression_id": ids, "click": [clicks] * num_rows, "satisfaction": [satisfied] * num_rows})


@pytest.mark.parametrize(("click", "satisfaction", "rate"), [(0, 0, 0.3), (1, 0, 1), (0, 1, 1), (0, 0.25, 1)])
def test_only_rows_without_any_positive_label_are_thinned(click, satisfaction, rate):
    assert sampling_rates(rows_of(1, float(click), float(satisfaction)), CONFIG).tolist() == [rate]


def test_the_share_that_stays_is_the_rate_and_weights_undo_it():
    rows = rows_of(20_000)
    kept = is_kept(rows, sampling_rates(rows, CONFIG))
    deviation = np.sqrt(0.3 * 0.7 / 20_000)
    assert abs(kept.mean() - 0.3) < 4 * deviation
    assert is_kept(rows, np.ones(20_000)).all()


def test_the_choice_is_the_impressions_alone():
    rows = rows_of(1_000)
    kept = is_kept(rows, sampling_rates(rows, CONFIG))
    order = np.random.default_rng(0).permutation(1_000)
    shuffled = rows.take(pa.array(order))
    assert (is_kept(shuffled, sampling_rates(shuffled, CONFIG)) == kept[order]).all()
    more = is_kept(rows, np.full(1_000, 0.5))
    assert (more | ~kept).all()
