"""Which charts a run's page has, from what the run left."""

from data.report import rates
from pipeline.measuring import TITLE_BY_MEASURE
from pipeline.report.charts import MAX_SERIES, Curve, Interval, Series, bar_chart, interval_plot, line_chart, reliability_plot
from pipeline.report.tables import judgement

# Measures within 0 and 1 that may share an axis, better to the right.
_RANKING = ("auc", "gauc", "xauc", "ndcg")
_MAX_BARS = 60


def change_figure(evaluation):
    """Changes of the ranking measures against the model in service.

    Args:
        evaluation: `pipeline.gate.Evaluation`.

    Returns:
        `Figure`; None without a change.
    """
    results = [result for task in evaluation.tasks for name, result in task.measures.items() if name in _RANKING]
    rows = [
        Interval(result.title, result.change.estimate, result.change.low, result.change.high, judgement(result))
        for result in results
        if result.change is not None
    ]
    title = f"Ranking measures, change against {evaluation.in_service}"
    return interval_plot(title, rows, "change, with its 95% interval; right of 0 is better") if rows else None


def reliability_figures(evaluation, uncalibrated):
    """Observed against predicted rates, a chart a task.

    Args:
        evaluation: `pipeline.gate.Evaluation`.
        uncalibrated: bins before calibration by label.

    Returns:
        List of `Figure`s.
    """
    figures = []
    for task in evaluation.tasks:
        if task.reliability:
            before = uncalibrated.get(task.label, ())
            curves = [Curve("as served", task.reliability)] + ([Curve("before calibration", before)] if before else [])
            figures.append(reliability_plot(f"{task.label}, observed rate by predicted", curves))
    return figures


def loss_figures(course):
    """Losses by epoch, a chart a task.

    Args:
        course: `models.history.Course`.

    Returns:
        List of `Figure`s; empty for a single epoch, whose two numbers are no curve.
    """
    if len(course.epochs) < 2:
        return []
    figures = []
    for label in course.epochs[0].train_losses:
        series = [Series("training", _by_epoch(course, lambda epoch, label=label: epoch.train_losses.get(label)))]
        validation = _by_epoch(course, lambda epoch, label=label: epoch.validation_losses.get(label))
        series += [Series("validation", validation)] if validation else []
        figures.append(line_chart(f"{label}, loss", series, "epoch", course.best_epoch, "kept"))
    return figures


def measure_figures(course):
    """Measures on the validation rows by epoch, a chart a measure with a line a task.

    Args:
        course: `models.history.Course`.

    Returns:
        List of `Figure`s; empty for a single epoch.
    """
    if len(course.epochs) < 2:
        return []
    names = dict.fromkeys(name for of_task in course.epochs[0].validation_measures.values() for name in of_task)
    figures = []
    for name in names:
        series = [
            Series(label, points)
            for label in course.epochs[0].validation_measures
            if (
                points := _by_epoch(
                    course, lambda epoch, label=label, name=name: epoch.validation_measures.get(label, {}).get(name)
                )
            )
        ]
        if series:
            title = ", ".join([f"{series[0].name}, {TITLE_BY_MEASURE[name]}"] if len(series) == 1 else [TITLE_BY_MEASURE[name]])
            figures.append(line_chart(title, series[:MAX_SERIES], "epoch", course.best_epoch, "kept"))
    return figures


def step_figures(course):
    """What was minimised, and how, by step.

    Args:
        course: `models.history.Course`.

    Returns:
        List of `Figure`s: the loss, and the learning rate and the tasks' weights where they were not the same all the time.
    """
    points = course.points
    if len(points) < 2:
        return []
    losses = Series("loss", _by_step(points, lambda p: p.total_loss))
    figures = [line_chart("Loss minimised, penalties included", [losses], "step")]
    if any(point.learning_rate != points[0].learning_rate for point in points):
        learning_rates = Series("learning rate", _by_step(points, lambda p: p.learning_rate))
        figures.append(line_chart("Learning rate", [learning_rates], "step"))
    labels = list(points[0].weights)[:MAX_SERIES]
    if any(point.weights != points[0].weights for point in points):
        weights = [Series(label, _by_step(points, lambda p, label=label: p.weights[label])) for label in labels]
        figures.append(line_chart("Weights by which tasks were balanced", weights, "step"))
    if all("gradient_cosine" in point.conflict for point in points):
        cosines = _by_step(points, lambda p: p.conflict["gradient_cosine"])
        figures.append(line_chart("Cosine between the tasks' gradients", [Series("cosine", cosines)], "step"))
    return figures


def day_figures(labels):
    """Impressions and label rates by day.

    Args:
        labels: table of `data.report.LABEL_COUNTS_SCHEMA`.

    Returns:
        List of `Figure`s; empty for a single day.
    """
    lines = rates(labels, "day").to_pylist()[-_MAX_BARS:]
    if len(lines) < 2:
        return []
    bars = [(_day(line["day"]), line["impressions"]) for line in lines]
    figures = [bar_chart("Impressions by day", bars, "day")]
    for rate, title in (("click_rate", "Share clicked by day"), ("satisfaction_rate", "Share satisfied by day")):
        known = [(_day(line["day"]), line[rate]) for line in lines if line[rate] is not None]
        if known:
            figures.append(bar_chart(title, known, "day"))
    return figures


def _day(day):
    """Month and day of a date; years are on the page once."""
    return (day or "unknown")[-5:]


def _by_epoch(course, value_of):
    values = [(number, value_of(epoch)) for number, epoch in enumerate(course.epochs, start=1)]
    return tuple((float(number), value) for number, value in values if value is not None)


def _by_step(points, value_of):
    return tuple((float(point.step), value_of(point)) for point in points)
