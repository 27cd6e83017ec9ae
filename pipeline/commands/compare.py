"""`smalltowers compare`."""

from rich.table import Table
from rich.text import Text

from pipeline.terminal import framework_noise_to, temporary_log

_SHORT_NAMES = {"mean_absolute_error": "MAE, s", "auc": "AUC", "gauc": "GAUC", "xauc": "XAUC"}


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
        table = Table(
            title=f"B against A on {comparison.num_rows:,} rows of {comparison.num_users:,} users",
            title_justify="left",
            box=None,
            pad_edge=False,
        )
        for name in ("task", "measure"):
            table.add_column(name, no_wrap=True)
        for name in ("A", "B", "B - A", "95% interval", ""):
            table.add_column(name, justify="right", no_wrap=True)
        for d in comparison.differences:
            verdict = Text("better", "green") if d.is_better else Text("worse", "red") if d.is_worse else ""
            change = d.difference
            table.add_row(
                d.label,
                _SHORT_NAMES.get(d.measure, d.measure.replace("_", " ")),
                f"{d.value_a:.4f}",
                f"{d.value_b:.4f}",
                f"{change.estimate:+.4f}",
                f"{change.low:+.4f} {change.high:+.4f}",
                verdict,
            )
        console.print(table)
        console.print(f"Paired bootstrap by user, {replicates:,} replicates")
        for line in comparison.undefined:
            console.print(f"Not measured: {line}", soft_wrap=True, highlight=False)
        verdict = decide(comparison.differences)
        console.print(f"Keep {verdict.keeps}: {verdict.reason}", soft_wrap=True, highlight=False)
