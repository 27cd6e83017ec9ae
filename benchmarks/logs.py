"""Large click and engagement logs as Parquet, drawn from a seed: every case that attribution knows, in known shares.

`data.simulator` draws a feed with known truth and keeps it in memory; here the size matters and nothing is to be learnt, so
chunks are drawn independently of each other and ids are bijective hashes of row numbers.
"""

import dataclasses
import datetime
import itertools
import os

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from data.schema import ENGAGEMENT_SCHEMA, IMPRESSION_SCHEMA, TIMESTAMP, EngagementKind

NUM_FILES = 8
NUM_DAYS = 10
NUM_CATEGORIES = 50
START = datetime.date(2026, 1, 1)
ITEMS_PER_REQUEST = 10
ENGAGEMENTS_PER_IMPRESSION = 2

# Shares of the engagement log.
REPEAT_SHARE = 0.02
REPEAT_WITH_NEW_EVENT_ID_SHARE = 0.005
NO_IMPRESSION_ID_SHARE = 0.1
UNKNOWN_IMPRESSION_SHARE = 0.005
BEFORE_IMPRESSION_SHARE = 0.001
# Share of the impression log.
IMPRESSION_REPEAT_SHARE = 0.002

_SHARE_BY_KIND = {
    EngagementKind.CLICK: 0.27,
    EngagementKind.PLAY: 0.5,
    EngagementKind.LIKE: 0.1,
    EngagementKind.FOLLOW: 0.02,
    EngagementKind.COMMENT: 0.03,
    EngagementKind.SHARE: 0.03,
    EngagementKind.PROFILE_VISIT: 0.02,
    EngagementKind.HIDE: 0.01,
    EngagementKind.SURVEY: 0.02,
}
_KINDS = list(_SHARE_BY_KIND)
# Median seconds from impression to signal; with a spread of e^2, every window is exceeded now and then.
_MEDIAN_DELAY_SECONDS = np.array(
    [{EngagementKind.CLICK: 8.0, EngagementKind.PLAY: 30.0, EngagementKind.SURVEY: 20_000.0}.get(k, 60.0) for k in _KINDS]
)
_LOG_DELAY_SPREAD = 2.0
_MAX_DELAY_SECONDS = 20 * 86_400
_DAY_US, _SECOND_US = 86_400_000_000, 1_000_000

_ZIPF_USERS, _ZIPF_ITEMS = 0.5, 0.9
_CHUNK_ROWS = 1_000_000
_ROW_GROUP_ROWS = 131_072
_SURFACES = ("home", "following", "search")
_LOW_CARDINALITY = ["user_id", "item_id", "surface", "model_version", "arm", "kind"]
_HEX_DIGITS = np.frombuffer(b"0123456789abcdef", np.uint8)


@dataclasses.dataclass(frozen=True)
class LogFiles:
    """Where the logs lie and how long they are.

    Attributes:
        impressions: glob of the impression log.
        engagements: glob of the engagement log.
        users: user table: user_id, age_group.
        items: item table: item_id, category, author_id, duration_seconds.
        num_impressions: rows of the impression log, repeats included.
        num_engagements: rows of the engagement log, repeats included.
    """

    impressions: str
    engagements: str
    users: str
    items: str
    num_impressions: int
    num_engagements: int


def log_files(folder, num_impressions):
    """The files that `write_logs` writes.

    Args:
        folder: where they lie.
        num_impressions: rows of the impression log.

    Returns:
        `LogFiles`.
    """
    return LogFiles(
        impressions=os.path.join(folder, "impressions-*.parquet"),
        engagements=os.path.join(folder, "engagements-*.parquet"),
        users=os.path.join(folder, "users.parquet"),
        items=os.path.join(folder, "items.parquet"),
        num_impressions=num_impressions,
        num_engagements=ENGAGEMENTS_PER_IMPRESSION * num_impressions,
    )


def write_logs(folder, num_impressions, seed=0, num_files=NUM_FILES, on_file=lambda number: None):
    """Writes both logs and both tables.

    A fiftieth as many users and a hundredth as many items as impressions (at least 20 and 1,000), drawn by Zipf's law.
    Files follow each other in time; within one, rows are in order of time.

    Args:
        folder: where to write; made if missing.
        num_impressions: rows of the impression log, at least `num_files`; there are twice as many engagements.
        seed: of every draw; the files are a function of the arguments.
        num_files: files of each log.
        on_file: called with the number of each file written, from 1.

    Returns:
        `LogFiles`.

    Raises:
        ValueError: If there are fewer impressions than files.
    """
    if num_impressions < num_files:
        raise ValueError(f"num_impressions must be at least num_files ({num_files}). Received: {num_impressions}")
    os.makedirs(folder, exist_ok=True)
    feed = _Feed(num_impressions, seed)
    pq.write_table(feed.user_table(), os.path.join(folder, "users.parquet"))
    pq.write_table(feed.item_table(), os.path.join(folder, "items.parquet"))
    bounds = np.linspace(0, num_impressions, num_files + 1).astype(np.int64)
    for number in range(num_files):
        first, end = int(bounds[number]), int(bounds[number + 1])
        num_chunks = -(-(end - first) // _CHUNK_ROWS)
        cuts = np.linspace(first, end, num_chunks + 1).astype(np.int64)
        with (
            _writer(folder, "impressions", number, IMPRESSION_SCHEMA) as impressions,
            _writer(folder, "engagements", number, ENGAGEMENT_SCHEMA) as engagements,
        ):
            for chunk_first, chunk_end in itertools.pairwise(cuts):
                shown, signals = feed.chunk(int(chunk_first), int(chunk_end))
                impressions.write_table(shown, row_group_size=_ROW_GROUP_ROWS)
                engagements.write_table(signals, row_group_size=_ROW_GROUP_ROWS)
        on_file(number + 1)
    return log_files(folder, num_impressions)


def _writer(folder, log, number, schema):
    path = os.path.join(folder, f"{log}-{number:05d}.parquet")
    return pq.ParquetWriter(path, schema, use_dictionary=[name for name in _LOW_CARDINALITY if name in schema.names])


class _Feed:
    """Users and items of a seed, and any chunk of its logs."""

    def __init__(self, num_impressions, seed):
        self._num_impressions = num_impressions
        self._seed = seed
        self._num_users = max(20, num_impressions // 50)
        self._num_items = max(1_000, num_impressions // 100)
        self._user_shares = _zipf_cumulative(self._num_users, _ZIPF_USERS)
        self._item_shares = _zipf_cumulative(self._num_items, _ZIPF_ITEMS)

    def user_table(self):
        rng = np.random.default_rng([self._seed, 0])
        numbers = np.arange(self._num_users)
        ages = pa.array(["18-24", "25-34", "35-49", "50+"])
        return pa.table(
            {"user_id": hex_ids(numbers, "user"), "age_group": ages.take(pa.array(rng.integers(4, size=len(numbers))))}
        )

    def item_table(self):
        rng = np.random.default_rng([self._seed, 1])
        numbers = np.arange(self._num_items)
        categories = pa.array([f"category-{number:02d}" for number in range(NUM_CATEGORIES)])
        return pa.table(
            {
                "item_id": hex_ids(numbers, "item"),
                "category": categories.take(pa.array(rng.integers(NUM_CATEGORIES, size=len(numbers)))),
                "author_id": hex_ids(rng.integers(max(1, self._num_items // 5), size=len(numbers)), "author"),
                "duration_seconds": pa.array(np.round(np.exp(rng.normal(3.5, 0.6, len(numbers))), 1), pa.float32()),
            }
        )

    def chunk(self, first, end):
        """Tables of the impressions with numbers from `first` until before `end`, and of their engagements."""
        rng = np.random.default_rng([self._seed, 2, first])
        num_repeats = int((end - first) * IMPRESSION_REPEAT_SHARE)
        size = end - first - num_repeats
        requests = np.arange(size) // ITEMS_PER_REQUEST
        num_requests = int(requests[-1]) + 1
        users = _draw(rng, self._user_shares, num_requests)[requests]
        items = _draw(rng, self._item_shares, size)
        span_us = NUM_DAYS * _DAY_US
        bounds_us = [span_us * number // self._num_impressions for number in (first, end)]
        request_at_us = np.sort(rng.integers(*bounds_us, size=num_requests)) // 1000 * 1000
        positions = np.arange(size) % ITEMS_PER_REQUEST + 1
        at_us = _start_us() + request_at_us[requests] + positions * 1000
        shown = _impression_table(first, users, items, positions, at_us, requests, rng)
        signals = _engagement_table(first, users, items, at_us, (end - first) * ENGAGEMENTS_PER_IMPRESSION, rng)
        repeats = np.sort(np.concatenate([np.arange(size), rng.choice(size, num_repeats, replace=False)]))
        return shown.take(pa.array(repeats)), signals


def _impression_table(first, users, items, positions, at_us, requests, rng):
    size = len(users)
    arms = pa.array(["control", "treatment"])
    columns = {
        "impression_id": hex_ids(first + np.arange(size), "impression"),
        "request_id": hex_ids(first + requests, "request"),
        "user_id": hex_ids(users, "user"),
        "item_id": hex_ids(items, "item"),
        "position": pa.array(positions),
        "surface": pa.array(_SURFACES).take(pa.array(rng.choice(3, size=size, p=[0.6, 0.25, 0.15]))),
        "impressed_at": pa.array(at_us).cast(TIMESTAMP),
        "day": pa.nulls(size, pa.string()),
        "model_version": pa.array(["20260101"]).take(pa.array(np.zeros(size, np.int64))),
        "arm": arms.take(pa.array(users % 2)),
        "propensity": pa.array(rng.uniform(0.01, 1.0, size), pa.float32()),
    }
    return pa.table(columns, schema=IMPRESSION_SCHEMA)


def _engagement_table(first, users, items, at_us, num_rows, rng):
    num_repeats = int(num_rows * REPEAT_SHARE)
    size = num_rows - num_repeats
    rows = rng.integers(len(users), size=size)
    kinds = rng.choice(len(_KINDS), size=size, p=list(_SHARE_BY_KIND.values()))
    delays = _MEDIAN_DELAY_SECONDS[kinds] * np.exp(_LOG_DELAY_SPREAD * rng.normal(size=size))
    delays = np.where(
        rng.random(size) < BEFORE_IMPRESSION_SHARE, -5.0 * rng.random(size), np.minimum(delays, _MAX_DELAY_SECONDS)
    )
    engaged_at_us = at_us[rows] + (delays * 1000).astype(np.int64) * 1000
    is_play, is_survey = kinds == _KINDS.index(EngagementKind.PLAY), kinds == _KINDS.index(EngagementKind.SURVEY)
    # Eighths of a second: sums of them are exact, so that contenders that add in another order agree to the last bit.
    watch_seconds = np.ceil(rng.exponential(15.0, size) * 8) / 8
    impression_numbers = first + rows
    is_unknown = rng.random(size) < UNKNOWN_IMPRESSION_SHARE
    impression_ids = np.where(is_unknown, _mix(impression_numbers, "unknown"), _mix(impression_numbers, "impression"))
    event_numbers = first * ENGAGEMENTS_PER_IMPRESSION + np.arange(size)
    order = np.argsort(engaged_at_us, kind="stable")
    repeated = order[rng.integers(size, size=num_repeats)]
    num_new_ids = int(num_rows * REPEAT_WITH_NEW_EVENT_ID_SHARE)
    event_ids = _mix(event_numbers, "event")
    repeat_ids = event_ids[repeated].copy()
    repeat_ids[:num_new_ids] = _mix(event_numbers[-1] + 1 + np.arange(num_new_ids), "event")
    # Repeats come in a later delivery: behind everything else of their chunk.
    taken = np.concatenate([order, repeated])
    columns = {
        "event_id": _hex(np.concatenate([event_ids[order], repeat_ids])),
        "impression_id": _hex(impression_ids[taken], is_null=(rng.random(size) < NO_IMPRESSION_ID_SHARE)[taken]),
        "user_id": hex_ids(users[rows[taken]], "user"),
        "item_id": hex_ids(items[rows[taken]], "item"),
        "kind": pa.array([kind.value for kind in _KINDS]).take(pa.array(kinds[taken])),
        "engaged_at": pa.array(engaged_at_us[taken]).cast(TIMESTAMP),
        "watch_seconds": pa.array(watch_seconds[taken], mask=~is_play[taken]),
        "duration_seconds": pa.array(np.full(len(taken), 30.0), mask=~is_play[taken]),
        "score": pa.array(rng.integers(1, 6, size)[taken].astype(float), mask=~is_survey[taken]),
    }
    return pa.table(columns, schema=ENGAGEMENT_SCHEMA)


def hex_ids(numbers, salt):
    """Ids of 16 hexadecimal digits, distinct for distinct numbers.

    Args:
        numbers: (rows,) int array, not negative.
        salt: string that tells ids of one thing from those of another.

    Returns:
        Arrow string array.
    """
    return _hex(_mix(numbers, salt))


def _mix(numbers, salt):
    """A bijection of 64-bit integers (the finalizer of SplitMix64), shifted by the salt."""
    offset = int.from_bytes(salt.encode()[:8].ljust(8, b"\0"), "little")
    with np.errstate(over="ignore"):
        mixed = np.asarray(numbers).astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15) + np.uint64(offset)
        mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return mixed ^ (mixed >> np.uint64(31))


def _hex(values, is_null=None):
    octets = np.ascontiguousarray(values.astype(">u8")).view(np.uint8).reshape(-1, 8)
    digits = np.empty((len(octets), 16), np.uint8)
    digits[:, 0::2], digits[:, 1::2] = _HEX_DIGITS[octets >> 4], _HEX_DIGITS[octets & 15]
    offsets = pa.py_buffer(np.arange(0, 16 * len(octets) + 1, 16, dtype=np.int32))
    validity = None if is_null is None else pa.array(~is_null).buffers()[1]
    return pa.StringArray.from_buffers(len(octets), offsets, pa.py_buffer(digits), validity)


def _zipf_cumulative(size, exponent):
    weights = np.arange(1, size + 1, dtype=np.float64) ** -exponent
    return np.cumsum(weights) / weights.sum()


def _draw(rng, cumulative, size):
    return np.minimum(np.searchsorted(cumulative, rng.random(size), side="right"), len(cumulative) - 1)


def _start_us():
    return int(np.datetime64(START, "us").astype(np.int64))
