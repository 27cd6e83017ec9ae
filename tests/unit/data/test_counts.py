import dataclasses

import pytest

from data.config import SplitConfig
from data.counts import Counts
from data.errors import DeadLetterError, EmptyLogError, ReconciliationError

COUNTS = Counts(
    impressions_read=18,
    impressions_train=5,
    impressions_validation=3,
    impressions_eval=4,
    impressions_outside=1,
    impressions_open=1,
    impressions_sampled_out=1,
    impressions_duplicate=2,
    impressions_dead_lettered=1,
    engagements_read=10,
    engagements_attributed=4,
    engagements_duplicate=3,
    engagements_without_impression=1,
    engagements_beyond_window=1,
    engagements_dead_lettered=1,
    users_read=3,
    users_kept=2,
    users_duplicate=1,
    items_read=2,
    items_kept=1,
    items_dead_lettered=1,
    reasons={"engagements.unknown_kind": 1, "impressions.missing_user_id": 1, "items.not_a_record": 1},
)
SPLIT = SplitConfig(eval_from="2026-01-05", train_from="2026-01-01", validation_days=1)


def test_what_adds_up_reconciles():
    COUNTS.reconcile()
    Counts().reconcile()


@pytest.mark.parametrize("name", [f.name for f in dataclasses.fields(Counts) if f.name != "reasons"])
def test_any_lost_row_is_noticed(name):
    log = name.partition("_")[0]
    with pytest.raises(ReconciliationError, match=rf"{log} accounted for must equal {log} read. Received: "):
        dataclasses.replace(COUNTS, **{name: getattr(COUNTS, name) + 1}).reconcile()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"impressions_train": 0},
            r"until before 2026-01-05, of which the last 1 validate\). Received: 15 impressions: 3 to validate, 4 to evaluate",
        ),
        (
            {"impressions_validation": 0},
            r"a validation day \(the last 1 before 2026-01-05\). Received: 15 impressions: 5 to train, 4 to evaluate",
        ),
        (
            {"impressions_eval": 0},
            r"an evaluation day .*: 5 to train, 3 to validate, 1 on other days or held out, 1 with .* open, 1 sampled out; set",
        ),
        (
            {"impressions_read": 15, "impressions_dead_lettered": 13},
            r"the impression log holds no usable row. Received: 15 records, 13 of them unreadable",
        ),
    ],
)
def test_empty_splits_are_named(changes, message):
    COUNTS.require_rows(SPLIT)
    with pytest.raises(EmptyLogError, match=message):
        dataclasses.replace(COUNTS, **changes).require_rows(SPLIT)


def test_too_many_dead_letters_are_named_with_their_reasons():
    COUNTS.require_readable(0.5)
    with pytest.raises(DeadLetterError, match=r"at most 40.00% of the items .* Received: 1 of 2 \(50.00%\): not_a_record 1"):
        COUNTS.require_readable(0.4)
    with pytest.raises(DeadLetterError, match=r"at most 1.00% of the impressions .* 1 of 18 \(5.56%\): missing_user_id 1"):
        COUNTS.require_readable(0.01)
    Counts().require_readable(0.0)
