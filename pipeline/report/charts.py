"""Charts of the report: pure functions from numbers to inline SVG. Colours are the page's; shapes and dashes tell apart too."""

import dataclasses

from markupsafe import Markup

from pipeline.report.scales import Scale, round_step, scale_of, ticks
from pipeline.report.svg import drawing, element, path

WIDTH, HEIGHT = 360, 230
_LEFT, _RIGHT, _TOP, _BOTTOM = 48, 12, 30, 38
MAX_SERIES = 4
# Coordinates of an interval's row.
_ROW_HEIGHT, _NAMES_WIDTH, _PLOT_WIDTH = 26, 160, 520


@dataclasses.dataclass(frozen=True)
class Figure:
    """A chart and what stands above it.

    Attributes:
        title: what is shown; the drawing says it too, to those who hear it.
        svg: the drawing.
    """

    title: str
    svg: Markup


@dataclasses.dataclass(frozen=True)
class Series:
    """One line of a chart.

    Attributes:
        name: in the legend.
        points: (x, y) in rising order of x, finite.
    """

    name: str
    points: tuple[tuple[float, float], ...]


@dataclasses.dataclass(frozen=True)
class Interval:
    """A number with an interval around it.

    Attributes:
        name: of the row.
        estimate: number.
        low: lower end.
        high: upper end.
        judgement: "better", "worse" or "" for neither.
    """

    name: str
    estimate: float
    low: float
    high: float
    judgement: str = ""


@dataclasses.dataclass(frozen=True)
class Curve:
    """Rates that were observed where others were predicted.

    Attributes:
        name: in the legend.
        bins: `models.metrics.ReliabilityBin`s or the like: `predicted`, `observed`, `low` and `high`.
    """

    name: str
    bins: tuple


def line_chart(title, series, x_title, mark_x=None, mark_name=""):
    """Lines over a common axis.

    Args:
        title: what is shown.
        series: at most `MAX_SERIES` `Series`, one point in all at least.
        x_title: name of the axis from left to right.
        mark_x: where a vertical line stands; None for none.
        mark_name: what the line means.

    Returns:
        `Figure`.

    Raises:
        ValueError: If there are more series, or no point.
    """
    points = [point for each in series for point in each.points]
    if not points or len(series) > MAX_SERIES:
        raise ValueError(f"series must be 1 to {MAX_SERIES} with points. Received: {len(series)} with {len(points)} points")
    x_scale, y_scale = _plane([x for x, _ in points], [y for _, y in points])
    drawn = [*_grid(x_scale, y_scale), _axis_title(x_title), *_legend([each.name for each in series])]
    if mark_x is not None:
        x = x_scale(mark_x)
        drawn.append(element("line", x1=x, x2=x, y1=_TOP, y2=HEIGHT - _BOTTOM, class_="mark"))
    for index, each in enumerate(series):
        places = [(x_scale(x), y_scale(y)) for x, y in each.points]
        if len(places) > 1:
            drawn.append(element("path", d=path(places), class_=f"line s{index}"))
        # On a long line markers would hide it; the last one tells which line it is.
        marked = places if len(places) <= 12 else places[-1:]
        drawn += [_marker(index, x, y) for x, y in marked]
    told = "; ".join(f"{each.name}: {_course(each.points, x_title)}" for each in series if each.points)
    if mark_x is not None:
        told += f". {mark_name}: {x_title} {mark_x:g}"
    return Figure(title, drawing(title, told, WIDTH, HEIGHT, *drawn))


def reliability_plot(title, curves):
    """Observed against predicted rates; what is calibrated lies on the diagonal.

    Args:
        title: what is shown.
        curves: one or two `Curve`s; the first has the bars of its intervals.

    Returns:
        `Figure`.
    """
    numbers = [number for each in curves for bin_ in each.bins for number in (bin_.predicted, bin_.observed)]
    numbers += [bin_.high for bin_ in curves[0].bins]
    high = scale_of([0.0, *numbers], 0, 1).high
    size = HEIGHT - _BOTTOM - _TOP
    x_scale = Scale(0.0, high, _LEFT, WIDTH - _RIGHT)
    y_scale = Scale(0.0, high, _TOP + size, _TOP)
    ends = [(x_scale(0.0), y_scale(0.0)), (x_scale(high), y_scale(high))]
    drawn = [*_grid(x_scale, y_scale), _axis_title("predicted"), element("path", d=path(ends), class_="mark")]
    drawn += _legend([each.name for each in curves])
    for bin_ in curves[0].bins:
        x = x_scale(bin_.predicted)
        drawn.append(element("line", x1=x, x2=x, y1=y_scale(bin_.low), y2=y_scale(bin_.high), class_="whisker s0"))
    for index, each in reversed(list(enumerate(curves))):
        places = [(x_scale(bin_.predicted), y_scale(bin_.observed)) for bin_ in each.bins]
        drawn.append(element("path", d=path(places), class_=f"line thin s{index}"))
        drawn += [_marker(index, x, y) for x, y in places]
    told = "; ".join(
        f"{each.name}: predicted {bins[0].predicted:.3f} and observed {bins[0].observed:.3f} in the lowest bin, "
        f"{bins[-1].predicted:.3f} and {bins[-1].observed:.3f} in the highest"
        for each in curves
        if (bins := each.bins)
    )
    return Figure(title, drawing(title, told, WIDTH, HEIGHT, *drawn))


def interval_plot(title, rows, x_title):
    """Intervals one below the other, with a line at 0.

    Args:
        title: what is shown.
        rows: `Interval`s, at least one, all in one unit.
        x_title: name of the axis.

    Returns:
        `Figure`.
    """
    width, height = _PLOT_WIDTH, len(rows) * _ROW_HEIGHT + 48
    bottom = height - 40
    ends = [number for row in rows for number in (row.low, row.high)]
    scale = scale_of([0.0, *ends], _NAMES_WIDTH + 8, width - 24, 4)
    drawn = []
    for number, text in ticks(scale):
        x = scale(number)
        drawn.append(element("line", x1=x, x2=x, y1=4, y2=bottom, class_="mark" if number == 0 else "grid"))
        drawn.append(element("text", text, x=x, y=bottom + 15, text_anchor="middle"))
    for index, row in enumerate(rows):
        y = 4 + (index + 0.5) * _ROW_HEIGHT
        drawn.append(element("text", row.name, x=_NAMES_WIDTH, y=y + 4, text_anchor="end", class_="name"))
        drawn += _interval(row, scale, y)
    drawn.append(element("text", x_title, x=(scale.start + scale.end) / 2, y=height - 6, text_anchor="middle"))
    told = "; ".join(
        f"{row.name} {row.estimate:+.4f} ({row.low:+.4f} to {row.high:+.4f}){', ' + row.judgement if row.judgement else ''}"
        for row in rows
    )
    return Figure(title, drawing(title, told, width, height, *drawn))


def bar_chart(title, bars, x_title):
    """Vertical bars from 0.

    Args:
        title: what is shown.
        bars: (name, number of at least 0), at least one.
        x_title: name of the axis.

    Returns:
        `Figure`; where bars are many, only some names are written.
    """
    y_scale = scale_of([0.0, *(number for _, number in bars)], HEIGHT - _BOTTOM, _TOP)
    pitch = (WIDTH - _LEFT - _RIGHT) / len(bars)
    drawn = [*_rows_of_grid(y_scale), _axis_title(x_title)]
    every = -(-len(bars) // 6)
    for index, (name, number) in enumerate(bars):
        x, y = _LEFT + index * pitch, y_scale(number)
        # Few bars stay bars.
        thickness = min(0.72 * pitch, 44)
        left = x + (pitch - thickness) / 2
        drawn.append(element("rect", x=left, y=y, width=thickness, height=HEIGHT - _BOTTOM - y, class_="bar"))
        if index % every == 0:
            drawn.append(element("text", name, x=x + pitch / 2, y=HEIGHT - _BOTTOM + 14, text_anchor="middle"))
    told = "; ".join(f"{name}: {number:,.4g}" for name, number in bars)
    return Figure(title, drawing(title, told, WIDTH, HEIGHT, *drawn))


def _plane(xs, ys):
    y_scale = scale_of(ys, HEIGHT - _BOTTOM, _TOP)
    low, high = min(xs), max(xs)
    if low == high:
        low, high = low - 1, high + 1
    # Between two epochs, or two steps, lies nothing.
    return Scale(low, high, _LEFT + 8, WIDTH - _RIGHT - 8, max(1.0, round_step(high - low, 5))), y_scale


def _grid(x_scale, y_scale):
    drawn = _rows_of_grid(y_scale)
    for number, text in ticks(x_scale, 5):
        drawn.append(element("text", text, x=x_scale(number), y=HEIGHT - _BOTTOM + 14, text_anchor="middle"))
    return drawn


def _rows_of_grid(y_scale):
    drawn = []
    for number, text in ticks(y_scale):
        y = y_scale(number)
        drawn.append(element("line", x1=_LEFT, x2=WIDTH - _RIGHT, y1=y, y2=y, class_="grid"))
        drawn.append(element("text", text, x=_LEFT - 6, y=y + 4, text_anchor="end"))
    return drawn


def _axis_title(text):
    return element("text", text, x=(_LEFT + WIDTH - _RIGHT) / 2, y=HEIGHT - 6, text_anchor="middle")


def _legend(names):
    if len(names) == 1:
        return []
    drawn, x = [], float(_LEFT)
    for index, name in enumerate(names):
        drawn += [_marker(index, x + 5, 12), element("text", name, x=x + 14, y=16, class_="name")]
        x += 26 + 6.4 * len(name)
    return drawn


def _marker(index, x, y):
    class_ = f"point s{index}"
    if index == 0:
        return element("circle", cx=x, cy=y, r=3.5, class_=class_)
    if index == 1:
        return element("rect", x=x - 3.2, y=y - 3.2, width=6.4, height=6.4, class_=class_)
    corners = [(0, -4.5), (4.2, 3.2), (-4.2, 3.2)] if index == 2 else [(0, -4.6), (4.6, 0), (0, 4.6), (-4.6, 0)]
    return element("path", d=path((x + dx, y + dy) for dx, dy in corners) + "Z", class_=class_)


def _interval(row, scale, y):
    class_ = row.judgement or "neither"
    ends = [
        element("line", x1=scale(end), x2=scale(end), y1=y - 4, y2=y + 4, class_=f"whisker {class_}")
        for end in (row.low, row.high)
    ]
    body = element("line", x1=scale(row.low), x2=scale(row.high), y1=y, y2=y, class_=f"whisker {class_}")
    return [body, *ends, element("circle", cx=scale(row.estimate), cy=y, r=4.0, class_=f"point {class_}")]


def _course(points, x_title):
    (x_first, first), (x_last, last) = points[0], points[-1]
    if len(points) == 1:
        return f"{first:.4g} at {x_title} {x_first:g}"
    return f"{first:.4g} at {x_title} {x_first:g}, {last:.4g} at {x_title} {x_last:g}"


def strip(row):
    """A small picture of one interval around 0, for a cell of a table: 0 in the middle, the interval to scale.

    Args:
        row: `Interval`.

    Returns:
        SVG.
    """
    reach = max(abs(row.low), abs(row.high), abs(row.estimate)) or 1.0
    scale = Scale(-reach, reach, 6, 114)
    drawn = [element("line", x1=60, x2=60, y1=1, y2=17, class_="mark"), *_interval(row, scale, 9)]
    told = f"{row.estimate:+.4f} ({row.low:+.4f} to {row.high:+.4f})"
    return drawing(row.name, told, 120, 18, *drawn)
