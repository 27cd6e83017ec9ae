"""What would keep every request waiting at once."""

import gc


def spare_pauses():
    """Takes what is in memory now out of Python's search for garbage.

    The search stops all threads, a fifth of a second for the million objects that TensorFlow alone brings. To be called once a
    service has loaded what it keeps; what comes later is searched as ever. What refers to itself in circles and is there now
    stays to the end of the process, the description of a first model's graph, but not the model.
    """
    gc.collect()
    gc.freeze()
