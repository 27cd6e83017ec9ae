"""From a request to an answer: arm, features, predictions or a declared fallback, blend, exposure log."""

import collections
import collections.abc
import contextlib
import dataclasses
import enum
import threading
import time
import uuid

import numpy as np

from data.schema import LABELS
from serving.errors import (
    BlendError,
    CallerLeftError,
    CandidateError,
    DeadlineError,
    FeatureStoreError,
    FeatureValueError,
    PredictionError,
)
from serving.experiments.split import TrafficSplit, unit_hash
from serving.exposure.record import Exposure, ShownItems
from serving.ranker.backend import Asked, Encoders, Predicted
from serving.ranker.client import checked_candidates
from serving.ranker.config import ArmConfig
from serving.ranker.scoring import ItemColumns, scored_order

# Of the time that is left, what the arm's own version may take where a fallback needs the rest.
_OWN_SHARE = {True: 0.6, False: 0.9}
# Of an answer whose features are logged.
_MOST_SAMPLED_ITEMS = 20


class Degradation(enum.Enum):
    """Why an answer is a fallback; the names of the protocol."""

    OTHER_LABEL = 1
    POPULARITY = 2
    UNKNOWN_USER = 3


@dataclasses.dataclass(frozen=True)
class Query:
    """A request.

    Attributes:
        user_id: id of the user.
        candidates: ids of items; empty where a set is named.
        candidate_set: name of a published set; empty where candidates are given.
        context: value by column, the same for every candidate.
        features: by column name, a value for every candidate, or a dict of values by item id.
        k: most items of the answer; 0 for all.
        request_id: names the answer; empty for a name made here.
        timeout_seconds: how long an answer is of use.
        max_candidates: most candidates.
        is_wanted_fn: says whether somebody still waits for the answer.
    """

    user_id: str
    candidates: tuple
    candidate_set: str
    context: dict
    features: dict
    k: int
    request_id: str
    timeout_seconds: float
    max_candidates: int
    is_wanted_fn: collections.abc.Callable[[], bool] = lambda: True


@dataclasses.dataclass(frozen=True, eq=False)
class Answer:
    """A ranking.

    Attributes:
        request_id: as of the query, or made here.
        items: `ShownItems`, best first, at most k.
        are_known: (items,) bool array, whether each item has a row in the item table.
        arm: of the user.
        model_version: version that predicted; 0 where none did.
        features_version: number of the publication.
        degradations: tuple of `Degradation`, empty for an answer as it should be.
        is_known_user: whether the user has a row in the user table.
        num_unknown_items: of all candidates.
    """

    request_id: str
    items: ShownItems
    are_known: np.ndarray
    arm: str
    model_version: int
    features_version: int
    degradations: tuple
    is_known_user: bool
    num_unknown_items: int


class _Reading:
    """One publication with what was computed from it once."""

    def __init__(self, features):
        self.features, self.encoders, self.item_columns = features, Encoders(features), ItemColumns(features)

    def asked(self, user_id, item_ids, context, features, user, is_wanted_fn=lambda: True):
        """What a model is asked now."""
        now_ms, rows = time.time_ns() // 1_000_000, self.features.item_rows(item_ids)
        return Asked(user_id, item_ids, context, features, now_ms, user, rows, is_wanted_fn)

    def fill_like(self, other):
        """Computes what was computed from another one; a column of another type now is left to the request that needs it."""
        with contextlib.suppress(FeatureValueError, TypeError, ValueError):
            self.encoders.columns.fill_like(other.encoders.columns)
        self.item_columns.fill_like(other.item_columns)


class Answering:
    """Answers queries from several threads."""

    def __init__(self, config, store, replicas, exposures=None):
        """Answers without a connection yet.

        Args:
            config: `ServingConfig`.
            store: `serving.features.store.FeatureStore`.
            replicas: `serving.ranker.replicas.Replicas`.
            exposures: `serving.exposure.log.ExposureLog`; None for no log.
        """
        self._config, self._store, self._replicas, self._exposures = config, store, replicas, exposures
        self._split = TrafficSplit(config.ranker.experiment)
        self._reading = self._prepared = _Reading(store.current())
        store.prepare_with(self._prepare)
        self._counting = threading.Lock()
        self._counts = collections.Counter()

    def counts(self):
        """What was answered until now.

        Returns:
            Dict of counts: `answered`, `unknown_users`, `unknown_items`, by name of the `Degradation`, and
            `features_not_logged`, answers whose features were to be logged but are no tf.Example.
        """
        with self._counting:
            return dict(self._counts)

    def warm_up(self, timeout_seconds):
        """Asks the model once, so that the first request finds its form and the columns of the items ready.

        Args:
            timeout_seconds: longest time to wait for it; a model that does not answer is no error here.
        """
        reading = self._current_reading()
        item_ids = reading.features.item_ids[:1] or [""]
        asked = reading.asked("", item_ids, self._config.context, {}, reading.features.unknown_user(""))
        labels = {arm.label for arm in self._config.ranker.arms.values()} | {None}
        for label in labels:
            with contextlib.suppress(PredictionError, BlendError, FeatureValueError):
                predicted = self._predict(reading, asked, time.monotonic() + timeout_seconds, label)
                scored_order(self._config.blend, reading.item_columns, asked, predicted.by_name)

    def answer(self, query):
        """A ranking, logged before it is given.

        Args:
            query: `Query`.

        Returns:
            `Answer`.

        Raises:
            CandidateError: If candidates are none, repeated or too many, or a set is unknown.
            FeatureValueError: If a value cannot be a feature.
            PredictionError: If no model answers and no fallback is declared, or the request is refused.
            BlendError: If no score can be computed and no fallback is declared.
            ExposureLogError: If the answer cannot be logged.
            DeadlineError: If it took longer than it is of use; it is not logged.
            CallerLeftError: If nobody waits for the answer any more; it is not logged.
        """
        deadline = time.monotonic() + query.timeout_seconds
        reading = self._current_reading()
        features = reading.features
        item_ids = self._item_ids(query, features)
        arm = self._split.arm(query.user_id)
        degradations = []
        try:
            user = features.user_features(query.user_id)
        except FeatureStoreError:
            user = features.unknown_user(query.user_id)
            degradations.append(Degradation.UNKNOWN_USER)
        context = {**self._config.context, **query.context}
        asked = reading.asked(query.user_id, item_ids, context, query.features, user, query.is_wanted_fn)
        predicted, scores, order = self._ranked(reading, asked, arm, deadline, degradations)
        answer = self._shown(query, reading, asked, arm, predicted, scores, order, degradations)
        if time.monotonic() > deadline:
            raise DeadlineError("DEADLINE_EXCEEDED", "an answer must come within its deadline. Received: it took longer")
        if not query.is_wanted_fn():
            raise CallerLeftError("a client must wait for its answer. Received: a client that left")
        if self._exposures is not None:
            exposure = _exposure(answer, asked, self._served_examples(reading, answer, asked))
            self._exposures.append(exposure, max(deadline - time.monotonic(), 0))
        self._count(answer)
        return answer

    def _current_reading(self):
        features = self._store.current()
        if self._reading.features is not features:
            prepared = self._prepared
            self._reading = prepared if prepared.features is features else _Reading(features)
        return self._reading

    def _prepare(self, features):
        """Reads the next publication before requests see it: the first of them would wait for all that follows from it."""
        prepared = _Reading(features)
        prepared.fill_like(self._reading)
        self._prepared = prepared

    def _item_ids(self, query, features):
        if bool(query.candidates) == bool(query.candidate_set):
            raise CandidateError(
                "either candidates or candidate_set must be given. "
                f"Received: {len(query.candidates)} candidates and candidate_set={query.candidate_set!r}"
            )
        if query.candidate_set and query.candidate_set not in features.candidate_sets:
            names = ", ".join(features.candidate_sets) or "none is published"
            raise CandidateError(
                f"candidate_set must be one of serving.features.candidate_sets ({names}). Received: {query.candidate_set[:80]}"
            )
        return checked_candidates(query.candidates or features.candidate_sets[query.candidate_set], query.max_candidates)

    def _ranked(self, reading, asked, arm, deadline, degradations):
        """Predictions with scores and order: of the arm's version, else of the other label, else by popularity."""
        ranker = self._config.ranker
        arm_config = ranker.arms.get(arm, ArmConfig())
        blend = arm_config.blend or self._config.blend
        labels = [arm_config.label]
        if ranker.fallback_label is not None and ranker.fallback_label != arm_config.label:
            labels.append(ranker.fallback_label)
        failure = None
        for place, label in enumerate(labels):
            is_last = place == len(labels) - 1
            left = deadline - time.monotonic()
            until = (
                deadline if is_last and not ranker.popularity_fallback else time.monotonic() + _OWN_SHARE[not is_last] * left
            )
            try:
                predicted = self._predict(reading, asked, until, label)
                scores, order = scored_order(blend, reading.item_columns, asked, predicted.by_name)
            except (PredictionError, BlendError) as error:
                if getattr(error, "status", None) == "INVALID_ARGUMENT":
                    raise
                failure = error
                continue
            if place:
                degradations.append(Degradation.OTHER_LABEL)
            return predicted, scores, order
        if not ranker.popularity_fallback:
            raise failure
        degradations.append(Degradation.POPULARITY)
        return _by_popularity(reading.features, asked.item_ids)

    def _predict(self, reading, asked, deadline, label):
        """Predictions of one version for all candidates, as many at a time as a request may hold."""
        size = self._config.max_candidates
        stretches = [slice(start, start + size) for start in range(0, len(asked.item_ids), size)]
        pieces = [asked._replace(item_ids=asked.item_ids[each], item_rows=asked.item_rows[each]) for each in stretches]
        predicted = [None] * len(pieces)
        for _ in range(2):
            newest = max((each.model_version for each in predicted if each), default=None)
            for place, piece in enumerate(pieces):
                if predicted[place] is None or predicted[place].model_version != newest:
                    predicted[place] = self._replicas.predict(reading.encoders, piece, deadline, label)
            versions = {each.model_version for each in predicted}
            if len(versions) == 1:
                by_name = {name: np.concatenate([each.by_name[name] for each in predicted]) for name in LABELS}
                return Predicted(versions.pop(), by_name)
        raise PredictionError("ABORTED", f"one version must predict for all candidates. Received: versions {sorted(versions)}")

    def _shown(self, query, reading, asked, arm, predicted, scores, order, degradations):
        if query.k:
            order = order[: query.k]
        is_known = asked.item_rows < reading.features.num_items
        items = ShownItems(
            [asked.item_ids[place] for place in order.tolist()],
            **{name: predicted.by_name[name][order] for name in LABELS},
            score=scores[order],
            propensity=np.ones(len(order)),
        )
        return Answer(
            request_id=query.request_id or uuid.uuid4().hex,
            items=items,
            are_known=is_known[order],
            arm=arm,
            model_version=predicted.model_version,
            features_version=reading.features.version,
            degradations=tuple(degradations),
            is_known_user=asked.user.is_known,
            num_unknown_items=int((~is_known).sum()),
        )

    def _served_examples(self, reading, answer, asked):
        """Serialized tf.Examples of shown items, of the share of answers whose features are logged; else none."""
        share = self._config.exposure.feature_share
        # A hash and no random number: all replicas agree on what is logged, and so does who asks again.
        if not answer.model_version or unit_hash("", "features", answer.request_id) >= share:
            return ()
        # Some of a long answer: all would make it a slow one, and clients, who may name their requests, could choose it.
        step = -(-len(answer.items) // _MOST_SAMPLED_ITEMS) or 1
        shown = asked._replace(item_ids=answer.items.item_ids[::step], item_rows=None)
        examples = [b""] * len(answer.items)
        try:
            examples[::step] = reading.encoders.examples.encode(*shown.to_encode)
            return tuple(examples)
        except FeatureValueError:
            # A column that the model does not read: it was answered without, and a sampled answer is as good as any.
            with self._counting:
                self._counts["features_not_logged"] += 1
            return ()

    def _count(self, answer):
        with self._counting:
            self._counts["answered"] += 1
            self._counts["unknown_users"] += not answer.is_known_user
            self._counts["unknown_items"] += answer.num_unknown_items
            self._counts.update(degradation.name for degradation in answer.degradations)


def _by_popularity(features, item_ids):
    """Items from the most popular on, equal ones by id; nothing is predicted."""
    popularity = features.popularity_of(item_ids)
    order = np.array(sorted(range(len(item_ids)), key=lambda place: (-popularity[place], item_ids[place])), np.int64)
    nothing = np.full(len(item_ids), np.nan)
    return Predicted(0, dict.fromkeys(LABELS, nothing)), nothing, order


def _exposure(answer, asked, examples):
    return Exposure(
        request_id=answer.request_id,
        user_id=asked.user_id,
        answered_at_ms=asked.now_ms,
        arm=answer.arm,
        model_version=str(answer.model_version) if answer.model_version else "",
        features_version=answer.features_version,
        is_degraded=bool(answer.degradations),
        context=asked.context,
        items=answer.items,
        examples=examples,
    )
