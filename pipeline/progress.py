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
        return table
