import datetime
import zoneinfo

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data.config import SplitConfig
from data.schema import TIMESTAMP
from data.split import days_of, fill_days, first_eval_day, split_of

moments = st.datetimes(datetime.datetime(1970, 1, 2), datetime.datetime(2199, 1, 1), timezones=st.just(datetime.timezone.utc))


@given(st.lists(moments, max_size=5), st.sampled_from(["UTC", "Asia/Shanghai", "America/New_York", "Asia/Kathmandu"]))
def test_days_agree_with_zoneinfo(times, timezone):
    expected = [time.astimezone(zoneinfo.ZoneInfo(timezone)).date().isoformat() for time in times]
    # Where the two databases foresee different rules for years to come, they may differ; they agree on the past.
    if all(time.year < 2037 for time in times):
        assert days_of(pa.array(times, TIMESTAMP), timezone).to_pylist() == expected


def test_the_logs_own_day_wins():
    times = pa.array([datetime.datetime(2026, 1, 1, 23, tzinfo=datetime.timezone.utc)] * 2, TIMESTAMP)
    assert fill_days(pa.array(["2025-12-31", None]), times, "Asia/Shanghai").to_pylist() == ["2025-12-31", "2026-01-02"]


@pytest.mark.parametrize(
    ("day", "expected"),
    [
        ("2025-12-31", "outside"),
        ("2026-01-01", "train"),
        ("2026-01-04", "train"),
        ("2026-01-05", "eval"),
        ("2026-01-06", "eval"),
        ("2026-01-07", "outside"),
    ],
)
def test_all_bounds_are_inclusive(day, expected):
    config = SplitConfig(eval_from="2026-01-05", eval_until="2026-01-06", train_from="2026-01-01")
    assert split_of(pa.array([day]), pa.array(["u"]), config, "2026-01-31").tolist() == [expected]


def splits_of(days, config, last_day="2026-01-31", user_ids=None):
    return split_of(pa.array(days, pa.string()), pa.array(user_ids or ["u"] * len(days), pa.string()), config, last_day)


def test_open_bounds():
    config = SplitConfig(eval_from="2026-01-05")
    assert splits_of(["1999-01-01", "2099-01-01"], config).tolist() == ["train", "eval"]
    assert splits_of([], config).tolist() == []
    assert isinstance(splits_of(["2026-01-01"], config), np.ndarray)


def test_a_gap_keeps_days_out_of_training():
    config = SplitConfig(eval_from="2026-01-05", gap_days=2)
    days = ["2026-01-02", "2026-01-03", "2026-01-04", "2026-01-05"]
    assert splits_of(days, config).tolist() == ["train", "outside", "outside", "eval"]


def test_the_last_training_days_validate():
    config = SplitConfig(eval_from="2026-01-06", gap_days=1, validation_days=2, train_from="2026-01-02")
    days = [f"2026-01-0{day}" for day in range(1, 8)]
    expected = ["outside", "train", "validation", "validation", "outside", "eval", "eval"]
    assert splits_of(days, config).tolist() == expected
    assert config.names == ("train", "validation", "eval")
    assert SplitConfig(eval_from="2026-01-06").names == ("train", "eval")


def test_validation_days_count_back_from_the_last_days_of_a_log():
    config = SplitConfig(eval_days=1, validation_days=1)
    days = ["2026-02-27", "2026-02-28", "2026-03-01"]
    assert splits_of(days, config, "2026-03-01").tolist() == ["train", "validation", "eval"]


@pytest.mark.parametrize(("until", "first"), [(None, "2026-03-01"), ("2026-02-27", "2026-02-26")])
def test_the_last_days_of_the_log_evaluate(until, first):
    config = SplitConfig(eval_days=2, eval_until=until)
    assert first_eval_day(config, "2026-03-02") == first
    before = (datetime.date.fromisoformat(first) - datetime.timedelta(days=1)).isoformat()
    assert splits_of([before, first], config, "2026-03-02").tolist() == ["train", "eval"]


def test_held_out_users_neither_train_nor_validate_and_are_evaluated_like_all():
    config = SplitConfig(eval_from="2026-01-05", holdout_share=0.25, validation_days=1)
    users = [f"user-{number}" for number in range(4_000)]
    train = splits_of(["2026-01-01"] * 4_000, config, user_ids=users)
    evaluated = splits_of(["2026-01-05"] * 4_000, config, user_ids=users)
    assert abs((train == "outside").mean() - 0.25) < 4 * np.sqrt(0.25 * 0.75 / 4_000)
    assert set(evaluated) == {"eval"}
    assert (splits_of(["2026-01-02"] * 4_000, config, user_ids=users) == train).all()
    validated = splits_of(["2026-01-04"] * 4_000, config, user_ids=users)
    assert ((validated == "outside") == (train == "outside")).all()
    assert set(validated) == {"validation", "outside"}


def test_one_beginning():
    with pytest.raises(ValueError, match=r"one of eval_from and eval_days must be given. Received: None and None"):
        SplitConfig()
