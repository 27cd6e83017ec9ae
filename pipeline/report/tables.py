"""Tables of the report, from what a run left to cells of text."""

import dataclasses

from markupsafe import Markup

from data.counts import LOGS, OUTCOMES_BY_LOG
from data.report import rates
from pipeline.measuring import TITLE_BY_MEASURE
from pipeline.report.charts import Interval, strip
from pipeline.report.numbers import NONE, duration, fixed, percent, short, signed, whole

# Of a column with many values; the page says that there are more.
MAX_BUCKETS = 20
_RATES = {
    "click_rate": ("clicked", percent),
    "mean_watch_seconds": ("watched, s", lambda x: fixed(x, 2)),
    "satisfaction_rate": ("satisfied", percent),
}


@dataclasses.dataclass(frozen=True)
class Cell:
    """One cell.

    Attributes:
        text: what it says.
        detail: said more quietly behind it.
        judgement: "better", "worse" or "" for neither.
        picture: SVG beside the text; None for none.
        is_part: of a row's name, whether the row is a part of one above.
    """

    text: str
    detail: str = ""
    judgement: str = ""
    picture: Markup | None = None
    is_part: bool = False


@dataclasses.dataclass(frozen=True)
class Table:
    """One table; the first column names the rows, the others are numbers unless `is_text` says so.

    Attributes:
        caption: what the table shows.
        head: names of the columns.
        rows: tuples of `Cell`s, as many as names.
        is_text: whether all columns are text.
    """

    caption: str
    head: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    is_text: bool = False


def fates_table(counts):
    """Where the records of every log went.

    Args:
        counts: `data.counts.Counts`.

    Returns:
        `Table`; outcomes without a record, and logs that were not read, are left out.
    """
    rows = []
    for log in LOGS:
        num_read = getattr(counts, f"{log}_read")
        if num_read:
            rows.append(_row(f"{log} read", whole(num_read), ""))
            by_outcome = {outcome: getattr(counts, f"{log}_{outcome}") for outcome in OUTCOMES_BY_LOG[log]}
            rows += [
                _part(outcome.replace("_", " "), whole(number), percent(number / num_read))
                for outcome, number in by_outcome.items()
                if number
            ]
    reasons = [_part(name.replace(".", ": ").replace("_", " "), whole(n), "") for name, n in counts.reasons.items()]
    if reasons:
        rows += [_row("why records could not be read", "", ""), *reasons]
    return Table("Where every record went", ("records", "number", "share of the log"), tuple(rows))


def label_tables(labels, previous):
    """Label rates of all rows, by surface and by day.

    Args:
        labels: table of `data.report.LABEL_COUNTS_SCHEMA`.
        previous: of the run before; None where there was none.

    Returns:
        List of `Table`s; a change against the run before stands behind its rate.
    """
    tables = []
    for by, caption in (("surface", "Labels by surface"), ("day", "Labels by day")):
        before = {} if previous is None else {line[by]: line for line in rates(previous, by).to_pylist()}
        lines = rates(labels, by).to_pylist()
        # The surfaces with the most rows, and the last days.
        shown = sorted(lines, key=lambda line: -line["impressions"])[:MAX_BUCKETS] if by == "surface" else lines[-MAX_BUCKETS:]
        rows = [_label_row("all rows", rates(labels).to_pylist()[0], rates(previous).to_pylist()[0] if previous else {})]
        rows += [_label_row(line[by] or "unknown", line, before.get(line[by], {})) for line in shown]
        head = (by, "impressions", *(title for title, _ in _RATES.values()))
        tables.append(Table(_and_more(caption, lines), head, tuple(rows)))
    return tables


def measures_table(task, in_service):
    """All measures of a task.

    Args:
        task: `pipeline.gate.TaskResult`.
        in_service: what the model was compared with; empty for none.

    Returns:
        `Table`.
    """
    rows = []
    for result in task.measures.values():
        name = Cell(TITLE_BY_MEASURE[result.name], "gated" if result.name == task.gate.measure else "")
        if result.estimate is None:
            cells = [name, Cell(NONE, result.reason), Cell("")] + ([Cell("")] * 3 if in_service else [])
        else:
            decimals = 2 if result.name.endswith("seconds") else 4
            interval = f"{fixed(result.estimate.low, decimals)} to {fixed(result.estimate.high, decimals)}"
            cells = [name, Cell(fixed(result.value, decimals)), Cell(interval)]
            cells += _compared(result, decimals) if in_service else []
        rows.append(tuple(cells))
    head = ("measure", "this model", "95% interval")
    head += (in_service, "change", "its 95% interval") if in_service else ()
    return Table(f"{task.label}, {whole(task.num_rows)} rows", head, tuple(rows))


def judgement(result):
    """Whether a change is one, in a word.

    Args:
        result: `pipeline.measuring.MeasureResult`.

    Returns:
        "better", "worse", or "" where the interval of the change holds 0 or there is none.
    """
    return "better" if result.is_better else "worse" if result.is_worse else ""


def slice_tables(slices, evaluation):
    """Tasks within slices, each by the measure of its gate.

    Args:
        slices: `pipeline.evaluation.SliceResult`s.
        evaluation: `pipeline.gate.Evaluation` of the same model.

    Returns:
        List of `Table`s, one a slice; with changes where the model in service has seen none of the rows.
    """
    gated = {task.label: task.gate.measure for task in evaluation.tasks}
    by_bucket = {}
    for each in slices:
        by_bucket.setdefault(each.slice_name, {}).setdefault(each.bucket, {})[each.label] = each
    of_all = next(iter(by_bucket.pop("", {}).values()), None)
    tables = []
    for name, buckets in by_bucket.items():
        shown = sorted(buckets, key=lambda bucket: -_rows_of(buckets[bucket]))[:MAX_BUCKETS]
        lines = {"all rows": of_all} if of_all else {}
        lines |= {bucket: found for bucket, found in buckets.items() if bucket in shown}
        rows = tuple(_slice_row(bucket, found, gated, evaluation.is_compared_throughout) for bucket, found in lines.items())
        head = (name, "rows", *(f"{label} {TITLE_BY_MEASURE[measure]}" for label, measure in gated.items()))
        tables.append(Table(_and_more(f"By {name}", buckets), head, rows))
    return tables


def course_table(course):
    """A training in a line an epoch.

    Args:
        course: `models.history.Course`.

    Returns:
        `Table`.
    """
    labels = list(course.epochs[0].train_losses)
    rows = []
    for number, epoch in enumerate(course.epochs, start=1):
        losses = [
            Cell(
                fixed(epoch.train_losses[label]),
                fixed(validation) if (validation := epoch.validation_losses.get(label)) else "",
            )
            for label in labels
        ]
        pace = [short(epoch.learning_rate), whole(epoch.num_rows), whole(epoch.rows_per_second), duration(epoch.train_seconds)]
        rows.append((Cell(str(number), "kept" if number == course.best_epoch else ""), *losses, *map(Cell, pace)))
    behind = ", that on the validation rows behind it" if course.epochs[0].validation_losses else ""
    head = ("epoch", *labels, "learning rate", "rows", "rows a second", "time")
    return Table(f"Loss of the main towers by epoch{behind}", head, tuple(rows))


def parts_table(parts):
    """Sizes of the ranker's parts.

    Args:
        parts: `models.part_sizes.PartSize`s.

    Returns:
        `Table`.
    """
    rows = [_row(each.part, whole(each.parameters), whole(each.rank)) for each in parts]
    rows.append(_row("together", whole(sum(each.parameters for each in parts)), ""))
    return Table("Parts of the ranker", ("part", "parameters", "rank"), tuple(rows))


def warm_start_table(report):
    """What was taken over from the model in service.

    Args:
        report: `models.warm_start_report.WarmStartReport`.

    Returns:
        `Table`.
    """
    rows = [_row(name, whole(each.copied), whole(each.new), whole(each.dropped)) for name, each in report.tables.items()]
    return Table("Rows of embedding tables taken over", ("feature", "taken over", "new", "dropped"), tuple(rows))


def tuned_table(tuned):
    """What the search found.

    Args:
        tuned: value by dotted key.

    Returns:
        `Table`.
    """
    return Table("Found by the tuner", ("key", "value"), tuple(_row(key, str(value)) for key, value in tuned.items()))


def components_table(components):
    """What ran.

    Args:
        components: `pipeline.report.run_report.Component`s.

    Returns:
        `Table`.
    """
    rows = []
    for each in components:
        outputs = " ".join(f"{output.key} #{output.artifact_id}" for output in each.outputs)
        cells = [each.name, each.state, str(each.execution_id), duration(each.seconds), outputs or NONE]
        rows.append(tuple(map(Cell, cells)))
    return Table("Components", ("component", "state", "execution", "time", "outputs"), tuple(rows), is_text=True)


def artifacts_table(components):
    """Where everything lies.

    Args:
        components: `pipeline.report.run_report.Component`s.

    Returns:
        `Table`.
    """
    rows = [
        _row(f"#{output.artifact_id}", f"{each.name}.{output.key}", output.uri)
        for each in components
        for output in each.outputs
    ]
    return Table("Artifacts", ("artifact", "output", "path"), tuple(rows), is_text=True)


def _row(*texts):
    return tuple(map(Cell, texts))


def _part(name, *texts):
    return (Cell(name, is_part=True), *map(Cell, texts))


def _label_row(name, line, before):
    cells = [Cell(name), Cell(whole(line["impressions"]))]
    for rate, (_, write) in _RATES.items():
        value, old = line[rate], before.get(rate)
        scale = 1 if rate == "mean_watch_seconds" else 100
        change = "" if value is None or old is None else signed(scale * (value - old), 2)
        cells.append(Cell(write(value), change))
    return tuple(cells)


def _compared(result, decimals):
    if result.change is None:
        return [Cell(fixed(result.before and result.before.estimate, decimals)), Cell(NONE), Cell("")]
    change, verdict = result.change, judgement(result)
    before, decimals = fixed(result.before.estimate, decimals), max(decimals, 3)
    interval = f"{signed(change.low, decimals)} to {signed(change.high, decimals)}"
    picture = strip(Interval(f"Change of {result.title}", change.estimate, change.low, change.high, verdict))
    return [
        Cell(before),
        Cell(signed(change.estimate, decimals), verdict, verdict),
        Cell(interval, picture=picture),
    ]


def _slice_row(bucket, found, gated, has_changes):
    cells = [Cell(bucket), Cell(whole(_rows_of(found)))]
    for label, measure in gated.items():
        result = found.get(label)
        value, change = (None, None) if result is None else (result.values.get(measure), result.changes.get(measure))
        decimals = 2 if measure.endswith("seconds") else 4
        cells.append(Cell(fixed(value, decimals), signed(change, decimals) if has_changes and change is not None else ""))
    return tuple(cells)


def _rows_of(found):
    return max(each.num_rows for each in found.values())


def _and_more(caption, lines):
    return f"{caption}: {MAX_BUCKETS} of {len(lines)}" if len(lines) > MAX_BUCKETS else caption
