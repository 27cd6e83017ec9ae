"""A request as columns: the user's once, the candidates' by candidate, in the types of a model's signature `rank`.

Shapes: N candidates, K numbers or strings of one value.
"""

from typing import NamedTuple

import numpy as np
from tensorflow.core.framework import tensor_pb2

from data.columns import ITEM_AGE_HOURS, input_name
from data.schema import FIRST_IMPRESSED_AT_MS, PUBLISHED_AT_MS
from serving.features.checks import ITEM_KEY
from serving.ranker.request import half_of_pair, merged_request
from serving.ranker.tensors import TYPES, InputSpec, array_of, array_of_numbers, tensor_bytes, with_own

RANK_SIGNATURE = "rank"

_MS_PER_HOUR = 3_600_000


def rank_inputs(signature_defs):
    """Inputs of the signature `rank`, as a server describes it.

    Args:
        signature_defs: `SignatureDef` by name.

    Returns:
        Dict from input name to `InputSpec`; None where there is no such signature, or it has inputs of other types.
    """
    if RANK_SIGNATURE not in signature_defs:
        return None
    specs = {}
    for name, info in signature_defs[RANK_SIGNATURE].inputs.items():
        shape = [dimension.size for dimension in info.tensor_shape.dim]
        if info.dtype not in TYPES or len(shape) not in (1, 2):
            return None
        size = 1 if len(shape) == 1 else shape[1] if shape[1] >= 0 else None
        specs[name] = InputSpec(info.dtype, shape[0] != 1, size, len(shape))
    return specs


class ColumnEncoder:
    """Tensors of users with candidates; remembers the columns of the item table in the types that were asked for."""

    def __init__(self, tables):
        """An encoder that has met no model yet.

        Args:
            tables: `serving.features.store.Features`.
        """
        self._tables = tables
        self._values_by_column = {}
        self._array_by_column = {}
        self._times_by_column = {}
        self._codes_by_column = {}
        names = (ITEM_AGE_HOURS, *tables.item_columns, *(pair.vector for pair in tables.pairs))
        self._candidate_column_by_input = {input_name(name): name for name in names}
        self._pair_by_vector = {pair.vector: (place, pair) for place, pair in enumerate(tables.pairs)}

    def fill_like(self, other):
        """Remembers the columns of the item table that another encoder was asked for.

        Args:
            other: `ColumnEncoder` of another publication.

        Raises:
            FeatureValueError: If a column has no longer the type that was asked for.
        """
        for name, spec in list(other._array_by_column):
            if name in self._tables.item_columns:
                self._item_array(name, spec)
        for name in list(other._times_by_column):
            if name in self._tables.item_columns:
                self._times(name)
        for name in list(other._codes_by_column):
            if name in self._tables.item_columns:
                self._codes(name)

    def encode(self, specs, user_id, item_ids, context, features, now_ms, user=None, item_rows=None):
        """Tensors of one user and the candidates; what goes before what is as in `ExampleEncoder.encode`.

        Args:
            specs: dict from input name to `InputSpec`.
            user_id: id of the user.
            item_ids: ids of the candidates.
            context: value by name of columns that are the same for every candidate.
            features: by column name, a value for every candidate, or a dict of values by item id.
            now_ms: time of the request, milliseconds since 1970, UTC; ages follow from it.
            user: `serving.features.store.UserFeatures` of the user; None to look them up.
            item_rows: (candidates,) rows of the item table; None to look them up.

        Returns:
            Dict from input name to `TensorProto`; None if a column of which the model takes one value has several here.

        Raises:
            FeatureValueError: If a value is not of its column's type or length, or an id is given as a feature.
        """
        contents = self.encode_serialized(specs, user_id, item_ids, context, features, now_ms, user, item_rows)
        return contents and {name: tensor_pb2.TensorProto.FromString(content) for name, content in contents.items()}

    def encode_serialized(self, specs, user_id, item_ids, context, features, now_ms, user=None, item_rows=None):
        """Serialized tensors of one user and the candidates.

        Args:
            specs: as of `encode`.
            user_id: as of `encode`.
            item_ids: as of `encode`.
            context: as of `encode`.
            features: as of `encode`.
            now_ms: as of `encode`.
            user: as of `encode`.
            item_rows: as of `encode`.

        Returns:
            Dict from input name to bytes of a `TensorProto`; None where `encode` returns None.

        Raises:
            FeatureValueError: As of `encode`.
        """
        arrays = self.encode_arrays(specs, user_id, item_ids, context, features, now_ms, user, item_rows)
        return arrays and {name: tensor_bytes(array, specs[name]) for name, array in arrays.items()}

    def encode_arrays(self, specs, user_id, item_ids, context, features, now_ms, user=None, item_rows=None):
        """Arrays of one user and the candidates.

        Args:
            specs: as of `encode`.
            user_id: as of `encode`.
            item_ids: as of `encode`.
            context: as of `encode`.
            features: as of `encode`.
            now_ms: as of `encode`.
            user: as of `encode`.
            item_rows: as of `encode`.

        Returns:
            Dict from input name to (candidates,) or (candidates, entries) array, of the user's columns (1,) or (1, entries);
            strings in the form that their specification asks for. None where `encode` returns None.

        Raises:
            FeatureValueError: As of `encode`.
        """
        request = merged_request(self._tables, user_id, context, features, now_ms, user)
        shared = {input_name(name): (name, value) for name, value in request.shared.items()}
        by_item = {input_name(name): values for name, values in request.by_item.items()}
        rows = self._tables.item_rows(item_ids) if item_rows is None else item_rows
        candidates = _Candidates(request, item_ids, rows, now_ms)
        inputs = {}
        for key, spec in specs.items():
            if spec.is_candidates:
                column = self._candidate_column(key, spec, candidates, shared)
                if own := by_item.get(key):
                    column = with_own(shared.get(key, (key,))[0], column, item_ids, own, spec)
            elif key in shared and key not in by_item:
                column = array_of(shared[key][0], [shared[key][1]], spec)
            elif self._may_differ(key, request):
                return None
            else:
                column = self._candidate_column(key, spec, candidates, shared)[:1]
            inputs[key] = column
        return inputs

    def _may_differ(self, key, request):
        """Whether a column that is not given for all candidates may have another value for each."""
        name = self._candidate_column_by_input.get(key, key)
        half = self._pair_by_vector[name][1].column if name in self._pair_by_vector else name
        is_given = name in request.by_item or half in request.by_item
        return is_given or (half not in request.shared and half in {ITEM_AGE_HOURS, *self._tables.item_columns})

    def _candidate_column(self, key, spec, candidates, shared):
        """(candidates,) or (candidates, entries) array: a value given for all, or each candidate's own."""
        if key in shared:
            name, value = shared[key]
            return np.repeat(array_of(name, [value], spec), len(candidates.item_ids), axis=0)
        name = self._candidate_column_by_input.get(key)
        if name is None:
            return np.repeat(array_of(key, [None], spec), len(candidates.item_ids), axis=0)
        if name == ITEM_AGE_HOURS:
            return array_of_numbers(name, self._ages(candidates)[:, None], spec)
        if name in self._pair_by_vector:
            place, pair = self._pair_by_vector[name]
            return array_of_numbers(name, self._histories(pair, candidates.request.histories[place], candidates), spec)
        column = self._item_array(name, spec).take(candidates.rows, axis=0)
        if name == ITEM_KEY:
            unknown = np.flatnonzero(candidates.rows == self._tables.num_items).tolist()
            if unknown:
                column[unknown] = array_of(name, [candidates.item_ids[place] for place in unknown], spec)
        return column

    def _ages(self, candidates):
        """(candidates,) float32 hours since each was published, or first shown where that is not known; NaN without either."""
        ages = np.full(len(candidates.item_ids), np.nan)
        for name in (FIRST_IMPRESSED_AT_MS, PUBLISHED_AT_MS):
            if name in self._tables.item_columns:
                hours = np.maximum(candidates.now_ms - self._times(name)[candidates.rows], 0) / _MS_PER_HOUR
                ages = np.where(np.isnan(hours), ages, hours)
        return ages.astype("<f4")

    def _histories(self, pair, history, candidates):
        """(candidates, entries) numbers of the user with each candidate's value, given ones first."""
        request = candidates.request
        own = request.by_item.get(pair.column, {})
        if pair.column not in request.shared and pair.column in self._tables.item_columns and not own:
            codes, code_by_value = self._codes(pair.column)
            return history.of_codes(codes[candidates.rows], code_by_value)
        if pair.column in request.shared:
            halves = [half_of_pair(pair, request.shared)] * len(candidates.item_ids)
        elif pair.column in self._tables.item_columns:
            halves = list(map(self._values(pair.column).__getitem__, candidates.rows.tolist()))
        else:
            halves = [None] * len(candidates.item_ids)
        halves = [
            half_of_pair(pair, {pair.column: own[item_id]}) if item_id in own else half
            for item_id, half in zip(candidates.item_ids, halves, strict=True)
        ]
        return history.of_all(halves)

    def _item_array(self, name, spec):
        """A column of the whole item table as an array, and behind its last row an unknown item."""
        if (name, spec) not in self._array_by_column:
            self._array_by_column[name, spec] = array_of(name, self._values(name), spec)
        return self._array_by_column[name, spec]

    def _times(self, name):
        """(items + 1,) milliseconds of a column of times; NaN where there is none."""
        if name not in self._times_by_column:
            self._times_by_column[name] = np.array([np.nan if at is None else at for at in self._values(name)], float)
        return self._times_by_column[name]

    def _codes(self, name):
        """(items + 1,) number of each item's value of a column among the different ones, and number by value."""
        if name not in self._codes_by_column:
            code_by_value = {}
            codes = [code_by_value.setdefault(value, len(code_by_value)) for value in self._values(name)]
            self._codes_by_column[name] = np.array(codes), code_by_value
        return self._codes_by_column[name]

    def _values(self, name):
        """A column of the whole item table, and behind its last row that of an unknown item."""
        if name not in self._values_by_column:
            self._values_by_column[name] = self._tables.item_values(name)
        return self._values_by_column[name]


class _Candidates(NamedTuple):
    """Candidates of one request: `rows` are (candidates,) rows of the item table, the one behind its last if unknown."""

    request: NamedTuple
    item_ids: list
    rows: np.ndarray
    now_ms: int
