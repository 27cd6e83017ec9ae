"""Expected value of a grade within 0 and 1."""

from models.heads.binary import BinaryHead


class GradedHead(BinaryHead):
    """As the binary head, with grades for labels: the cross entropy is smallest where the probability is the mean grade."""
