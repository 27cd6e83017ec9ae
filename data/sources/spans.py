"""Spans: the deliveries of a log, told apart by the number or the day that `{SPAN}` stands for in its glob."""

import dataclasses
import re

from data.errors import LogFormatError
from data.sources import files

_SPAN = "{SPAN}"
_LOGS = ("impressions", "engagements", "users", "items")
_SPAN_REGEX = r"\d{4}-\d{2}-\d{2}|\d+"


@dataclasses.dataclass(frozen=True)
class FoundFiles:
    """What an events source reads.

    Attributes:
        paths_by_log: dict from the name of the log to a non-empty list of paths; without logs that have a problem.
        spans: the spans as the impression log's paths have them, oldest first; empty without `{SPAN}`.
        problems: one-line messages of why a log has no files.
    """

    paths_by_log: dict[str, list[str]]
    spans: list[str]
    problems: list[str]


def resolve(source):
    """Files of the spans that shall be read.

    Args:
        source: `EventsSourceConfig`.

    Returns:
        `FoundFiles` without problems.

    Raises:
        LogFormatError: If a glob matches no file, the impression log has no spans where others have, `last_span` is none of
            them, or another log lacks one of them. One message names every problem.
    """
    found = find(source)
    if found.problems:
        raise LogFormatError("; ".join(found.problems))
    return found


def find(source):
    """Files of the spans that shall be read, and what keeps logs from having any.

    Args:
        source: `EventsSourceConfig`.

    Returns:
        `FoundFiles`.
    """
    pattern_by_log = {log: getattr(source, log) for log in _LOGS if getattr(source, log)}
    chosen, paths_by_log, problems = {}, {}, []
    try:
        chosen = _chosen_spans(source, [log for log, pattern in pattern_by_log.items() if _SPAN in pattern])
    except LogFormatError as error:
        problems.append(str(error))
    for log, pattern in pattern_by_log.items():
        try:
            if _SPAN not in pattern:
                paths_by_log[log] = files.match_files(_key(log), pattern)
            elif chosen:
                paths_by_log[log] = _paths_of_spans(log, pattern, chosen)
        except LogFormatError as error:
            problems.append(str(error))
    return FoundFiles(paths_by_log, list(chosen.values()), problems)


def _chosen_spans(source, with_span):
    """Name by order of the spans to read, oldest first; empty if no log has any."""
    if not with_span:
        for name in ("last_span", "num_spans"):
            if (value := getattr(source, name)) is not None:
                raise LogFormatError(f"data.source.{name} needs {_SPAN} in data.source.impressions. Received: {value}")
        return {}
    if _LOGS[0] not in with_span:
        raise LogFormatError(
            f"data.source.impressions must have {_SPAN}, as data.source.{with_span[0]} has. Received: {source.impressions}"
        )
    return _chosen(source, _paths_by_span(_LOGS[0], source.impressions))


def _paths_of_spans(log, pattern, chosen):
    found = _paths_by_span(log, pattern)
    if missing := [name for order, name in chosen.items() if order not in found]:
        raise LogFormatError(
            f"{_key(log)} must have files of every span of the impressions that is read; there are none of "
            f"{', '.join(missing[:5])}. Received: {pattern}"
        )
    return [path for order in chosen for _, path in found[order]]


def _key(log):
    return f"data.source.{log}"


def _chosen(source, found):
    """Name by order of the spans to read, oldest first."""
    name_by_order = {order: found[order][0][0] for order in sorted(found)}
    if source.last_span is not None:
        if not re.fullmatch(_SPAN_REGEX, source.last_span):
            raise LogFormatError(f"data.source.last_span must be a number or a day (YYYY-MM-DD). Received: {source.last_span}")
        last = _order(source.last_span)
        if last not in name_by_order:
            names = list(name_by_order.values())
            raise LogFormatError(
                f"data.source.last_span must be a span of the impressions, which are {names[0]} to {names[-1]}. "
                f"Received: {source.last_span}"
            )
        name_by_order = {order: name for order, name in name_by_order.items() if order <= last}
    return dict(list(name_by_order.items())[-(source.num_spans or len(name_by_order)) :])


def _paths_by_span(log, pattern):
    """Pairs (span as in the path, path) by the order of their span."""
    paths = files.match_files(_key(log), pattern.replace(_SPAN, "*"))
    regex = re.compile(_regex(pattern))
    found = {}
    for path in paths:
        if matched := regex.fullmatch(path):
            found.setdefault(_order(matched["span"]), []).append((matched["span"], path))
    if not found:
        raise LogFormatError(f"{_key(log)}: {_SPAN} must stand for a number or a day (YYYY-MM-DD). Received: {paths[0]}")
    if len({kind for kind, _ in found}) > 1:
        names = [pairs[0][0] for _, pairs in sorted(found.items())]
        raise LogFormatError(
            f"{_key(log)}: {_SPAN} must stand for numbers or for days, not both. Received: {names[0]}, {names[-1]}"
        )
    return found


def _order(span):
    """What spans are sorted and compared by: 007 and 7 are one span."""
    return ("day", span) if "-" in span else ("number", int(span))


def _regex(pattern):
    """Regular expression of the paths that a glob names, with the span as a group."""
    # Stars take as little as they can: what they could share with the span is the span's.
    parts = []
    for token in re.findall(r"\{SPAN\}|\*\*/?|\*|\?|\[[^]]*\]|.", pattern, re.DOTALL):
        if token == _SPAN:
            parts.append("(?P=span)" if f"(?P<span>{_SPAN_REGEX})" in parts else f"(?P<span>{_SPAN_REGEX})")
        elif token in ("**", "**/"):
            parts.append(".*?")
        elif token == "*":
            parts.append("[^/]*?")
        elif token == "?":
            parts.append("[^/]")
        elif token.startswith("["):
            parts.append("[^" + token[2:] if token.startswith("[!") else token)
        else:
            parts.append(re.escape(token))
    return "".join(parts)
