"""One seed a kernel, derived from the run's seed and the kernel's name."""

import zlib


def derive_seed(seed, name):
    """Seed of the initial values or the random draws of one named part.

    Two parts of one model that shared a seed would start identical and, reading the same input, stay so. Deriving from
    the name, not from the order of creation, keeps a part's initial values when parts are added beside it.

    Args:
        seed: of the layer or model around the part.
        name: of the part, unique among its siblings.

    Returns:
        Integer in [0, 2**31).
    """
    return zlib.crc32(f"{seed}/{name}".encode()) & 0x7FFFFFFF
