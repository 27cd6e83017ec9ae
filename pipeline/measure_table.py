"""Measures with their intervals as terminal tables of at most 80 columns."""

from rich.table import Table
from rich.text import Text

from pipeline.measuring import TITLE_BY_MEASURE


def evaluation_table(evaluation):
    """Measures of a model, and their change against the model in service.

    Args:
        evaluation: `pipeline.gate.Evaluation`.

    Returns:
        `rich.table.Table`; a measure that the rows do not define is a dash.
    """
    against = f", against {evaluation.in_service}" if evaluation.in_service else ""
    table = _table(f"Evaluation days: {evaluation.num_rows:,} rows of {evaluation.num_users:,} users{against}")
    is_compared = any(result.change for task in evaluation.tasks for result in task.measures.values())
    names = ["value", "95% interval", *(["change", "95% interval", ""] if is_compared else [])]
    for name in names:
        table.add_column(name, justify="right", no_wrap=True)
    for task in evaluation.tasks:
        for index, result in enumerate(task.measures.values()):
            cells = [*_level(result, result.estimate), *_change(result), _verdict(result)]
            table.add_row("" if index else task.label, _title(result, evaluation.ndcg_at), *cells[: len(names)])
    return table


def comparison_table(comparison):
    """Measures of two versions and their difference.

    Args:
        comparison: `pipeline.compare.Comparison`.

    Returns:
        `rich.table.Table`.
    """
    table = _table(f"B against A on {comparison.num_rows:,} rows of {comparison.num_users:,} users")
    for name in ("A", "B", "B - A", "95% interval", ""):
        table.add_column(name, justify="right", no_wrap=True)
    label = None
    for result in comparison.differences:
        cells = [_level(result, result.before)[0], _level(result, result.estimate)[0], *_change(result), _verdict(result)]
        table.add_row("" if result.label == label else result.label, _title(result, comparison.ndcg_at), *cells)
        label = result.label
    return table


def undefined_lines(evaluation):
    """Measures that the rows do not define.

    Args:
        evaluation: `Evaluation`.

    Returns:
        List of one line each, with the reason.
    """
    results = [result for task in evaluation.tasks for result in task.measures.values()]
    return [f"{result.title}: {result.reason}" for result in results if result.estimate is None]


def _table(title):
    table = Table(title=title, title_justify="left", box=None, pad_edge=False)
    for name in ("task", "measure"):
        table.add_column(name, no_wrap=True)
    return table


def _title(result, ndcg_at):
    title = TITLE_BY_MEASURE[result.name]
    return f"{title}@{ndcg_at}" if result.name == "ndcg" else title


def _level(result, estimate):
    if estimate is None:
        return "-", ""
    digits = _digits(result)
    return f"{estimate.estimate:.{digits}f}", f"{estimate.low:.{digits}f} {estimate.high:.{digits}f}"


def _change(result):
    if result.change is None:
        return "", ""
    digits, change = _digits(result), result.change
    return f"{change.estimate:+.{digits}f}", f"{change.low:+.{digits}f} {change.high:+.{digits}f}"


def _digits(result):
    return 2 if result.name.endswith("seconds") else 4


def _verdict(result):
    return Text("better", "green") if result.is_better else Text("worse", "red") if result.is_worse else ""
