"""One score from three predictions. Pure: neither gRPC nor TensorFlow."""

import math

from serving.errors import BlendError


def blended_score(weights, click, watch_seconds, satisfaction):
    """Weighted geometric blend of one candidate's predictions.

    score = click ** click_weight * (1 + watch_seconds) ** watch_weight * satisfaction ** satisfaction_weight

    Args:
        weights: `BlendConfig`, the exponents.
        click: click probability.
        watch_seconds: expected watch time, not negative.
        satisfaction: satisfaction probability.

    Returns:
        Score, finite and not negative; higher is better.

    Raises:
        BlendError: If a prediction is negative, infinite or not a number, or the score would not be finite.
    """
    for name, value in (("click", click), ("watch_seconds", watch_seconds), ("satisfaction", satisfaction)):
        if not (math.isfinite(value) and value >= 0):
            raise BlendError(f"{name} must be finite and not negative. Received: {name}={value}. Evaluate the model")
    try:
        score = (
            click**weights.click_weight
            * (1 + watch_seconds) ** weights.watch_weight
            * satisfaction**weights.satisfaction_weight
        )
    except (OverflowError, ZeroDivisionError):
        score = math.inf
    if not math.isfinite(score):
        raise BlendError(
            f"the blended score must be finite. Received: click={click}, watch_seconds={watch_seconds}, "
            f"satisfaction={satisfaction} under {weights}. Choose smaller or positive weights"
        )
    return score


def ranked_order(item_ids, scores):
    """Positions of candidates from best to worst.

    Args:
        item_ids: id of each candidate, all different; equal scores are ordered by it.
        scores: score of each candidate.

    Returns:
        List of indices into `item_ids`, whatever the order in which the candidates came.
    """
    return sorted(range(len(item_ids)), key=lambda index: (-scores[index], item_ids[index]))
