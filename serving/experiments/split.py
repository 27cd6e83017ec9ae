"""Which arm a user belongs to: a pure function of the user and the experiment. Pure: neither gRPC nor TensorFlow."""

import bisect
import hashlib
import itertools

from serving.experiments.config import DEFAULT_ARM

_TWO_TO_64 = 1 << 64


def unit_hash(salt, purpose, unit):
    """A number of a unit that is even over units, and independent of that of another salt or purpose.

    Args:
        salt: of the experiment.
        purpose: what the number decides.
        unit: id of a user.

    Returns:
        Float of [0, 1).

    Reference:
        Kohavi, Longbotham, Sommerfield, Henne, "Controlled experiments on the web: survey and practical guide", Data Mining
        and Knowledge Discovery 2009, section 4.1: a cryptographic hash leaves no correlation between experiments.
    """
    # Lengths go before texts, so that no two triples make the same bytes.
    parts = [part.encode() for part in (salt, purpose, unit)]
    content = b"".join(len(part).to_bytes(4, "little") + part for part in parts)
    # The 53 bits that a float holds: rounding 64 of them could reach 1.
    return (int.from_bytes(hashlib.blake2b(content, digest_size=8).digest(), "little") >> 11) / (_TWO_TO_64 >> 11)


class TrafficSplit:
    """The arm of every user, by two hashes: one says who is in the experiment, the other to which arm.

    A greater ramp lets more users in and changes no arm of those who were in: the second hash does not know the ramp.
    """

    def __init__(self, config):
        """A split.

        Args:
            config: `ExperimentConfig`; None: everybody is outside.
        """
        self._config = config
        if config is not None:
            total = sum(config.weights.values())
            self._names = list(config.weights)
            self._ends = [end / total for end in itertools.accumulate(config.weights.values())]

    def arm(self, user_id):
        """Arm of a user.

        Args:
            user_id: id of the user.

        Returns:
            Name of the arm; "default" for a user outside the experiment.
        """
        config = self._config
        if config is None or unit_hash(config.salt, "ramp", user_id) >= config.ramp:
            return DEFAULT_ARM
        place = bisect.bisect_right(self._ends, unit_hash(config.salt, "arm", user_id))
        return self._names[min(place, len(self._names) - 1)]
