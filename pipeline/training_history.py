"""The history of a training as an artifact: written by the Trainer, read by the terminal and the report."""

from pathlib import Path

from models.history import from_json, to_json

HISTORY_FILE = "history.json"


def write_history(history, folder):
    """Writes a history.

    Args:
        history: `models.history.History`.
        folder: local, of the Trainer's artifact `model_run`; made if absent.
    """
    Path(folder).mkdir(parents=True, exist_ok=True)
    Path(folder, HISTORY_FILE).write_text(to_json(history), encoding="utf-8")


def read_history(folder):
    """History of a training.

    Args:
        folder: of the Trainer's artifact `model_run`.

    Returns:
        `models.history.History`.
    """
    return from_json(Path(folder, HISTORY_FILE).read_text(encoding="utf-8"))
