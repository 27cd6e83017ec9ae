"""From predictions to an order: what a blend reads of items besides, the scores, and what is put first."""

import numpy as np

from serving.errors import FeatureValueError
from serving.ranker.blend import PREDICTIONS, blended_scores, diversified_order, ranked_order


class ItemColumns:
    """Columns of the item table by candidate; remembers those that were asked for."""

    def __init__(self, features):
        """Columns of one publication.

        Args:
            features: `serving.features.store.Features`.
        """
        self._features = features
        self._values_by_column = {}

    def fill_like(self, other):
        """Remembers the columns that were asked of another publication.

        Args:
            other: `ItemColumns` of that publication.
        """
        for name in list(other._values_by_column):
            self._held(name)

    def values(self, name, asked):
        """Values of one column.

        Args:
            name: column; one that the item table lacks is absent throughout.
            asked: `serving.ranker.backend.Asked` with `item_rows`; its features go before the table's columns.

        Returns:
            List in the order of the candidates: str, int, float or None.
        """
        own = asked.features.get(name, {})
        if not isinstance(own, dict):
            return [own] * len(asked.item_ids)
        values = map(self._held(name).__getitem__, asked.item_rows.tolist())
        return [own.get(item_id, value) for item_id, value in zip(asked.item_ids, values, strict=True)] if own else list(values)

    def _held(self, name):
        """Values of a column by row of the item table."""
        if name not in self._values_by_column:
            is_held = name in self._features.item_columns
            count = self._features.num_items + 1
            self._values_by_column[name] = self._features.item_values(name) if is_held else [None] * count
        return self._values_by_column[name]


def scored_order(blend, columns, asked, predictions):
    """Scores of candidates, and the order that follows.

    Args:
        blend: `BlendConfig`.
        columns: `ItemColumns`.
        asked: `serving.ranker.backend.Asked` with `item_rows`; its candidates are all different.
        predictions: (candidates,) floats by name of `PREDICTIONS`.

    Returns:
        (candidates,) float64 scores, and (candidates,) indices from first to last.

    Raises:
        BlendError: If a prediction is not finite, or a score would not be.
        FeatureValueError: If a duration is no number, or what diversity goes by is not one value.
    """
    durations = None
    if blend.duration is not None:
        values = _one_value_each(columns, blend.duration.column, asked)
        try:
            durations = np.array([np.nan if value is None else value for value in values], np.float64)
        except (TypeError, ValueError) as error:
            raise FeatureValueError(
                f"feature {blend.duration.column} must be a number. Received: {str(values)[:80]}"
            ) from error
    scores = blended_scores(blend, **{name: predictions[name] for name in PREDICTIONS}, durations=durations)
    order = ranked_order(asked.item_ids, scores)
    if blend.diversity is not None and blend.diversity.relevance < 1:
        values = _one_value_each(columns, blend.diversity.column, asked)
        order = diversified_order(order, scores, values, blend.diversity.relevance)
    return scores, order


def _one_value_each(columns, name, asked):
    values = columns.values(name, asked)
    for value in values:
        if isinstance(value, list):
            raise FeatureValueError(f"feature {name} must be one value, as the blend goes by it. Received: {str(value)[:80]}")
    return values
