"""A skew watch as a terminal table of at most 80 columns, and its lines."""

from rich.table import Table
from rich.text import Text


def skew_table(report):
    """Columns with their differences, those that left their range first.

    Args:
        report: `pipeline.skew.watch.SkewReport`.

    Returns:
        `rich.table.Table`; what is not compared is a dash.
    """
    title = f"Served rows of version {report.served.version} against those that it was trained on"
    table = Table(title=title, title_justify="left", box=None, pad_edge=False)
    table.add_column("column", no_wrap=True)
    for name in ("distance", "by chance", "limit", "unknown", "missing", ""):
        table.add_column(name, justify="right", no_wrap=True)
    for column in report.columns:
        distance = ("-", "-") if column.distance is None else (f"{column.distance.value:.3f}", f"{column.distance.chance:.3f}")
        shares = ["-" if each is None else f"{100 * each.value:.1f}%" for each in (column.outside, column.missing)]
        is_skewed = column.name in report.skewed
        table.add_row(column.name, *distance, f"{column.limit:g}", *shares, Text("skewed", "red") if is_skewed else "")
    return table


def served_lines(served):
    """Which rows were compared, and which were not.

    Args:
        served: `pipeline.skew.exposed.ServedRows`.

    Returns:
        List of lines.
    """
    first, last = (f"{at:%Y-%m-%d %H:%M}" for at in served.span)
    lines = [
        f"{len(served.examples):,} rows with features of {len(set(served.users)):,} users, {first} to {last} UTC; "
        f"version {served.version} gave {served.num_answers:,} answers with {served.num_shown:,} items"
    ]
    if served.num_sampled > len(served.examples):
        lines.append(f"left out: all but the newest of {served.num_sampled:,} rows with features")
    left_out = [f"{number:,} answers of version {version}" for version, number in served.left_out.items()]
    if served.num_degraded:
        left_out.append(f"{served.num_degraded:,} degraded answers")
    if left_out:
        lines.append(f"left out: {', '.join(left_out)}")
    return lines


def verdict(report):
    """What to make of it.

    Args:
        report: `SkewReport`.

    Returns:
        One line.
    """
    num_columns = len(report.columns)
    if report.skewed:
        return f"Skew: {len(report.skewed)} of {num_columns} columns left their range: {', '.join(report.skewed)}"
    return f"No skew: none of {num_columns} columns left its range"
