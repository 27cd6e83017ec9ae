import dataclasses
import html.parser
import re

import pyarrow as pa
import pytest

from data.report import LABEL_COUNTS_SCHEMA
from models.warm_start_report import WarmStartReport
from pipeline.config import Config
from pipeline.report.page import render
from pipeline.report.run_report import STOPPED, Verdict
from pipeline.report.tables import label_tables
from tests.unit.pipeline import chromium
from tests.unit.pipeline.made_up_run import evaluation, first_run, held_back, labels, run_report, task_result

VOID = {"meta", "link", "br"}


class Page(html.parser.HTMLParser):
    """Elements of a page, its text by element, and whether all are closed in order."""

    def __init__(self, text):
        super().__init__()
        self.elements, self.open, self.cells, self.items = [], [], [], []
        self._into = None
        self.feed(text)
        self.close()
        assert not self.open, f"left open: {self.open}"

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)
        if tag in ("td", "th", "li", "h1", "caption"):
            self._into = self.cells if tag in ("td", "th") else self.items
            self._into.append("")

    def handle_endtag(self, tag):
        assert self.open.pop() == tag
        if tag in ("td", "th", "li", "h1", "caption"):
            self._into = None

    def handle_data(self, data):
        if self._into is not None:
            self._into[-1] = f"{self._into[-1]} {data}".strip()


@pytest.fixture
def stopped(config):
    verdict = Verdict(STOPPED, reasons=("Trainer: failed",))
    nothing = dict.fromkeys(("counts", "labels", "previous_labels", "history", "evaluation"))
    return run_report(config, verdict=verdict, slices=(), uncalibrated={}, anomalies=(), **nothing)


@pytest.fixture(params=["pushed", "held back", "first", "stopped"])
def any_run(request, config, stopped):
    return {"pushed": run_report, "held back": held_back, "first": first_run, "stopped": lambda _: stopped}[request.param](
        config
    )


def test_the_page_is_whole_and_asks_for_nothing(any_run):
    page = Page(render(any_run))
    tags = [tag for tag, _ in page.elements]
    assert {"script", "img", "iframe", "object"}.isdisjoint(tags)
    asked = [attrs[name] for _, attrs in page.elements for name in ("src", "href") if name in attrs]
    assert asked
    assert all(address.startswith("#") or address == "data:," for address in asked)
    assert "url(" not in render(any_run)
    assert "@import" not in render(any_run)
    ids = {attrs["id"] for _, attrs in page.elements if "id" in attrs}
    assert {address[1:] for address in asked if address.startswith("#")} <= ids


def test_the_verdict_comes_first_with_its_reasons(config):
    page = Page(render(held_back(config)))
    assert page.items[0] == "Not pushed"
    assert page.items[1].startswith("watch_seconds XAUC fell by 0.0034 (0.0011 to 0.0055) against the model in service")
    assert Page(render(run_report(config))).items[0] == "Pushed as version 18"


def test_a_run_that_stopped_tells_what_there_is(stopped):
    page = Page(render(stopped))
    assert page.items[:2] == ["Stopped before the end", "Trainer: failed"]
    assert "Components" in page.items
    assert not any(tag == "svg" for tag, _ in page.elements)


def test_numbers_stand_in_the_tables(config):
    cells = Page(render(run_report(config))).cells
    at = cells.index("AUC gated")
    assert cells[at + 1 : at + 5] == ["0.7412", "0.7372 to 0.7452", "0.7351", "+0.0061 better"]
    # Less log loss is better.
    at = cells.index("log loss")
    assert cells[at + 4] == "−0.0061 better"
    at = cells.index("impressions read")
    assert cells[at + 1] == "612,044"
    at = cells.index("dead lettered")
    assert cells[at + 1 : at + 3] == ["8", "0.00%"]
    assert "no list has a gain" in " ".join(cells)
    at = cells.index("click small tower")
    assert cells[at + 1 : at + 3] == ["65", "1"]
    at = cells.index("5 kept")
    assert (
        cells[at + 1]
        == f"{0.62 * (0.9 + 0.12 * 2.718281828459045**-2):.4f} {0.62 * (0.92 + 0.1 * 2.718281828459045**-4 + 0.008):.4f}"
    )


def test_label_rates_are_told_with_their_change(config):
    cells = Page(render(run_report(config))).cells
    at = cells.index("search")
    # The next row of that name is the slice; the labels are in a later table.
    at = cells.index("search", at + 1)
    assert re.fullmatch(r"3\d\.\d\d% −1\.00", cells[at + 2])
    assert cells[at + 4] == "9.00% 0.00"


def test_without_a_model_in_service_nothing_is_compared(config):
    text = render(first_run(config))
    assert "There was no model in service to compare with." in text
    assert "version 17" not in text
    assert "its 95% interval" not in text


def test_days_that_the_model_in_service_has_seen_are_told_of(config):
    """Slices are of all rows, so that none of their changes is shown."""
    line = "changes, and the values of version 17, are of the rows from 2026-01-05 on, which it has not seen"
    report = run_report(config)
    partly = dataclasses.replace(report.evaluation, caveat=line)
    report = dataclasses.replace(report, evaluation=partly, verdict=dataclasses.replace(report.verdict, notes=partly.notes))
    page = Page(render(report))
    assert line in page.items
    assert "the change against version 17 stands behind" not in render(report)
    assert "+0.0012" not in " ".join(page.cells)
    assert "+0.0012" in " ".join(Page(render(run_report(config))).cells)


def test_a_comparison_that_was_void_is_not_told_as_a_first_model(config):
    report = run_report(config, evaluation=dataclasses.replace(evaluation(config, in_service=""), caveat="no comparison"))
    text = render(report)
    assert "No task missed a floor; with the model in service there was no comparison." in text
    assert "There was no model in service" not in text


def test_a_warm_start_that_was_none_says_why(config):
    report = run_report(config)
    cold = WarmStartReport("/models/17", {}, 0, {}, "it has no assets.extra/inputs.json")
    text = render(dataclasses.replace(report, history=dataclasses.replace(report.history, warm_start=cold)))
    assert "Began anew and not from <code>/models/17</code>, as it has no assets.extra/inputs.json." in text
    assert "taken over" not in text
    assert "variables taken over whole" in render(report)
    unfit = dataclasses.replace(cold, kept_initial={"tower_click": "absent before"}, obstacle="nothing of it fits")
    page = Page(render(dataclasses.replace(report, history=dataclasses.replace(report.history, warm_start=unfit))))
    assert "tower_click began anew: absent before" in page.items


def test_text_of_the_run_cannot_become_markup(tree):
    hostile = '"><script>alert(1)</script>'
    tree["job"]["root"] = f"/runs/{hostile}"
    report = run_report(Config.model_validate(tree), anomalies=(hostile,))
    text = render(report)
    assert "<script" not in text
    assert hostile in Page(text).items


def test_a_value_that_is_not_defined_says_why(config):
    report = run_report(config)
    task = task_result(config.model.tasks[0], "")
    missing = dataclasses.replace(task.measures["auc"], estimate=None, reason="all labels are of one class")
    task = dataclasses.replace(task, measures={**task.measures, "auc": missing}, reliability=())
    text = render(dataclasses.replace(report, evaluation=dataclasses.replace(report.evaluation, tasks=(task,))))
    assert text.count("all labels are of one class") == 2


def test_every_chart_can_be_heard(config):
    page = Page(render(run_report(config)))
    charts = [attrs for tag, attrs in page.elements if tag == "svg"]
    assert len(charts) > 12
    assert all(each["role"] == "img" and len(each["aria-label"]) > 20 for each in charts)
    tags = [tag for tag, _ in page.elements]
    assert tags.count("title") == len(charts) + 1
    assert tags.count("desc") == len(charts)


@pytest.mark.skipif(chromium.PROGRAM is None, reason="chromium is not installed: the page is not looked at here")
def test_a_browser_does_not_complain_and_nothing_overflows(config, stopped, tmp_path):
    pages = {"pushed": run_report(config), "held": held_back(config), "first": first_run(config), "stopped": stopped}
    with chromium.Chromium(tmp_path / "profile") as browser:
        for name, report in pages.items():
            path = tmp_path / f"{name}.html"
            path.write_text(render(report), encoding="utf-8")
            for width in (1280, 400):
                for is_dark in (False, True):
                    browser.open(path, width, 900, is_dark)
                    assert browser.complaints == [], name
                    assert browser.requests[0] == f"file://{path}"
                    assert all(address == "data:," for address in browser.requests[1:])
                    assert browser.overflow() == [0, []], (name, width)
                    assert browser.value("innerWidth") == width
                    paper = browser.value("getComputedStyle(document.body).backgroundColor")
                    assert paper == ("rgb(15, 18, 22)" if is_dark else "rgb(255, 255, 255)")


@pytest.mark.skipif(chromium.PROGRAM is None, reason="chromium is not installed: the page is not looked at here")
def test_the_browser_would_complain_and_measure(tmp_path):
    """What the test above relies on."""
    path = tmp_path / "bad.html"
    path.write_text('<body><div style="width: 900px">x</div><img src="absent.png"><script>throw Error("x")</script>')
    with chromium.Chromium(tmp_path / "profile") as browser:
        browser.open(path, 400, 900)
        assert {each["method"] for each in browser.complaints} == {"Log.entryAdded", "Runtime.exceptionThrown"}
        pixels, [wide] = browser.overflow()
        assert pixels > 400
        assert wide.startswith('<div style="width: 900px">')
        assert browser.requests[1:] == [f"file://{tmp_path}/absent.png"]


def test_of_many_days_the_last_ones_are_shown():
    line = labels().to_pylist()[0]
    days = [f"2026-01-{day:02d}" for day in range(1, 26)]
    table = label_tables(pa.Table.from_pylist([{**line, "day": day} for day in days], schema=LABEL_COUNTS_SCHEMA), None)[1]
    assert [row[0].text for row in table.rows] == ["all rows", *days[-20:]]
    assert table.caption == "Labels by day: 20 of 25"
