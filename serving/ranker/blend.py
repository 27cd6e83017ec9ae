"""One score from three predictions, and the order that follows. Pure: neither gRPC nor TensorFlow. N candidates."""

import numpy as np

from serving.errors import BlendError

PREDICTIONS = ("click", "watch_seconds", "satisfaction")


def blended_scores(config, click, watch_seconds, satisfaction, durations=None):
    """Score of each candidate.

    With watch = (1 + watch_seconds) / (1 + usual(duration)) ** strength,

    geometric: click ** click_weight * watch ** watch_weight * satisfaction ** satisfaction_weight
    linear:    click_weight * click + watch_weight * (watch - 1) + satisfaction_weight * satisfaction

    A candidate of unknown duration counts as watched as is usual: watch = (1 + watch_seconds) ** (1 - strength).

    Args:
        config: `BlendConfig`.
        click: (N,) click probabilities.
        watch_seconds: (N,) expected watch times, not negative.
        satisfaction: (N,) satisfaction probabilities.
        durations: (N,) durations in the unit of `config.duration`, NaN where unknown; None for all unknown.

    Returns:
        (N,) float64, finite; higher is better.

    Raises:
        BlendError: If a prediction is negative, infinite or not a number, or a score would not be finite.

    Reference:
        Zheng et al., "DVR: Micro-Video Recommendation Optimizing Watch-Time-Gain under Duration Bias", ACM Multimedia 2022,
        eq. 1: the gain (w - mean of w at that duration) / deviation. Here it is taken of log(1 + w), whose deviation
        changes little with the duration: the geometric blend of a ratio is the exponential of that gain.
    """
    predictions = _capped(config.caps, dict(zip(PREDICTIONS, (click, watch_seconds, satisfaction), strict=True)))
    with np.errstate(all="ignore"):
        watch = _relative_watch(config.duration, 1 + predictions["watch_seconds"], durations)
        if config.kind == "linear":
            scores = (
                config.click_weight * predictions["click"]
                + config.watch_weight * (watch - 1)
                + config.satisfaction_weight * predictions["satisfaction"]
            )
        else:
            scores = (
                predictions["click"] ** config.click_weight
                * watch**config.watch_weight
                * predictions["satisfaction"] ** config.satisfaction_weight
            )
    is_wrong = ~np.isfinite(scores)
    if is_wrong.any():
        first = {name: float(array[is_wrong][0]) for name, array in predictions.items()}
        raise BlendError(
            f"the blended score must be finite. Received: {first} under {config}. Choose smaller or positive weights"
        )
    return scores


def _capped(caps, values_by_name):
    """Predictions that can be blended, each at most its cap."""
    predictions = {}
    for name, values in values_by_name.items():
        array = np.asarray(values, np.float64)
        is_wrong = ~(np.isfinite(array) & (array >= 0))
        if is_wrong.any():
            raise BlendError(
                f"{name} must be finite and not negative. Received: {name}={array[is_wrong][0]}. Evaluate the model"
            )
        predictions[name] = np.minimum(array, caps[name]) if name in caps else array
    return predictions


def _relative_watch(duration, watch, durations):
    """One plus the expected watch time, divided by what is usual for the duration."""
    if duration is None or duration.strength == 0:
        return watch
    durations = np.full(len(watch), np.nan) if durations is None else np.asarray(durations, np.float64)
    usual = 1 + np.interp(durations, duration.durations, duration.usual_watch_seconds)
    return watch / np.where(np.isnan(durations), watch, usual) ** duration.strength


def ranked_order(item_ids, scores):
    """Positions of candidates from best to worst.

    Args:
        item_ids: id of each candidate, all different; equal scores are ordered by it.
        scores: (N,) score of each candidate.

    Returns:
        (N,) indices into `item_ids`, whatever the order in which the candidates came.
    """
    scores = np.asarray(scores, np.float64)
    order = np.argsort(-scores, kind="stable")
    falling = scores[order]
    if (falling[1:] == falling[:-1]).any():
        # Comparing ids costs more than all the rest, and equal scores are rare.
        order = np.array(sorted(range(len(item_ids)), key=lambda place: (-scores[place], item_ids[place])), np.int64)
    return order


def diversified_order(order, scores, values, relevance):
    """Positions of candidates by maximal marginal relevance.

    Greedily the candidate i with the highest

        relevance * r_i - (1 - relevance) * max over j chosen before of [value_i = value_j]

    where r is the score on a line from 0 (worst candidate) to 1 (best). As two candidates are either alike or not, a
    candidate pays from the second of its value on, always the same: the greedy order is a sort.

    Args:
        order: (N,) indices from best to worst score; candidates of equal marginal relevance stay in this order.
        scores: (N,) score of each candidate.
        values: value of each candidate; None is like no other.
        relevance: weight of the score, in (0, 1].

    Returns:
        (N,) indices from first to last.

    Reference:
        Carbonell, Goldstein, "The Use of MMR, Diversity-Based Reranking for Reordering Documents and Producing Summaries",
        SIGIR 1998, section 2.
    """
    order = np.asarray(order, np.int64)
    if not len(order):
        return order
    # Halves, as the distance of two large scores may be no finite number.
    halves = np.asarray(scores, np.float64)[order] / 2
    is_level = halves[0] <= halves[-1]
    relevances = np.ones(len(order)) if is_level else (halves - halves[-1]) / (halves[0] - halves[-1])
    seen, is_repeated = set(), np.zeros(len(order), bool)
    for place, index in enumerate(order.tolist()):
        value = values[index]
        is_repeated[place] = value is not None and value in seen
        seen.add(value)
    marginal = relevance * relevances - (1 - relevance) * is_repeated
    return order[np.argsort(-marginal, kind="stable")]
