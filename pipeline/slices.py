"""Slices of evaluation rows: the name of each row's bucket, from the raw column."""

import dataclasses
import itertools
import math

import numpy as np
import pyarrow as pa
import pydantic

from pipeline.evaluation_config import entries_of

UNKNOWN = "unknown"
_BELOW = "below "


@dataclasses.dataclass(frozen=True)
class Slice:
    """A column by whose values rows are measured apart.

    Attributes:
        name: under which it is reported.
        column: of the raw rows.
        index: of the number in a row that counts.
        edges: rising numbers between ranges; empty for a bucket a value.
    """

    name: str
    column: str
    index: int = 0
    edges: tuple[float, ...] = ()

    def buckets(self, column):
        """Name of every row's bucket.

        Args:
            column: (rows,) `pyarrow.ListArray` of the raw column, empty or null where it is missing.

        Returns:
            (rows,) object array of strings: "below 24", "24 to 168" (168 not included), "168 and above" where there are edges,
            else the value itself; "unknown" where the row has none.
        """
        is_known_N, values = entries(column, self.index)
        buckets_N = np.full(len(column), UNKNOWN, object)
        buckets_N[is_known_N] = self._ranges(values) if self.edges else texts(values)
        # An empty string is how an example says that it has none.
        buckets_N[buckets_N == ""] = UNKNOWN
        return buckets_N

    def _ranges(self, values):
        numbers = np.asarray(values, np.float64)
        names = np.array([*range_names(self.edges), UNKNOWN], object)
        # 0.7 in 32 bits lies below 0.7 in 64: an edge has to be compared as the values are kept.
        edges = np.asarray(self.edges, np.float32 if pa.types.is_float32(values.type) else np.float64)
        place = np.searchsorted(edges, numbers, side="right")
        return names[np.where(np.isnan(numbers), len(names) - 1, place)]


_SLICE = pydantic.TypeAdapter(Slice)


def slices_of(config):
    """Slices of a job.

    Args:
        config: `pipeline.config.Config`.

    Returns:
        Tuple of `Slice`s.
    """
    slices = []
    for each in config.evaluation.slices:
        index = 0 if each.entry is None else entries_of(each.column, config.data).index(each.entry)
        slices.append(Slice(each.name, each.column, index, each.edges))
    return tuple(slices)


def range_names(edges):
    """Names of the ranges between edges, in order.

    Args:
        edges: rising numbers, at least one.

    Returns:
        List of one name more than edges.
    """
    inner = [f"{low:.10g} to {high:.10g}" for low, high in itertools.pairwise(edges)]
    return [f"{_BELOW}{edges[0]:.10g}", *inner, f"{edges[-1]:.10g} and above"]


def bucket_order(bucket):
    """Key by which buckets of one slice sort: ranges and numbers as numbers, then texts, then what is unknown.

    Args:
        bucket: as `Slice.buckets` names it.

    Returns:
        Tuple.
    """
    if bucket == UNKNOWN:
        return 2, 0.0, ""
    # "24 to 168" and "168 and above" begin with the number that counts.
    word = bucket.removeprefix(_BELOW).split(" ")[0]
    try:
        number = float(word)
    except ValueError:
        return 1, 0.0, bucket
    return 0, -math.inf if bucket.startswith(_BELOW) else number, bucket


def entries(column, index):
    """One number or string of every row.

    Args:
        column: (rows,) `pyarrow.ListArray`.
        index: place in a row.

    Returns:
        Pair of (rows,) bool, whether a row has an entry there, and the Arrow array of those entries.
    """
    # A list array that was cut keeps all values and moves its offsets: `flatten` would lose count.
    offsets = np.asarray(column.offsets)
    is_known_N = (np.diff(offsets) > index) & np.asarray(column.is_valid())
    return is_known_N, column.values.take(pa.array(offsets[:-1][is_known_N] + index))


def texts(values):
    """Values as strings.

    Args:
        values: Arrow array of strings as bytes, or of integers.

    Returns:
        (values,) object array of str.
    """
    string = pa.large_string() if pa.types.is_large_binary(values.type) else pa.string()
    return np.array(values.cast(string).to_pylist(), object)


def slices_from_specs(specs):
    """Slices that `pipeline.evaluation.eval_config` wrote into a TFMA configuration.

    Args:
        specs: `tfma.SlicingSpec`s; one without a feature stands for all rows.

    Returns:
        Tuple of `Slice`s.
    """
    return tuple(_SLICE.validate_json(key) for spec in specs for key in spec.feature_keys)


def to_json(slice_):
    """JSON of a slice.

    Args:
        slice_: `Slice`.

    Returns:
        str.
    """
    return _SLICE.dump_json(slice_).decode()
