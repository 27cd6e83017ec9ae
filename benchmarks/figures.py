"""What a benchmark found: figures with targets, as a table, as a JSON file, and as a block of a document."""

import dataclasses
import datetime
import importlib.metadata
import json
import os
import pathlib
import platform
import statistics

from rich.console import Console
from rich.table import Table

PROJECT = pathlib.Path(__file__).parents[1]
RESULTS = PROJECT / "benchmarks" / "results"


@dataclasses.dataclass(frozen=True)
class Figure:
    """One number that a benchmark found.

    Attributes:
        value: the median where it was measured repeatedly.
        unit: what it counts.
        at_least: target, or None.
        at_most: target, or None.
        low: least of the repeats; None for a single measurement.
        high: greatest of the repeats.
        num_repeats: how many.
    """

    value: float
    unit: str
    at_least: float | None = None
    at_most: float | None = None
    low: float | None = None
    high: float | None = None
    num_repeats: int = 1

    @classmethod
    def of_repeats(cls, values, unit, at_least=None, at_most=None):
        """Median and range of repeated measurements.

        Args:
            values: list of numbers, not empty.
            unit: what they count.
            at_least: target, or None.
            at_most: target, or None.

        Returns:
            `Figure`.

        Raises:
            ValueError: If there is no value.
        """
        if not values:
            raise ValueError("values must hold at least one measurement. Received: none")
        return cls(statistics.median(values), unit, at_least, at_most, min(values), max(values), len(values))

    @property
    def target(self):
        """Target as text, as ">= 8"; None without one."""
        bounds = [f">= {self.at_least:g}"] if self.at_least is not None else []
        bounds += [f"<= {self.at_most:g}"] if self.at_most is not None else []
        return " and ".join(bounds) or None

    @property
    def holds(self):
        """Whether the value meets the target; None without one."""
        if self.target is None:
            return None
        is_high_enough = self.at_least is None or self.value >= self.at_least
        return is_high_enough and (self.at_most is None or self.value <= self.at_most)


def table_rows(figure_by_name):
    """Figures as texts for a table.

    Args:
        figure_by_name: `Figure` by name.

    Returns:
        List of (name, value with unit, range of repeats, target, "yes", "no" or "").
    """
    rows = []
    for name, figure in figure_by_name.items():
        is_single = figure.num_repeats == 1
        range_ = "" if is_single else f"{short(figure.low)} to {short(figure.high)} of {figure.num_repeats}"
        holds = {None: "", True: "yes", False: "no"}[figure.holds]
        rows.append((name, f"{short(figure.value)} {figure.unit}", range_, figure.target or "", holds))
    return rows


def short(number):
    """A number in as few digits as tell something.

    Args:
        number: float or int.

    Returns:
        Text as "123,457", "12.3" or "0.123".
    """
    if abs(number) >= 1000:
        return f"{number:,.0f}"
    return f"{number:.3g}"


def print_figures(figure_by_name, title, console=None):
    """Prints figures as a table.

    Args:
        figure_by_name: `Figure` by name.
        title: above it.
        console: `rich.console.Console`; None for the terminal.
    """
    table = Table(title=title, title_justify="left", box=None, pad_edge=False)
    for column in ("figure", "value", "repeats", "target", "holds"):
        table.add_column(column, justify="left" if column == "figure" else "right")
    for row in table_rows(figure_by_name):
        table.add_row(*row)
    (console or Console()).print(table)


def write_result(name, figure_by_name, command, seeds, packages, folder=RESULTS):
    """Path of the JSON file of a benchmark's figures.

    Args:
        name: of the benchmark.
        figure_by_name: `Figure` by name.
        command: that produced them.
        seeds: list of seeds.
        packages: names of distributions whose versions matter.
        folder: where to write; made if missing.

    Returns:
        `pathlib.Path`.
    """
    figures = {
        key: {**dataclasses.asdict(figure), "target": figure.target, "holds": figure.holds}
        for key, figure in figure_by_name.items()
    }
    versions = {package: importlib.metadata.version(package) for package in packages}
    result = {
        "figures": figures,
        "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "versions": {"python": platform.python_version(), **versions},
        "machine": {
            "cores": len(os.sched_getaffinity(0)),
            "memory_bytes": os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"),
        },
        "seeds": list(seeds),
        "command": command,
    }
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.json"
    path.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    return path


def markdown_table(header, rows):
    """A table in Markdown.

    Args:
        header: list of texts.
        rows: list of lists of texts.

    Returns:
        Text without a final newline.
    """
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def replace_block(path, name, text):
    """Puts a text between the two comments of a document that name a benchmark.

    Args:
        path: Markdown file with `<!-- NAME: begin -->` and `<!-- NAME: end -->`.
        name: of the benchmark.
        text: what stands between them afterwards.

    Raises:
        ValueError: If the document lacks one of the comments, or has them in another order or repeatedly.
    """
    path = pathlib.Path(path)
    begin, end = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
    document = path.read_text(encoding="utf-8")
    if document.count(begin) != 1 or document.count(end) != 1 or document.index(begin) > document.index(end):
        raise ValueError(f"{path} must hold {begin} and then {end}, once each")
    before, rest = document.split(begin)
    after = rest.split(end)[1]
    path.write_text(f"{before}{begin}\n{text}\n{end}{after}", encoding="utf-8")
