"""The race as a document shows it: a table between two comments, and a plot of cost and memory by size."""

import matplotlib
from matplotlib.figure import Figure as Canvas

from benchmarks.figures import PROJECT, markdown_table, short, table_rows

PAGE = PROJECT / "docs" / "ingestion.md"
PLOT = PROJECT / "docs" / "ingestion_scale.svg"


def page_text(figure_by_name, points_by_name, command, machine):
    """Figures, and cost and memory by size, as tables in Markdown.

    Args:
        figure_by_name: `Figure` by name.
        points_by_name: by contender, list of (impressions, raw seconds, microseconds an impression, peak GiB).
        command: that produced them.
        machine: where, in words.

    Returns:
        Text.
    """
    figures = markdown_table(["figure", "value", "repeats", "target", "holds"], table_rows(figure_by_name))
    scale = markdown_table(
        ["", "impressions", "seconds", "µs an impression without start-up", "peak memory, GiB"],
        [[name, *map(short, point)] for name, points in points_by_name.items() for point in points],
    )
    return f"`{command}` on {machine}:\n\n{figures}\n\n{scale}\n\n![Cost and memory by size]({PLOT.name})"


def draw_scale(points_by_name, path=PLOT):
    """Draws cost per impression and peak memory over the number of impressions.

    Args:
        points_by_name: by contender, list of (impressions, raw seconds, microseconds an impression, peak GiB).
        path: SVG file, in the folder of the page.
    """
    # Text stays text, and ids do not change from one drawing to the next.
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "ingestion", "font.size": 11}):
        canvas = Canvas(figsize=(9, 3.6), layout="constrained")
        cost_axes, memory_axes = canvas.subplots(1, 2)
        for name, points in points_by_name.items():
            sizes, _, costs, peaks = zip(*points, strict=True)
            cost_axes.plot(sizes, costs, marker="o", label=name.replace("_", " "))
            memory_axes.plot(sizes, peaks, marker="o", label=name.replace("_", " "))
        memory_axes.axhline(4, color="grey", linestyle="--", label="target")
        for axes, label in ((cost_axes, "µs an impression"), (memory_axes, "peak memory, GiB")):
            axes.set(xscale="log", xlabel="impressions", ylabel=label)
            axes.set_ylim(bottom=0)
            axes.grid(alpha=0.3)
            axes.legend()
        canvas.savefig(path, metadata={"Date": None})
