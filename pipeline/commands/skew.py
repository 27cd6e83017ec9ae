"""`smalltowers skew`."""

from pipeline.skew.table import served_lines, skew_table, verdict
from pipeline.terminal import framework_noise_to
from serving.exposure.reading import closed_segments


def watch_skew(config, exposures=None, version=None):
    """Compares what was served with the training rows of its version and prints which columns left their range.

    Args:
        config: `pipeline.config.Config` of the job.
        exposures: pattern of the segments of the exposure log; None for those of the job.
        version: of the model; None for the newest that answered.

    Returns:
        Exit code: 1 if a column left its range.
    """
    pattern = exposures or f"{config.serving.exposure.folder or config.root / 'exposures'}/exposures-*"
    closed_segments(pattern)  # that there are none is said before anything is loaded
    with framework_noise_to(config.root / "logs" / "skew.log") as console:
        with console.status("Comparing served rows with training rows ..."):
            from pipeline.skew.watch import watch

            report = watch(config, pattern, version)
        console.print(skew_table(report))
        lines = [reason for column in report.columns for reason in column.reasons]
        for line in (*served_lines(report.served), *lines, *report.faults.values(), *report.notes, verdict(report)):
            console.print(line, soft_wrap=True, highlight=False)
    return 1 if report.skewed else 0
