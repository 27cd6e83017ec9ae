"""Chained tasks: the probability of a label that presupposes another.

Shapes: B batch.
"""

import tensorflow as tf


def joint_logits(parent, child):
    """Logit of the product of two probabilities, from their logits.

    A head that takes it for its own logit trains and serves the product: its cross entropy is that of the product, and its
    gradient reaches both. No probability is formed on the way, so that neither end rounds to 0 or 1.

    Args:
        parent: (batch,) float, logits of the first label.
        child: (batch,) float, logits of the second label given the first.

    Returns:
        (batch,) float, logits of both labels together.

    Reference:
        Ma et al., "Entire Space Multi-Task Model: An Effective Approach for Estimating Post-Click Conversion Rate", SIGIR
        2018, eq. 1: pCTCVR = pCTR x pCVR. With a and b the logits, (1 - p) / p = e^-a + e^-b + e^-(a+b), so
        logit p = -logsumexp(-a, -b, -a-b).
    """
    return -tf.reduce_logsumexp(tf.stack([-parent, -child, -parent - child]), axis=0)
