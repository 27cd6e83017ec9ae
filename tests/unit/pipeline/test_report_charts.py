import itertools
import math
import re
import xml.etree.ElementTree as ET

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.measures.probability import ReliabilityBin
from pipeline.report.charts import (
    Curve,
    Interval,
    Series,
    bar_chart,
    interval_plot,
    line_chart,
    reliability_plot,
    strip,
)
from pipeline.report.scales import Scale, scale_of, ticks

NUMBERS = st.floats(-1e6, 1e6, allow_nan=False).filter(lambda x: x == 0 or abs(x) > 1e-6)


def parsed(svg):
    return ET.fromstring(str(svg))


def of_class(tree, tag, *names):
    return [each for each in tree.iter(tag) if set(names) <= set(each.get("class", "").split())]


def number(element, name):
    return float(element.get(name))


def texts(tree):
    return [each.text for each in tree.iter("text")]


@settings(deadline=None)
@given(st.lists(NUMBERS, min_size=1, max_size=20))
def test_a_scale_holds_all_values_between_ticks_at_its_ends(values):
    scale = scale_of(values, 0.0, 100.0)
    slack = 1e-6 * max(1e-9, scale.high - scale.low)
    assert scale.low - slack <= min(values) <= max(values) <= scale.high + slack
    numbers = [tick for tick, _ in ticks(scale)]
    assert len(numbers) in range(2, 8)
    steps = [second - first for first, second in itertools.pairwise(numbers)]
    assert all(math.isclose(step, steps[0], rel_tol=1e-6) for step in steps)
    # 1, 2 or 5 times a power of ten.
    assert round(steps[0] / 10 ** math.floor(math.log10(steps[0]) + 1e-9), 6) in (1, 2, 5)
    assert math.isclose(numbers[0], scale.low, abs_tol=slack)
    assert math.isclose(numbers[-1], scale.high, abs_tol=slack)


@pytest.mark.parametrize(
    ("low", "high", "written"),
    [
        (0.0, 1.0, ["0.0", "0.5", "1.0"]),
        (0.56, 0.64, ["0.56", "0.58", "0.60", "0.62", "0.64"]),
        (-0.01, 0.01, ["−0.010", "−0.005", "0.000", "0.005", "0.010"]),
        (0.0, 60_000.0, ["0", "20,000", "40,000", "60,000"]),
        (0.0, 4e-4, ["0", "1e−04", "2e−04", "3e−04", "4e−04"]),
    ],
)
def test_ticks_have_the_decimals_that_they_need(low, high, written):
    assert [text for _, text in ticks(Scale(low, high, 0, 1))] == written


def test_a_line_runs_through_its_points():
    tree = parsed(line_chart("click, loss", [Series("training", ((1, 4.0), (2, 2.0), (3, 0.0)))], "epoch", 2, "kept").svg)
    [first, second, third] = [(number(each, "cx"), number(each, "cy")) for each in of_class(tree, "circle", "point", "s0")]
    # Evenly to the right, evenly down, as the values go.
    assert second[0] - first[0] == pytest.approx(third[0] - second[0], abs=0.11)
    assert second[1] - first[1] == pytest.approx(third[1] - second[1], abs=0.11)
    assert second[0] > first[0]
    assert second[1] > first[1]
    [line] = of_class(tree, "path", "line")
    drawn = [tuple(map(float, pair)) for pair in re.findall(r"([\d.]+) ([\d.]+)", line.get("d"))]
    assert drawn == [pytest.approx(place, abs=0.06) for place in (first, second, third)]
    [mark] = of_class(tree, "line", "mark")
    assert number(mark, "x1") == pytest.approx(second[0], abs=0.06)
    # The value of a point is the one of the tick at its height.
    heights = {text.text: number(text, "y") - 4 for text in tree.iter("text") if text.get("text-anchor") == "end"}
    assert heights["4"] == pytest.approx(first[1], abs=0.11)
    assert heights["2"] == pytest.approx(second[1], abs=0.11)


def test_lines_are_told_apart_without_colour():
    points = ((1, 1.0), (2, 2.0))
    tree = parsed(line_chart("x", [Series(name, points) for name in "abcd"], "epoch").svg)
    assert {"a", "b", "c", "d"} <= set(texts(tree))
    markers = [{(each.tag, len(each.get("d", "").split("L"))) for each in tree.iter() if f"point s{i}" == each.get("class")}
               for i in range(4)]  # fmt: skip
    assert len({frozenset(each) for each in markers}) == 4


def test_a_chart_has_a_title_and_says_its_numbers():
    tree = parsed(line_chart("click, loss", [Series("training", ((1, 0.75), (3, 0.5)))], "epoch", 3, "kept").svg)
    assert tree.get("role") == "img"
    assert tree.find("title").text == "click, loss"
    assert tree.find("desc").text == "training: 0.75 at epoch 1, 0.5 at epoch 3. kept: epoch 3"


def test_text_is_escaped():
    name = '<script>"&'
    chart = bar_chart(name, [(name, 1.0)], name)
    assert "<script" not in chart.svg
    assert parsed(chart.svg).find("title").text == name


@pytest.mark.parametrize("series", [[], [Series("a", ())], [Series("a", ((0, 0.0),))] * 5])
def test_a_chart_of_nothing_or_too_much_is_refused(series):
    with pytest.raises(ValueError, match=r"^series must be 1 to 4 with points\. Received: \d with \d points$"):
        line_chart("x", series, "epoch")


def test_a_single_point_is_a_chart():
    tree = parsed(line_chart("x", [Series("a", ((1, 0.5),))], "epoch").svg)
    assert len(of_class(tree, "circle", "point")) == 1
    assert not of_class(tree, "path", "line")


def test_what_is_calibrated_lies_on_the_diagonal():
    bins = tuple(ReliabilityBin(rate, rate, rate - 0.05, rate + 0.05, 100.0) for rate in (0.1, 0.3, 0.92))
    off = tuple(ReliabilityBin(0.5, rate, rate, rate, 100.0) for rate in (0.2, 0.4))
    tree = parsed(reliability_plot("click", [Curve("as served", bins), Curve("before calibration", off)]).svg)
    [diagonal] = of_class(tree, "path", "mark")
    (x0, y0), (x1, y1) = [tuple(map(float, pair)) for pair in re.findall(r"([\d.]+) ([\d.]+)", diagonal.get("d"))]
    points = of_class(tree, "circle", "point", "s0")[-3:]
    whiskers = of_class(tree, "line", "whisker")
    assert len(whiskers) == 3
    for rate, point, whisker in zip((0.1, 0.3, 0.92), points, whiskers, strict=True):
        assert number(point, "cx") == pytest.approx(x0 + rate * (x1 - x0), abs=0.11)
        assert number(point, "cy") == pytest.approx(y0 + rate * (y1 - y0), abs=0.11)
        assert number(whisker, "y1") == pytest.approx(y0 + (rate - 0.05) * (y1 - y0), abs=0.11)
        assert number(whisker, "y2") == pytest.approx(y0 + (rate + 0.05) * (y1 - y0), abs=0.11)
    assert "before calibration: predicted 0.500 and observed 0.200 in the lowest bin" in tree.find("desc").text


def test_intervals_stand_on_the_side_of_zero_on_which_they_are():
    rows = [Interval("click AUC", 0.006, 0.004, 0.008, "better"), Interval("watch XAUC", -0.003, -0.005, -0.001, "worse"),
            Interval("grade", 0.0, -0.001, 0.001)]  # fmt: skip
    tree = parsed(interval_plot("changes", rows, "change").svg)
    [zero] = [number(each, "x1") for each in of_class(tree, "line", "mark")]
    for row, judged in zip(rows, ("better", "worse", "neither"), strict=True):
        [point] = of_class(tree, "circle", judged)
        ends = sorted({number(each, name) for each in of_class(tree, "line", judged) for name in ("x1", "x2")})
        assert len(ends) == 2
        assert (number(point, "cx") > zero) == (row.estimate > 0)
        assert (ends[0] > zero, ends[1] < zero) == (row.low > 0, row.high < 0)
        assert number(point, "cx") == pytest.approx(sum(ends) / 2, abs=0.11)
    assert "watch XAUC -0.0030 (-0.0050 to -0.0010), worse" in tree.find("desc").text


def test_a_strip_has_zero_in_its_middle_and_its_interval_to_scale():
    tree = parsed(strip(Interval("change", 0.5, -0.5, 1.0)))
    ends = sorted({number(each, name) for each in of_class(tree, "line", "neither") for name in ("x1", "x2")})
    assert ends == [pytest.approx(33), pytest.approx(114)]
    assert number(of_class(tree, "circle", "neither")[0], "cx") == pytest.approx(87)
    assert parsed(strip(Interval("none", 0.0, 0.0, 0.0))) is not None


def test_bars_are_as_high_as_their_numbers():
    tree = parsed(bar_chart("rows", [("a", 10.0), ("b", 20.0), ("c", 0.0)], "day").svg)
    heights = [number(each, "height") for each in of_class(tree, "rect", "bar")]
    assert heights[1] == pytest.approx(2 * heights[0], abs=0.11)
    assert heights[2] == 0
    assert tree.find("desc").text == "a: 10; b: 20; c: 0"


def test_of_many_bars_some_are_named():
    tree = parsed(bar_chart("rows", [(f"day{index}", 1.0) for index in range(40)], "day").svg)
    assert len(of_class(tree, "rect", "bar")) == 40
    assert len([text for text in texts(tree) if text.startswith("day") and text != "day"]) <= 6
