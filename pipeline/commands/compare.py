"""`smalltowers compare`."""

from rich.table import Table

from pipeline.terminal import framework_noise_to


def compare_versions(a, b, examples=None, replicates=1_000):
    """Scores two pushed versions on the same evaluation rows and prints which one to keep.

    Args:
        a: folder of the version in service.
        b: folder of its challenger.
        examples: folder of evaluation rows; None for those of A's last run.
        replicates: of the bootstrap by user.
    """
    import tempfile

    log_file = f"{tempfile.gettempdir()}/smalltowers-compare.log"
    with framework_noise_to(log_file) as console:
        with console.status("Scoring both versions ..."):
            from pipeline.compare import compare, decide

            differences, num_rows, num_users = compare(a, b, examples, replicates)
        table = Table(
            title=f"B against A on {num_rows:,} rows of {num_users:,} users; paired bootstrap by user, 95%",
            title_justify="left",
            box=None,
            pad_edge=False,
        )
        for name in ("task", "measure"):
            table.add_column(name, no_wrap=True)
        for name in ("A", "B", "B - A", "low", "high", ""):
            table.add_column(name, justify="right")
        for d in differences:
            verdict = "[green]better" if d.is_better else "[red]worse" if d.is_worse else ""
            numbers = (f"{d.value_a:.4f}", f"{d.value_b:.4f}", f"{d.estimate:+.5f}", f"{d.low:+.5f}", f"{d.high:+.5f}")
            table.add_row(d.label, d.measure, *numbers, verdict)
        console.print(table)
        verdict = decide(differences)
        console.print(f"Keep {verdict.keeps}: {verdict.reason}", soft_wrap=True, highlight=False)
