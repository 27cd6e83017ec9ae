"""`smalltowers report`: the page of a run, written again from what the run left."""

import click

from pipeline.terminal import framework_noise_to, temporary_log


def report_run(config, name=None):
    """Writes the page of a run and prints its path.

    Args:
        config: `pipeline.config.Config` of the job.
        name: time of the run, as its page is named; None for the last run.

    Raises:
        ReportError: If there is no such run.
    """
    config = config.anchored()
    with framework_noise_to(temporary_log("report")):
        path = write_page(config, name)
    click.echo(path)


def write_page(config, name=None, is_of_now=False):
    """Writes the page of a run.

    Args:
        config: `pipeline.config.Config` of the job, with an absolute root.
        name: time of the run, as its page is named; None for the last run.
        is_of_now: whether the run has just ended, so that the present versions and commit are its own.

    Returns:
        `Path` of the page.
    """
    from pipeline.report.lineage import recorded_run
    from pipeline.report.origin import write_origin
    from pipeline.report.page import render
    from pipeline.report.reading import origin_file, page_file, read_report

    name = name or recorded_run(config.metadata_file).name
    path = page_file(config, name)
    path.parent.mkdir(parents=True, exist_ok=True)
    if is_of_now:
        write_origin(origin_file(config, name))
    path.write_text(render(read_report(config, name)), encoding="utf-8")
    return path
