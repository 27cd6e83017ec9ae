"""`smalltowers run`: the pipeline on this machine, watched."""

import datetime

from data.ingest import check_source
from pipeline.commands.report import write_page
from pipeline.errors import VersionError
from pipeline.measure_table import evaluation_table, undefined_lines
from pipeline.progress import RunTable
from pipeline.terminal import framework_noise_to
from pipeline.training_watch import watched_by


def run_job(config, beam_args=(), enable_cache=True, on_evaluation=None):
    """Runs a job and prints every component, the data report, the measures by task, the version pushed and the run's page.

    Args:
        config: `pipeline.config.Config`.
        beam_args: flags of Beam.
        enable_cache: whether unchanged components are skipped.
        on_evaluation: called with the console and the `pipeline.gate.Evaluation` after it was printed; None for nothing.

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

        with RunTable(console) as table, watched_by(table.train):
            local.run_locally(config, table.plan, table.start, finish, beam_args, enable_cache)
        console.print()
        _print_data_report(console, config, summary.report_folder(runs["LogExampleGen"].outputs))
        evaluation = summary.evaluation(runs["Gate"].outputs)
        _print_evaluation(console, evaluation)
        if on_evaluation is not None:
            on_evaluation(console, evaluation)
        exit_code = _verdict(console, config, summary, runs, evaluation)
        console.print(f"Report: {write_page(config, is_of_now=True)}", soft_wrap=True, highlight=False)
        return exit_code


def _print_evaluation(console, evaluation):
    console.print(evaluation_table(evaluation))
    console.print(f"95% intervals: bootstrap by user, {evaluation.num_replicates:,} replicates", highlight=False)
    for line in undefined_lines(evaluation):
        console.print(f"Not measured: {line}", soft_wrap=True, highlight=False)
    _print_lines(console, "Not judged:", evaluation.notes, "yellow")


def _verdict(console, config, summary, runs, evaluation):
    anomalies = summary.anomalies(runs)
    if summary.is_pushed(runs["Pusher"].outputs):
        folder = config.models_folder / summary.pushed_version(runs["Pusher"].outputs)
        if not folder.exists():
            raise VersionError(f"{folder} was pushed by an earlier run and is gone; run again with --fresh")
        console.print(f"Blessed and pushed: {folder}", soft_wrap=True, highlight=False)
        _print_lines(console, "Anomalies in the data, which do not block:", anomalies, "yellow")
        return 0
    _print_lines(console, "Not pushed:", [*evaluation.blocks, *(anomalies if config.validation.blocking else [])], "red")
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
