"""Rows of the exposure log whose features were logged, of one model version."""

import base64
import binascii
import collections
import dataclasses
import datetime

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.errors import SkewError
from serving.exposure.reading import closed_segments, segment_rows
from serving.exposure.record import PREDICTED_COLUMNS, SERVED_FEATURES

# Fewer rows, or of fewer users, say too little of what is served.
LEAST_ROWS = 200
LEAST_USERS = 30

_COLUMNS = (
    "request_id",
    "user_id",
    "position",
    "impressed_at",
    "model_version",
    "is_degraded",
    *PREDICTED_COLUMNS,
    SERVED_FEATURES,
)
_MOST_ROWS = 100_000


@dataclasses.dataclass(frozen=True)
class ServedRows:
    """Shown items of one version with their features.

    Attributes:
        version: of the model.
        examples: list of serialized tf.Examples, one a row.
        users: (rows,) ids.
        predictions: (rows,) float64 by name of `PREDICTED_COLUMNS`.
        span: pair of `datetime.datetime` in UTC, of the first and the last answer among the rows.
        num_sampled: rows that have features; more than these rows where only the newest are compared.
        num_shown: all shown items of the version.
        num_answers: all answers of the version.
        num_degraded: answers of any version that were fallbacks and are left out.
        left_out: number of answers by other version.
    """

    version: int
    examples: list
    users: np.ndarray
    predictions: dict
    span: tuple
    num_sampled: int
    num_shown: int
    num_answers: int
    num_degraded: int
    left_out: dict


class _Seen:
    """What the log holds of one version: counts, and the newest rows with features."""

    def __init__(self):
        self.num_shown = self.num_answers = self.num_sampled = 0
        self._tables = collections.deque()
        self._num_kept = 0

    def add(self, table):
        self.num_shown += len(table)
        self.num_answers += _num_answers(table)
        sampled = table.filter(table[SERVED_FEATURES].is_valid())
        self.num_sampled += len(sampled)
        self._tables.append(sampled)
        self._num_kept += len(sampled)
        while self._num_kept - len(self._tables[0]) >= _MOST_ROWS:
            self._num_kept -= len(self._tables.popleft())

    def newest_rows(self):
        table = pa.concat_tables(self._tables)
        return table.slice(max(len(table) - _MOST_ROWS, 0))


def read_served(pattern, version=None):
    """Rows with features of one version in the closed segments of an exposure log.

    Args:
        pattern: of the segments' paths.
        version: of the model; None for the newest one that answered.

    Returns:
        `ServedRows`.

    Raises:
        ExposureLogError: If there is no segment, or one cannot be read.
        SkewError: If no such version answered, or too few of its rows have features.
    """
    seen_by_version, num_degraded = collections.defaultdict(_Seen), 0
    for path in closed_segments(pattern):
        table = segment_rows(path, _COLUMNS)
        is_degraded = pc.fill_null(table["is_degraded"], False)
        num_degraded += _num_answers(table.filter(is_degraded))
        served = table.filter(pc.invert(is_degraded))
        for name in served["model_version"].unique().to_pylist():
            if name and name.isdecimal():
                seen_by_version[int(name)].add(served.filter(pc.equal(served["model_version"], name)))
    if not seen_by_version:
        raise SkewError(f"a model must have answered in {pattern}. Received: {num_degraded:,} degraded answers alone")
    version = max(seen_by_version) if version is None else version
    if version not in seen_by_version:
        known = ", ".join(map(str, sorted(seen_by_version)))
        raise SkewError(f"--version must be one that answered in {pattern} ({known}). Received: {version}")
    seen = seen_by_version.pop(version)
    left_out = {other: seen_by_version[other].num_answers for other in sorted(seen_by_version)}
    return _served_rows(version, seen, num_degraded, left_out)


def _num_answers(table):
    """Each answer has one item in the first place."""
    return pc.sum(pc.equal(table["position"], 1)).as_py() or 0


def _served_rows(version, seen, num_degraded, left_out):
    table = seen.newest_rows()
    users = table["user_id"].to_numpy()
    if len(table) < LEAST_ROWS or len(set(users)) < LEAST_USERS:
        raise SkewError(
            f"at least {LEAST_ROWS} rows of {LEAST_USERS} users must have features, or chance would speak. Received: "
            f"{len(table):,} rows of {len(set(users)):,} users in {seen.num_answers:,} answers of version {version}; "
            "raise serving.exposure.feature_share, or wait for more answers"
        )
    times = [pc.min(table["impressed_at"]).as_py(), pc.max(table["impressed_at"]).as_py()]
    return ServedRows(
        version=version,
        examples=[
            _decoded(*row) for row in zip(*(table[name].to_pylist() for name in (SERVED_FEATURES, "request_id")), strict=True)
        ],
        users=users,
        predictions={name: table[name].to_numpy().astype(np.float64) for name in PREDICTED_COLUMNS},
        span=tuple(datetime.datetime.fromtimestamp(at_ms / 1_000, datetime.timezone.utc) for at_ms in times),
        num_sampled=seen.num_sampled,
        num_shown=seen.num_shown,
        num_answers=seen.num_answers,
        num_degraded=num_degraded,
        left_out=left_out,
    )


def _decoded(text, request_id):
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error:
        raise SkewError(f"{SERVED_FEATURES} must be base64. Received: {text[:40]} in answer {request_id}") from None
