import pytest

from data.errors import DeadLetterError, LogFormatError
from models.errors import FeatureError
from pipeline.causes import one_line_cause


def raise_chain(*errors):
    """Raises the first error and every later one while it is handled; gives back the last."""
    caught = None
    for error in errors:
        try:
            raise error from caught
        except Exception as raised:
            caught = raised
    return caught


def test_own_error_in_the_chain_wins():
    error = raise_chain(KeyError("x"), LogFormatError("clicks.csv: no such column"), RuntimeError("step failed"))
    assert one_line_cause(error) == "clicks.csv: no such column"


@pytest.mark.parametrize("error_class", [LogFormatError, DeadLetterError, FeatureError])
def test_error_that_beam_quotes(error_class):
    text = f"Traceback:\n  File x\n{error_class.__module__}.{error_class.__name__}: a.gz is truncated [while running 'Read']"
    assert one_line_cause(RuntimeError(text)) == "a.gz is truncated"


def test_foreign_error_speaks_from_the_innermost():
    error = raise_chain(OSError("disk full\nmore"), RuntimeError("writing failed"))
    assert one_line_cause(error) == "OSError: disk full"


def test_foreign_error_of_a_beam_worker_is_its_last_line():
    text = "Traceback (most recent call last):\n  File \"x.py\", line 1, in f\n\nOSError: disk full [while running 'Write']\n"
    assert one_line_cause(RuntimeError(text)) == "OSError: disk full"


def test_error_without_a_message():
    assert one_line_cause(ValueError()) == "ValueError: no message"
