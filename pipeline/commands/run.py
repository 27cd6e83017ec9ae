"""`smalltowers run`: the pipeline on this machine, watched."""

import datetime

from rich.table import Table

from data.ingest import check_source
from pipeline.errors import VersionError
from pipeline.progress import RunTable
from pipeline.terminal import framework_noise_to


def run_job(config, beam_args=(), enable_cache=True, on_metrics=None):
    """Runs a job and prints every component, the data report, the measures by task and the version that was pushed.

    Args:
        config: `pipeline.config.Config`.
        beam_args: flags of Beam.
        enable_cache: whether unchanged components are skipped.
        on_metrics: called with the console and the measures by task after they were printed; None for nothing.

    Returns:
        Exit code: 0 if a model was pushed, 1 if a gate or an anomaly in the data held it back.

    Raises:
        LogFormatError: If a log is missing or lacks a declared column.
        ComponentError: If a component fails.
        VersionError: If the cache names a pushed version that is no longer there.
    """
    config = config.anchored()
    check_source(config.data)
    now = datetime.datetime.now().strftime("%Y%m%d-%H%M%S")
    log_file = config.root / "logs" / f"run-{now}.log"
    with framework_noise_to(log_file) as console:
        console.print(f"Resolved configuration and framework messages: {log_file}", soft_wrap=True, highlight=False)
        print(config.model_dump_json(indent=2))
        with console.status("Starting TFX ..."):
            from pipeline import local, summary
        runs = {}

        def finish(run):
            runs[run.name] = run
            table.end(run.name, run.is_cached, summary.describe(run, runs.get("LogExampleGen")))

        with RunTable(console) as table:
            local.run_locally(config, table.plan, table.start, finish, beam_args, enable_cache)
        console.print()
        _print_data_report(console, config, summary.report_folder(runs["LogExampleGen"].outputs))
        metrics = summary.task_metrics(runs["TaskEvaluator"].outputs)
        console.print(metrics_table(metrics))
        for line in undefined_measures(metrics):
            console.print(f"Not measured: {line}", soft_wrap=True, highlight=False)
        if on_metrics is not None:
            on_metrics(console, metrics)
        return _verdict(console, config, summary, runs, metrics)


def _verdict(console, config, summary, runs, metrics):
    anomalies = summary.anomalies(runs)
    if summary.is_pushed(runs["Pusher"].outputs):
        folder = config.models_folder / summary.pushed_version(runs["Pusher"].outputs)
        if not folder.exists():
            raise VersionError(f"{folder} was pushed by an earlier run and is gone; run again with --fresh")
        console.print(f"Blessed and pushed: {folder}", soft_wrap=True, highlight=False)
        _print_lines(console, "Anomalies in the data, which do not block:", anomalies, "yellow")
        return 0
    lines = summary.gate_failures(runs["Evaluator"].outputs, metrics)
    _print_lines(console, "Not pushed:", lines + (anomalies if config.validation.blocking else []), "red")
    return 1


def _print_lines(console, title, lines, style):
    if lines:
        console.print(title, style=style)
    for line in lines:
        console.print(f"  {line}", soft_wrap=True, highlight=False)


def _print_data_report(console, config, folder):
    from pipeline.ingestion_report import fates, label_table, previous_report, read_counts, read_label_counts

    for line in fates(read_counts(folder)):
        console.print(line, soft_wrap=True, highlight=False)
    previous = previous_report(config.metadata_file, folder)
    console.print(label_table(read_label_counts(folder), previous and read_label_counts(previous)))
    console.print()


_SHORT_NAMES = {
    "auc": "AUC",
    "gauc": "GAUC",
    "log_loss": "log loss",
    "expected_calibration_error": "calibr. error",
    "xauc": "XAUC",
    "mean_absolute_error_seconds": "MAE, s",
}


def metrics_table(metrics_by_label):
    """Lays out measures by task.

    Args:
        metrics_by_label: dict from label to dict from measure to `models.metrics.Metric`.

    Returns:
        `rich.table.Table`; a measure that the rows do not define is a dash.
    """
    table = Table(title="Evaluation days, by task", title_justify="left", box=None, pad_edge=False)
    table.add_column("task", no_wrap=True)
    table.add_column("rows", justify="right")
    shown = {name for metrics in metrics_by_label.values() for name in metrics}
    names = [name for name in _SHORT_NAMES if name in shown]
    for name in names:
        table.add_column(_SHORT_NAMES[name], justify="right")
    for label, metrics in metrics_by_label.items():
        rows = max(metric.num_rows for metric in metrics.values())
        table.add_row(label, f"{rows:,}", *(_cell(metrics.get(name)) for name in names))
    return table


def undefined_measures(metrics_by_label):
    """Measures that the rows do not define.

    Args:
        metrics_by_label: dict from label to dict from measure to `models.metrics.Metric`.

    Returns:
        One line each, with the reason.
    """
    return [
        f"{label} {_SHORT_NAMES[name]}: {metrics[name].reason}"
        for label, metrics in metrics_by_label.items()
        for name in _SHORT_NAMES
        if name in metrics and metrics[name].value is None
    ]


def _cell(metric):
    if metric is None:
        return ""
    return "-" if metric.value is None else f"{metric.value:.4f}"
