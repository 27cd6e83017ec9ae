"""One ingestion from start to proof: runs the transform, proves the counts, judges the input, removes what was spilled."""

import json
import os
import uuid

import apache_beam as beam
from apache_beam.io.filesystems import FileSystems
from apache_beam.options.pipeline_options import DirectOptions, PipelineOptions, StandardOptions

from data import outputs
from data.counts import Counts
from data.errors import DeadLetterError, EmptyLogError
from data.join import DEAD_LETTER_FILE, IngestLogs

_LOCAL_RUNNERS = (None, "DirectRunner")


def run_ingestion(config, split_uris, tables_uri, report_uri, spill_uri, beam_args=()):
    """Counts of an ingestion that ended well.

    Args:
        config: `DataConfig`, checked by `data.ingest.check_source`.
        split_uris: folder by split name, of `SplitConfig.names`.
        tables_uri: folder of the published tables.
        report_uri: folder of dead letters and label counts.
        spill_uri: folder for data on its way; what this run writes there is removed at its end.
        beam_args: flags of Beam. A local runner that is not told otherwise works in as many threads as there are cores.

    Returns:
        `Counts`.

    Raises:
        LogFormatError: If a log cannot be read.
        DeadLetterError: If more records than `max_dead_letter_rate` allows are unreadable.
        OutputError: If a split's folder holds examples already.
        EmptyLogError: If there is nothing to train on or to evaluate on.
    """
    options = options_of(beam_args)
    for folder in split_uris.values():
        outputs.require_no_shards(folder)
    own_spill_uri = FileSystems.join(spill_uri, f"spill-{uuid.uuid4().hex}")
    FileSystems.mkdirs(own_spill_uri)
    try:
        pipeline = beam.Pipeline(options=options)
        pipeline | IngestLogs(config, split_uris, tables_uri, report_uri, own_spill_uri)
        result = pipeline.run()
        result.wait_until_finish()
    finally:
        FileSystems.delete([own_spill_uri])
    for folder in (*split_uris.values(), tables_uri, report_uri):
        outputs.remove_unfinished(folder)
    counts = Counts.from_metrics(result.metrics())
    counts.reconcile()
    try:
        counts.require_readable(config.max_dead_letter_rate)
        counts.require_rows(config.split)
    except (DeadLetterError, EmptyLogError) as error:
        raise type(error)(f"{error}{_first_dead_letter(report_uri)}") from None
    return counts


def options_of(beam_args):
    """Options of Beam; a local runner uses all cores unless the flags say how.

    Threads, not processes: the work is done by Arrow and NumPy, which release the interpreter's lock, and a process needs
    seconds to start.

    Args:
        beam_args: flags.

    Returns:
        `PipelineOptions`.
    """
    options = PipelineOptions(list(beam_args))
    standard, direct = options.view_as(StandardOptions), options.view_as(DirectOptions)
    if standard.runner in _LOCAL_RUNNERS:
        # What DirectRunner would switch to in the end, without a search for other runners first.
        standard.runner = "FnApiRunner"
    if standard.runner == "FnApiRunner" and not any(flag.startswith("--direct_") for flag in beam_args):
        direct.direct_num_workers = len(os.sched_getaffinity(0))
        direct.direct_running_mode = "multi_threading"
    return options


def _first_dead_letter(folder):
    """The first record that could not be read: a failed run's outputs may be removed, so the message must say it."""
    path = FileSystems.join(folder, DEAD_LETTER_FILE)
    if not FileSystems.exists(path):
        return ""
    with FileSystems.open(path) as file:
        line = file.readline()
    if not line:
        return ""
    letter = json.loads(line)
    return f". The first dead letter: {letter['file']}, line {letter['line']}: {letter['reason']}"
