import io
import json
import re

import pytest
from rich.console import Console

from benchmarks import figures
from benchmarks.figures import Figure
from benchmarks.ingest.report import PLOT, draw_scale, page_text


def test_a_figure_is_a_median_with_its_range():
    figure = Figure.of_repeats([3.0, 1.0, 10.0], "s", at_most=4)
    assert (figure.value, figure.low, figure.high, figure.num_repeats) == (3.0, 1.0, 10.0, 3)
    assert (figure.target, figure.holds) == ("<= 4", True)
    with pytest.raises(ValueError, match=r"values must hold at least one measurement"):
        Figure.of_repeats([], "s")


@pytest.mark.parametrize(
    ("bounds", "value", "target", "holds"),
    [
        ({}, 1.0, None, None),
        ({"at_least": 8}, 8.0, ">= 8", True),
        ({"at_least": 8}, 7.9, ">= 8", False),
        ({"at_most": 4}, 4.1, "<= 4", False),
        ({"at_least": 1, "at_most": 2}, 1.5, ">= 1 and <= 2", True),
    ],
)
def test_targets(bounds, value, target, holds):
    figure = Figure(value, "x", **bounds)
    assert (figure.target, figure.holds) == (target, holds)


def test_result_file(tmp_path):
    found = {"speed": Figure(9.0, "x", at_least=8), "startup": Figure(1.5, "s")}
    path = figures.write_result("race", found, "python -m benchmarks.race", [0, 1], ["numpy"], tmp_path)
    assert path == tmp_path / "race.json"
    result = json.loads(path.read_text())
    assert set(result) == {"figures", "date", "versions", "machine", "seeds", "command"}
    assert result["figures"]["speed"]["value"] == 9.0
    assert result["figures"]["speed"]["target"] == ">= 8"
    assert result["figures"]["speed"]["holds"] is True
    assert result["figures"]["startup"]["holds"] is None
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00", result["date"])
    assert set(result["versions"]) == {"python", "numpy"}
    assert (result["seeds"], result["command"]) == ([0, 1], "python -m benchmarks.race")


def test_table():
    console = Console(file=io.StringIO(), width=120)
    figures.print_figures({"speed": Figure.of_repeats([7.0, 9.0, 8.5], "x", at_least=8)}, "Race", console)
    lines = console.file.getvalue().splitlines()
    assert lines[0].strip() == "Race"
    assert lines[2].split() == ["speed", "8.5", "x", "7", "to", "9", "of", "3", ">=", "8", "yes"]


@pytest.mark.parametrize(("number", "text"), [(123_456.7, "123,457"), (12.345, "12.3"), (0.12345, "0.123"), (0, "0")])
def test_short(number, text):
    assert figures.short(number) == text


def test_block_of_a_document(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("Before\n<!-- race: begin -->\nold\n<!-- race: end -->\nAfter\n")
    figures.replace_block(page, "race", "new")
    figures.replace_block(page, "race", "newer")
    assert page.read_text() == "Before\n<!-- race: begin -->\nnewer\n<!-- race: end -->\nAfter\n"
    page.write_text("<!-- race: end --><!-- race: begin -->")
    with pytest.raises(ValueError, match=r"page.md must hold <!-- race: begin --> and then <!-- race: end -->, once each"):
        figures.replace_block(page, "race", "new")


def test_page_and_plot(tmp_path):
    plot = tmp_path / "scale.svg"
    points = {"ours": [(100_000, 3.0, 9.0, 1.0), (1_000_000, 12.0, 9.5, 2.0)]}
    text = page_text({"speed": Figure(9.0, "x", at_least=8)}, points, "python -m benchmarks.ingest", "2 cores")
    assert text.startswith("`python -m benchmarks.ingest` on 2 cores:")
    assert "| speed | 9 x |  | >= 8 | yes |" in text
    assert "| ours | 1,000,000 | 12 | 9.5 | 2 |" in text
    assert f"]({PLOT.name})" in text
    draw_scale(points, plot)
    first = plot.read_bytes()
    assert b"<svg" in first
    assert b"peak memory, GiB" in first
    draw_scale(points, plot)
    assert plot.read_bytes() == first
