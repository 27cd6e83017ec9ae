"""From the exception that a framework raised to the one line that a person needs."""

import re

from data.errors import DataError
from models.errors import ModelError

_TRACEBACK = "Traceback (most recent call last):"
_BEAM_STEP = re.compile(r"\s*\[while running '[^']*'\]")


def one_line_cause(error):
    """Says in one line what went wrong at the root of an exception.

    An error of this project anywhere in the chain wins; Beam quotes errors of its workers in its own message, so that
    is searched too. Otherwise the innermost exception speaks.

    Args:
        error: the exception that was caught.

    Returns:
        One line.
    """
    chain = _chain(error)
    for link in chain:
        if isinstance(link, DataError | ModelError):
            return _first_line(str(link))
    for link in chain:
        quoted = _quoted_error(str(link))
        if quoted:
            return quoted
    innermost = chain[-1]
    text = str(innermost)
    if text.startswith(_TRACEBACK):
        # Beam's workers send their error as a whole traceback, whose last unindented line names it.
        return _first_line([line for line in text.splitlines() if line and not line.startswith((" ", _TRACEBACK))][-1])
    return f"{type(innermost).__name__}: {_first_line(text)}"


def _chain(error):
    chain = []
    while error is not None and error not in chain:
        chain.append(error)
        error = error.__cause__ or error.__context__
    return chain


def _quoted_error(text):
    names = "|".join(cls.__name__ for base in (DataError, ModelError) for cls in (base, *base.__subclasses__()))
    found = re.search(rf"^(?:[\w.]*\.)?(?:{names}): (.+)$", text, re.MULTILINE)
    return _first_line(found.group(1)) if found else None


def _first_line(text):
    lines = [line for line in _BEAM_STEP.sub("", text).strip().splitlines() if line.strip()]
    return lines[0].strip() if lines else "no message"
