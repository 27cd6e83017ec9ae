import dataclasses

import pytest

from data.config import SplitConfig
from data.counts import Counts
from data.errors import EmptyLogError, ReconciliationError

COUNTS = Counts(
    impressions_read=15,
    impressions_train=5,
    impressions_eval=4,
    impressions_outside=3,
    impressions_duplicate=2,
    impressions_dead_lettered=1,
    engagements_read=10,
    engagements_attributed=4,
    engagements_duplicate=3,
    engagements_unattributed=2,
    engagements_dead_lettered=1,
)
SPLIT = SplitConfig(eval_from="2026-01-05", train_from="2026-01-01")


def test_what_adds_up_reconciles():
    COUNTS.reconcile()
    Counts().reconcile()


@pytest.mark.parametrize("name", [f.name for f in dataclasses.fields(Counts) if f.name.startswith(("impr", "eng"))])
def test_any_lost_row_is_noticed(name):
    log = name.partition("_")[0]
    with pytest.raises(ReconciliationError, match=rf"{log} accounted for must equal {log} read. Received: "):
        dataclasses.replace(COUNTS, **{name: getattr(COUNTS, name) + 1}).reconcile()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"impressions_train": 0}, r"training day \(from 2026-01-01 until before 2026-01-05\). Received: 7 impressions"),
        ({"impressions_eval": 0}, r"evaluation day \(from 2026-01-05 until the last day\). Received: 8 impressions"),
        (
            {"impressions_train": 0, "impressions_eval": 0, "impressions_outside": 0},
            r"the impression log holds no usable row. Received: 15 records, 1 of them unreadable",
        ),
    ],
)
def test_empty_splits_are_named(changes, message):
    COUNTS.require_rows(SPLIT)
    with pytest.raises(EmptyLogError, match=message):
        dataclasses.replace(COUNTS, **changes).require_rows(SPLIT)
