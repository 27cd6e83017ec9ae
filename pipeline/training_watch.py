"""From a training to whoever watches the run: TFX calls the Trainer's module by its path and hands nothing through."""

import contextlib
import contextvars
from collections.abc import Iterator

_WATCHER = contextvars.ContextVar("training_watcher", default=None)


@contextlib.contextmanager
def watched_by(on_progress) -> Iterator[None]:
    """Makes a function the watcher of trainings in this process.

    Args:
        on_progress: called with a `models.progress.Progress`.

    Yields:
        None: within, trainings are watched.
    """
    token = _WATCHER.set(on_progress)
    try:
        yield
    finally:
        _WATCHER.reset(token)


def tell(progress):
    """Tells the watcher where a training is; nobody listens where each component has a process of its own.

    Args:
        progress: `models.progress.Progress`.
    """
    watcher = _WATCHER.get()
    if watcher is not None:
        watcher(progress)
