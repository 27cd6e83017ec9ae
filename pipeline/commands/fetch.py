"""`smalltowers fetch`."""

from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

from data.fetch import DATASET_BY_NAME, fetch


def fetch_dataset(name, folder, record_url):
    """Downloads and unpacks a data set, and prints its licence and what to do next.

    Args:
        name: one of `DATASET_BY_NAME`.
        folder: where to put it; None for a folder of its name.
        record_url: another record of its archive; None for the official one.
    """
    dataset = DATASET_BY_NAME[name]
    console = Console(markup=False, highlight=False)
    console.print(f"Licence of the data: {dataset.licence}", soft_wrap=True)
    console.print(f"Please cite: {dataset.citation}", soft_wrap=True)
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task(dataset.archive, total=None)
        tables = fetch(
            dataset,
            folder or Path(name),
            record_url,
            lambda num_bytes, total: progress.update(task, completed=num_bytes, total=total),
        )
    console.print(f"Tables: {tables}", soft_wrap=True)
    console.print(f"Next: smalltowers run configs/kuairand.toml --set data.source.path={tables}", soft_wrap=True)
