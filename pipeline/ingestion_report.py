"""The data report of a run: where every record went, and label rates against the run before."""

import json
from pathlib import Path

from rich.table import Table

from data.counts import LOGS, OUTCOMES_BY_LOG, Counts
from data.report import LABEL_COUNTS_FILE, from_json, rates
from pipeline.components.artifacts import IngestionReport
from pipeline.components.log_example_gen import COUNTS_FILE
from pipeline.metadata import live_artifacts, newest_first, open_metadata

# Of surfaces those with the most impressions, of days the last ones: the whole table stays in view.
_MAX_SURFACES, _MAX_DAYS = 4, 5
# Title and unit by rate; the table fits 80 columns.
_SHOWN = {"click_rate": ("clicked, %", 100), "mean_watch_seconds": ("watch, s", 1), "satisfaction_rate": ("satisfied, %", 100)}


def read_counts(folder):
    """Counts of an ingestion.

    Args:
        folder: of its `IngestionReport`.

    Returns:
        `data.counts.Counts`.
    """
    return Counts(**json.loads(Path(folder, COUNTS_FILE).read_text(encoding="utf-8")))


def read_label_counts(folder):
    """Label counts of an ingestion.

    Args:
        folder: of its `IngestionReport`.

    Returns:
        Arrow table of `data.report.LABEL_COUNTS_SCHEMA`.
    """
    return from_json(Path(folder, LABEL_COUNTS_FILE).read_text(encoding="utf-8"))


def previous_report(metadata_file, folder):
    """The report of the last ingestion of other logs, or by other rules.

    Args:
        metadata_file: of the job.
        folder: of the current `IngestionReport`.

    Returns:
        Its folder; None where there was no such ingestion, or its report has no label counts, as of an older version.
    """
    store = open_metadata(metadata_file)
    reports = live_artifacts(store, IngestionReport.TYPE_NAME)
    others = [report for report in reports if report.uri != folder and Path(report.uri, LABEL_COUNTS_FILE).exists()]
    return next((report.uri for report in newest_first(store, others)), None)


def fates(counts):
    """What became of the records of each log.

    Args:
        counts: `data.counts.Counts`.

    Returns:
        One line for each log that was read: records by outcome, dead letters by reason.
    """
    lines = []
    for log in LOGS:
        if not (num_read := getattr(counts, f"{log}_read")):
            continue
        by_outcome = {outcome: getattr(counts, f"{log}_{outcome}") for outcome in OUTCOMES_BY_LOG[log]}
        told = ", ".join(f"{number:,} {outcome.replace('_', ' ')}" for outcome, number in by_outcome.items() if number)
        reasons = {name.partition(".")[2]: number for name, number in counts.reasons.items() if name.startswith(f"{log}.")}
        why = ", ".join(f"{number:,} {reason.replace('_', ' ')}" for reason, number in reasons.items())
        lines.append(f"{num_read:,} {log}: {told}" + (f" ({why})" if why else ""))
    return lines


def label_table(counts, previous=None):
    """Lays out label rates of all rows, by surface and by day.

    Args:
        counts: Arrow table of `data.report.LABEL_COUNTS_SCHEMA`.
        previous: of the run before; None where there was none.

    Returns:
        `rich.table.Table`; a rate without a known label is a dash, a change against the previous run stands behind its rate.
    """
    title = "Labels" if previous is None else "Labels, with the change against the previous run"
    table = Table(title=title, title_justify="left", box=None, pad_edge=False)
    table.add_column("", no_wrap=True)
    for name in ("impressions", *(title for title, _ in _SHOWN.values())):
        table.add_column(name, justify="right", no_wrap=True)
    for by, lines in _sections(counts).items():
        before = {} if previous is None else {line.get(by): line for line in rates(previous, by).to_pylist()}
        for line in lines:
            name = "all rows" if by is None else f"{by} {line[by] or 'unknown'}"
            cells = [_cell(rate, line[rate], before.get(line.get(by), {}).get(rate)) for rate in _SHOWN]
            table.add_row(name, f"{line['impressions']:,}", *cells)
    return table


def _sections(counts):
    surfaces = sorted(rates(counts, "surface").to_pylist(), key=lambda line: -line["impressions"])
    return {
        None: rates(counts).to_pylist(),
        "surface": surfaces[:_MAX_SURFACES],
        "day": rates(counts, "day").to_pylist()[-_MAX_DAYS:],
    }


def _cell(rate, value, before):
    if value is None:
        return "-"
    _, scale = _SHOWN[rate]
    change = "" if before is None else f" ({scale * (value - before):+.2f})"
    return f"{scale * value:.2f}{change}"
