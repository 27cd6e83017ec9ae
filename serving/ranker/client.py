"""Asking the model server for predictions, and the ranking that comes of it."""

import collections
import dataclasses
import time

from data.schema import LABELS
from serving.errors import CandidateError
from serving.ranker.backend import Asked, Backend, Encoders
from serving.ranker.scoring import ItemColumns, scored_order

_SHOWN_IDS = 10


@dataclasses.dataclass(frozen=True)
class RankedItem:
    """One candidate with its predictions.

    Attributes:
        item_id: id of the item.
        click: click probability.
        watch_seconds: expected watch time.
        satisfaction: satisfaction probability.
        score: blend of the three.
        is_known: whether the item has a row in the item table.
    """

    item_id: str
    click: float
    watch_seconds: float
    satisfaction: float
    score: float
    is_known: bool


@dataclasses.dataclass(frozen=True)
class Ranking:
    """Candidates of one user from best to worst.

    Attributes:
        user_id: id of the user.
        items: tuple of `RankedItem`, best first.
        model_version: version that predicted.
        is_known_user: whether the user has a row in the user table.
        num_unknown: candidates without a row in the item table.
        num_left_out: items of the table beyond `max_candidates`, where all items were asked for.
    """

    user_id: str
    items: tuple
    model_version: int
    is_known_user: bool
    num_unknown: int
    num_left_out: int


class Ranker:
    """Ranks candidates over one connection to the model server; may be used from several threads."""

    def __init__(self, config, tables):
        """A ranker that connects with its first ranking.

        Args:
            config: `ServingConfig`.
            tables: `serving.features.tables.FeatureTables`.
        """
        self._config = config
        self._tables = tables
        self._encoders, self._item_columns = Encoders(tables), ItemColumns(tables)
        address = f"{config.host}:{config.port}"
        self._backend = Backend(address, config.model_name, config.max_message_mib, config.ranker.access)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        """Closes the connection."""
        self._backend.close()

    def rank(self, user_id, candidates=None, context=None, features=None, now_ms=None):
        """Candidates of a user from best to worst.

        Args:
            user_id: id of the user; an unknown one is served too.
            candidates: ids of at most `max_candidates` different items; None for the first `max_candidates` items of
                the item table.
            context: value by column name, the same for every candidate; added to the configured context.
            features: columns that replace those of the tables: by name a value for every candidate, or a dict of values
                by item id. None as a value means absent.
            now_ms: time of the request, milliseconds since 1970, UTC, from which ages follow; None for the clock's.

        Returns:
            `Ranking`.

        Raises:
            CandidateError: If candidates are none, without an id, repeated or too many.
            FeatureValueError: If a value cannot be a feature.
            ServerUnreachableError: If nobody answers.
            DeadlineError: If the answer takes longer than `deadline_ms`.
            PredictionError: If the server refuses, or its answer does not fit the candidates.
            BlendError: If a prediction is not finite.
        """
        item_ids = checked_candidates(
            self._tables.item_ids[: self._config.max_candidates] if candidates is None else candidates,
            self._config.max_candidates,
        )
        now_ms = time.time_ns() // 1_000_000 if now_ms is None else now_ms
        context, features = {**self._config.context, **(context or {})}, features or {}
        asked = Asked(user_id, item_ids, context, features, now_ms, item_rows=self._tables.item_rows(item_ids))
        predicted = self._backend.predict(self._encoders, asked, self._config.deadline_ms / 1_000)
        scores, order = scored_order(self._config.blend, self._item_columns, asked, predicted.by_name)
        is_known = asked.item_rows < self._tables.num_items
        columns = [predicted.by_name[name] for name in LABELS] + [scores, is_known]
        values = zip(*(column[order].tolist() for column in columns), strict=True)
        return Ranking(
            user_id=user_id,
            items=tuple(RankedItem(item_ids[place], *each) for place, each in zip(order.tolist(), values, strict=True)),
            model_version=predicted.model_version,
            is_known_user=self._tables.has_user(user_id),
            num_unknown=int((~is_known).sum()),
            num_left_out=len(self._tables.item_ids) - len(item_ids) if candidates is None else 0,
        )


def checked_candidates(candidates, limit):
    """Candidates that can be ranked.

    Args:
        candidates: ids of items.
        limit: most candidates of a request.

    Returns:
        List of ids.

    Raises:
        CandidateError: If they are none, without an id, repeated or too many.
    """
    item_ids = list(candidates)
    if not item_ids:
        raise CandidateError("candidates must hold at least one item. Received: none. Name candidates")
    if not all(item_ids):
        raise CandidateError("candidates must have ids. Received: ''")
    if len(item_ids) > limit:
        raise CandidateError(
            f"candidates must be at most serving.max_candidates={limit} items. Received: {len(item_ids)}. "
            "Name fewer, or raise the limit"
        )
    if len(set(item_ids)) < len(item_ids):
        repeated = sorted(item_id for item_id, count in collections.Counter(item_ids).items() if count > 1)
        shown = ", ".join(repeated[:_SHOWN_IDS]) + (", ..." if len(repeated) > _SHOWN_IDS else "")
        raise CandidateError(f"candidates must be different items. Received twice or more: {shown}")
    return item_ids
