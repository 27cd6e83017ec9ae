"""One ingestion in a test: the run, and everything that it wrote."""

import json

import pyarrow.parquet as pq

from data.columns import labelled_schema
from data.examples import read_examples
from data.ingest import check_source
from data.run import run_ingestion


def ingest(config, folder, beam_args=(), is_checked=True):
    """Counts of the run, which have been proven to add up."""
    if is_checked:
        check_source(config)
    split_uris = {split: str(folder / "examples" / f"Split-{split}") for split in config.split.names}
    uris = [str(folder / name) for name in ("tables", "report", "spill")]
    counts = run_ingestion(config, split_uris, *uris, beam_args)
    assert list((folder / "spill").iterdir()) == []
    return counts


def rows_of(config, folder, split):
    paths = sorted((folder / "examples" / f"Split-{split}").glob("data_tfrecord-?????-of-?????.gz"))
    return read_examples(list(map(str, paths)), labelled_schema(config)).to_pylist()


def rows_by_id(config, folder):
    """All written rows by impression and user, each with its split."""
    rows = [{**row, "split": split} for split in config.split.names for row in rows_of(config, folder, split)]
    by_id = {(row["impression_id"], row["user_id"]): row for row in rows}
    assert len(by_id) == len(rows)
    return by_id


def letters_of(folder):
    return [json.loads(line) for line in (folder / "report" / "dead_letters.jsonl").read_text().splitlines()]


def table_of(folder, name):
    return pq.read_table(folder / "tables" / name).to_pylist()
