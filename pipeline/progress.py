"""The live table of a run: every component with its state, time and what it did."""

import time

from rich.live import Live
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

_STYLE_BY_STATE = {"waiting": "dim", "done": "green", "cached": "cyan", "failed": "red"}


class RunTable:
    """Shows components as they run: a live table on a terminal, a line each elsewhere."""

    def __init__(self, console):
        """Starts empty.

        Args:
            console: `rich.console.Console`.
        """
        self._console = console
        self._rows = {}
        self._notes = {}
        self._running = None
        self._live = Live(console=console, get_renderable=self._render, refresh_per_second=8)

    def __enter__(self):
        if self._console.is_terminal:
            self._live.start()
        return self

    def __exit__(self, error_type, error, traceback):
        if error is not None and self._running:
            self._finish(self._running, "failed", "")
        if self._console.is_terminal:
            self._live.stop()

    def plan(self, names):
        """Lists the components of a run.

        Args:
            names: in order.
        """
        self._rows = dict.fromkeys(names, ("waiting", None, ""))

    def start(self, name):
        """Marks a component as running.

        Args:
            name: of the component.
        """
        self._running = name
        self._rows[name] = ("running", time.monotonic(), "")

    def train(self, progress):
        """Shows where the training of the running component is; the sizes of the ranker's parts first.

        Args:
            progress: `models.progress.Progress`.
        """
        if self._running not in self._notes:
            self._notes[self._running] = parts_lines(progress.parts)
            if not self._console.is_terminal:
                for line in self._notes[self._running]:
                    self._console.print(f"  {line}", soft_wrap=True, highlight=False)
        state, started_at, _ = self._rows[self._running]
        self._rows[self._running] = (state, started_at, progress_line(progress))

    def end(self, name, is_cached, detail):
        """Marks a component as finished.

        Args:
            name: of the component.
            is_cached: whether an earlier result was used.
            detail: what it did.
        """
        self._finish(name, "cached" if is_cached else "done", detail)
        self._running = None

    def _finish(self, name, state, detail):
        seconds = time.monotonic() - self._rows[name][1]
        self._rows[name] = (state, seconds, detail)
        if not self._console.is_terminal:
            self._console.print(f"{name:<18} {state:<7} {seconds:6.1f} s  {detail}", soft_wrap=True, highlight=False)

    def _render(self):
        table = Table(box=None, pad_edge=False)
        table.add_column("component", no_wrap=True)
        table.add_column("state")
        table.add_column("time", justify="right", no_wrap=True)
        table.add_column("result")
        for name, (state, seconds, detail) in self._rows.items():
            if state == "running":
                elapsed = time.monotonic() - seconds
                table.add_row(name, Spinner("dots", "running"), f"{elapsed:.0f} s", detail)
            else:
                took = "" if seconds is None else f"{seconds:.1f} s"
                table.add_row(name, Text(state, _STYLE_BY_STATE[state]), took, detail)
            for line in self._notes.get(name, ()):
                table.add_row("", "", "", Text(line, "dim"))
        return table


def parts_lines(parts):
    """What is said of the parts of a ranker.

    Args:
        parts: `models.part_sizes.PartSize`s.

    Returns:
        One line a part.
    """
    width = max(len(part.part) for part in parts)
    digits = max(len(f"{part.parameters:,}") for part in parts)
    return [
        f"{part.part:<{width}}  {part.parameters:>{digits},} parameters" + ("" if part.rank is None else f", rank {part.rank}")
        for part in parts
    ]


def progress_line(progress):
    """Where a training is, in a line.

    Args:
        progress: `models.progress.Progress`.

    Returns:
        str.
    """
    share = min(1.0, progress.num_rows / progress.total_rows)
    said = [f"{'refit, ' if progress.is_refit else ''}epoch {progress.epoch} of {progress.num_epochs}, {share:.0%}"]
    if progress.seconds_left is not None:
        said += [f"{progress.rows_per_second:,.0f} rows/s", f"{progress.seconds_left:.0f} s left"]
        said.append("loss: " + ", ".join(f"{label} {loss:.4f}" for label, loss in progress.losses.items()))
    return "; ".join(said)
