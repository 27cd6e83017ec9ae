"""What happens in a simulated feed: who is shown what, who clicks and is satisfied with which probability.

Users fall into segments and items into categories; a taste of few dimensions is mostly that of the segment and partly the
user's own, and likewise for items. A click's log-odds add up taste, the item's appeal, the user's activity, position and
surface. Satisfaction after a click depends on taste again and on the item's substance, which appeal does not promise.
"""

import dataclasses

import numpy as np

_NUM_SEGMENTS, _NUM_AGE_GROUPS, _NUM_CATEGORIES, _NUM_DIMENSIONS = 6, 4, 10, 4
_SURFACE_SHARES = (0.6, 0.25, 0.15)
_SURFACE_EFFECTS = np.array([0.0, -0.5, 0.6])
_CLICK_INTERCEPT, _TASTE_SLOPE, _APPEAL_SLOPE, _ACTIVITY_SLOPE, _POSITION_SLOPE = 0.25, 1.5, 0.7, 0.6, 0.9
_SATISFACTION_INTERCEPT, _SATISFACTION_TASTE_SLOPE, _SUBSTANCE_SLOPE = -1.6, 0.9, 0.9
_PREVIEW_RATE = 0.5
_DAY_US, _SECOND_US = 86_400_000_000, 1_000_000


@dataclasses.dataclass(frozen=True)
class Users:
    """What drives users.

    Attributes:
        segments: (users,) int.
        age_groups: (users,) int.
        tastes: (users, dimensions) float.
        activities: (users,) float, added to the log-odds of each click.
        shares: (users,) float, of all requests; they add up to 1.
    """

    segments: np.ndarray
    age_groups: np.ndarray
    tastes: np.ndarray
    activities: np.ndarray
    shares: np.ndarray


@dataclasses.dataclass(frozen=True)
class Items:
    """What items are.

    Attributes:
        categories: (items,) int.
        authors: (items,) int.
        tastes: (items, dimensions) float.
        appeals: (items,) float, what makes users click.
        substances: (items,) float, what satisfies them afterwards.
        durations: (items,) float, seconds.
        shares: (items,) float, with which items are drawn; they add up to 1.
    """

    categories: np.ndarray
    authors: np.ndarray
    tastes: np.ndarray
    appeals: np.ndarray
    substances: np.ndarray
    durations: np.ndarray
    shares: np.ndarray


@dataclasses.dataclass(frozen=True)
class Shown:
    """Impressions in order of time, one entry each.

    Attributes:
        requests: (rows,) int.
        users: (rows,) int.
        items: (rows,) int.
        positions: (rows,) int, from 1.
        surfaces: (rows,) int.
        at_us: (rows,) int, microseconds since 1970, UTC.
        propensities: (rows,) float, probability of the item at its position given those above it.
    """

    requests: np.ndarray
    users: np.ndarray
    items: np.ndarray
    positions: np.ndarray
    surfaces: np.ndarray
    at_us: np.ndarray
    propensities: np.ndarray


@dataclasses.dataclass(frozen=True)
class Outcomes:
    """What users did.

    Attributes:
        click_probabilities: (rows,) float.
        satisfaction_probabilities: (rows,) float, of a click that satisfies.
        is_clicked: (rows,) bool.
        is_satisfied: (rows,) bool.
        watch_seconds: (rows,) float; above 0 without a click for a preview.
    """

    click_probabilities: np.ndarray
    satisfaction_probabilities: np.ndarray
    is_clicked: np.ndarray
    is_satisfied: np.ndarray
    watch_seconds: np.ndarray


def draw_users_and_items(rng, config):
    """Users and items with their tastes.

    Args:
        rng: `numpy.random.Generator`.
        config: `SimulatorConfig`.

    Returns:
        Pair (`Users`, `Items`).
    """
    segment_tastes = rng.normal(size=(_NUM_SEGMENTS, _NUM_DIMENSIONS))
    category_tastes = rng.normal(size=(_NUM_CATEGORIES, _NUM_DIMENSIONS))
    return _draw_users(rng, config.num_users, segment_tastes), _draw_items(rng, config.num_items, category_tastes)


def _draw_users(rng, num_users, segment_tastes):
    segments = rng.integers(_NUM_SEGMENTS, size=num_users)
    # Half of the users have the age that is typical of their segment.
    is_typical = rng.random(num_users) < 0.5
    age_groups = np.where(is_typical, segments % _NUM_AGE_GROUPS, rng.integers(_NUM_AGE_GROUPS, size=num_users))
    own = rng.normal(size=(num_users, _NUM_DIMENSIONS))
    activities = rng.normal(size=num_users)
    shares = np.exp(0.7 * rng.normal(size=num_users) + 0.3 * activities)
    return Users(segments, age_groups, _blend(segment_tastes[segments], own), activities, shares / shares.sum())


def _draw_items(rng, num_items, category_tastes):
    categories = rng.integers(_NUM_CATEGORIES, size=num_items)
    own = rng.normal(size=(num_items, _NUM_DIMENSIONS))
    appeals = rng.normal(size=num_items)
    durations = np.exp(rng.normal(3.0 + 0.12 * categories, 0.6))
    shares = np.exp(0.8 * rng.normal(size=num_items))
    return Items(
        categories=categories,
        authors=rng.integers(max(1, num_items // 5), size=num_items),
        tastes=_blend(category_tastes[categories], own),
        appeals=appeals,
        substances=rng.normal(size=num_items) - 0.3 * appeals,
        durations=durations,
        shares=shares / shares.sum(),
    )


def _blend(typical, own):
    return np.sqrt(0.9) * typical + np.sqrt(0.1) * own


def draw_shown(rng, config, users, items, num_impressions):
    """Requests in order of time, and what each shows.

    Args:
        rng: `numpy.random.Generator`.
        config: `SimulatorConfig`.
        users: `Users`.
        items: `Items`.
        num_impressions: rows to draw.

    Returns:
        `Shown`.
    """
    num_requests = -(-num_impressions // config.items_per_request)
    day = rng.integers(config.num_days, size=num_requests)
    # More requests in the evening than in the morning.
    of_day = rng.beta(3.0, 2.0, size=num_requests)
    start_us = np.datetime64(config.start, "us").astype(np.int64)
    at_us = np.sort(start_us + day * _DAY_US + (of_day * (_DAY_US - 600 * _SECOND_US)).astype(np.int64))
    request_users = _draw(rng, users.shares, num_requests)
    request_surfaces = rng.choice(len(_SURFACE_SHARES), size=num_requests, p=_SURFACE_SHARES)
    item, propensity = _draw_distinct(rng, items.shares, num_requests, config.items_per_request)
    slots = np.arange(num_requests * config.items_per_request)[:num_impressions]
    requests, positions = slots // config.items_per_request, slots % config.items_per_request
    return Shown(
        requests=requests,
        users=request_users[requests],
        items=item.ravel()[slots],
        positions=positions + 1,
        surfaces=request_surfaces[requests],
        at_us=at_us[requests] // 1000 * 1000 + positions * 1000,
        propensities=propensity.ravel()[slots],
    )


def _draw(rng, shares, size):
    index = np.searchsorted(np.cumsum(shares), rng.random(size), side="right")
    return np.minimum(index, len(shares) - 1)


def _draw_distinct(rng, shares, num_rows, num_slots):
    """Per row distinct indices, each drawn by share among those not yet drawn, and the probability it then had."""
    index = np.empty((num_rows, num_slots), np.int64)
    for slot in range(num_slots):
        index[:, slot] = _draw(rng, shares, num_rows)
        repeats = np.arange(num_rows)
        while len(repeats):
            repeats = repeats[(index[repeats, :slot] == index[repeats, slot, None]).any(axis=1)]
            index[repeats, slot] = _draw(rng, shares, len(repeats))
    drawn = shares[index]
    return index, np.minimum(drawn / np.maximum(1 - (np.cumsum(drawn, axis=1) - drawn), drawn), 1.0)


def draw_outcomes(rng, users, items, shown):
    """What users do with what they are shown.

    Args:
        rng: `numpy.random.Generator`.
        users: `Users`.
        items: `Items`.
        shown: `Shown`.

    Returns:
        `Outcomes`.
    """
    taste = np.einsum("nd,nd->n", users.tastes[shown.users], items.tastes[shown.items]) / np.sqrt(_NUM_DIMENSIONS)
    click_probabilities = _sigmoid(
        _CLICK_INTERCEPT
        + _TASTE_SLOPE * taste
        + _APPEAL_SLOPE * items.appeals[shown.items]
        + _ACTIVITY_SLOPE * users.activities[shown.users]
        - _POSITION_SLOPE * np.log(shown.positions)
        + _SURFACE_EFFECTS[shown.surfaces]
    )
    satisfied_once_clicked = _sigmoid(
        _SATISFACTION_INTERCEPT + _SATISFACTION_TASTE_SLOPE * taste + _SUBSTANCE_SLOPE * items.substances[shown.items]
    )
    size = len(shown.items)
    is_clicked = rng.random(size) < click_probabilities
    is_satisfied = is_clicked & (rng.random(size) < satisfied_once_clicked)
    durations = items.durations[shown.items]
    # A satisfied user watches most of an item, some more than once; others leave early; a preview plays without a click.
    watched = durations * np.exp(rng.normal(np.where(is_satisfied, -0.2, -0.9) + 0.2 * taste, 0.5))
    preview = np.where(rng.random(size) < _PREVIEW_RATE, np.minimum(rng.exponential(2.0, size), durations), 0.0)
    return Outcomes(
        click_probabilities=click_probabilities,
        satisfaction_probabilities=click_probabilities * satisfied_once_clicked,
        is_clicked=is_clicked,
        is_satisfied=is_satisfied,
        watch_seconds=np.round(np.where(is_clicked, np.minimum(watched, 3 * durations), preview), 3),
    )


def _sigmoid(log_odds):
    return 1 / (1 + np.exp(-log_odds))
