"""`smalltowers compare`."""

from pipeline.measure_table import comparison_table
from pipeline.terminal import framework_noise_to, temporary_log


def compare_versions(a, b, examples=None, replicates=1_000):
    """Scores two pushed versions on the same evaluation rows and prints which one to keep.

    Args:
        a: folder of the version in service.
        b: folder of its challenger.
        examples: folder of evaluation rows; None for those of A's last run.
        replicates: of the bootstrap by user.
    """
    with framework_noise_to(temporary_log("compare")) as console:
        with console.status("Scoring both versions ..."):
            from pipeline.compare import compare, decide

            comparison = compare(a, b, examples, replicates)
        console.print(comparison_table(comparison))
        console.print(f"Paired bootstrap by user, {replicates:,} replicates")
        for line in comparison.undefined:
            console.print(f"Not measured: {line}", soft_wrap=True, highlight=False)
        verdict = decide(comparison.differences)
        console.print(f"Keep {verdict.keeps}: {verdict.reason}", soft_wrap=True, highlight=False)
