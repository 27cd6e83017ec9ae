"""Nothing at or after an impression's cutoff shows in its features, and leaks planted on purpose are found."""

import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data.history import features
from data.history.timeline import Timeline
from tests.unit.data import history_oracle as oracle
from tests.unit.data.history_rows import HOUR_US, data_config, event, features_of, row

KINDS = ("click", "play", "like", "hide", "survey")


def random_keys(chance):
    return {
        "user_id": chance.choice("uv"),
        "item_id": chance.choice("ij"),
        "author_id": chance.choice(["a", "b", None]),
        "tag": chance.choice([1, 2, None]),
        "duration": chance.choice([1.0, 5.0, None]),
        "surface": chance.choice(["s", "t", None]),
    }


def random_event(chance, index, hours):
    return event(index, chance.choice(KINDS), hours, watch_seconds=chance.choice([3.0, 12.0]), score=chance.choice([1.0, 5.0]))


def random_log(chance):
    """Times on a grid of half hours, as the delay is, so that much happens exactly at a cutoff."""
    rows = [row(f"r{number}", chance.randrange(20) / 2, **random_keys(chance)) for number in range(chance.randrange(2, 9))]
    events = [random_event(chance, chance.randrange(len(rows)), chance.randrange(24) / 2) for _ in range(12)]
    return rows, events


def random_config(chance):
    graded = {"weights": {"like": 0.5, "hide": -0.3}, "survey_weight": 0.1, "survey_neutral": 2.0, "threshold": "graded"}
    return data_config(
        satisfaction=chance.choice([{}, graded]),
        delay_seconds=chance.choice([1800.0, 3600.0]),
        refresh_hours=chance.choice([0.0, 0.0, 1.0, 5.0]),
    )


def rewritten_from(rows, events, shown, cutoff, chance):
    """A log that agrees with another before the cutoff of one of its impressions, and in no event from then on."""

    def later():
        return cutoff + chance.choice([0, 0, 1, HOUR_US // 2, 9 * HOUR_US])

    # A row is known by its own time or by its earliest event, where a clock was wrong.
    has_past = {one["row"] for one in events if one["engaged_at"] < cutoff}
    new_rows, place_by_index = [], {}
    for index, one in enumerate(rows):
        if index != shown and one["impressed_at"] >= cutoff:
            if index not in has_past and chance.random() < 0.4:
                continue
            one = {**one, **({} if index in has_past else random_keys(chance)), "impressed_at": later()}
        place_by_index[index] = len(new_rows)
        new_rows.append(one)
    new_rows += [{**row(f"new{number}", **random_keys(chance)), "impressed_at": later()} for number in range(3)]
    past = [one for one in events if one["engaged_at"] < cutoff]
    new_events = [{**one, "row": place_by_index[one["row"]]} for one in past]
    for _ in range(12):
        new_events.append({**random_event(chance, chance.randrange(len(new_rows)), 0), "engaged_at": later()})
    return new_rows, new_events


def check_no_leak(seed):
    chance = random.Random(seed)
    rows, events = random_log(chance)
    config = random_config(chance)
    shown = chance.randrange(len(rows))
    cutoff = oracle.cutoff(rows[shown]["impressed_at"], config.history, config.timezone)
    new_rows, new_events = rewritten_from(rows, events, shown, cutoff, chance)
    name = rows[shown]["impression_id"]
    before, after = features_of(rows, events, config)[name], features_of(new_rows, new_events, config)[name]
    changed = [column for column in before if before[column] != after[column]]
    assert not changed, f"{changed} of {name} tell of what happened at or after its cutoff (seed {seed})"


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 2**32))
def test_nothing_from_the_cutoff_on_shows(seed):
    check_no_leak(seed)


def check_many():
    for seed in range(100):
        check_no_leak(seed)


FOUND = r"of r\d tell of what happened at or after its cutoff"


def test_a_planted_cutoff_without_delay_is_found(monkeypatch):
    honest = features.cutoffs

    def hasty(impressed_at_us, history, timezone, refresh_hours):
        return honest(impressed_at_us, history.model_copy(update={"delay_seconds": 0.0}), timezone, refresh_hours)

    monkeypatch.setattr(features, "cutoffs", hasty)
    with pytest.raises(AssertionError, match=FOUND):
        check_many()


def test_a_planted_cutoff_without_refresh_is_found(monkeypatch):
    honest = features.cutoffs

    def fresh(impressed_at_us, history, timezone, refresh_hours):
        return honest(impressed_at_us, history, timezone, 0.0)

    monkeypatch.setattr(features, "cutoffs", fresh)
    with pytest.raises(AssertionError, match=FOUND):
        check_many()


def test_a_planted_at_most_instead_of_before_is_found(monkeypatch):
    def count_until(self, codes, at_us):
        return np.searchsorted(self._moments, self._moments_of(codes, at_us), side="right")

    monkeypatch.setattr(Timeline, "count_before", count_until)
    with pytest.raises(AssertionError, match=FOUND):
        check_many()


@pytest.mark.parametrize(
    "function", ["aggregate_features", "sequence_features", "last_impressed_at_ms", "first_impressed_at_ms"]
)
def test_a_planted_leak_of_a_microsecond_in_any_feature_is_found(monkeypatch, function):
    honest = getattr(features, function)

    def leaking(facts, *arguments):
        # The cutoffs are the first argument of times; in every one of these functions they follow the query codes.
        place = 3 if function == "sequence_features" else 2
        arguments = [*arguments[:place], arguments[place] + 1, *arguments[place + 1 :]]
        return honest(facts, *arguments)

    monkeypatch.setattr(features, function, leaking)
    with pytest.raises(AssertionError, match=FOUND):
        check_many()
