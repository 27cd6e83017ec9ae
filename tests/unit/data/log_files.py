"""Logs for tests, written in every format from plain records, without the code under test."""

import csv
import gzip
import io
import json
import struct

import google_crc32c
import pyarrow as pa
import pyarrow.parquet as pq
import tensorflow as tf
import zstandard

from data.ingest import source_of, work_units
from data.schema import DEAD_LETTER_SCHEMA
from tests.unit.data.rows import data_config

IMPRESSION = {"impression_id": "a", "user_id": "u", "item_id": "i", "impressed_at": 1767225600000}
ENGAGEMENT = {"event_id": "1", "impression_id": "a", "kind": "click", "engaged_at": 1767225600000}
SUFFIXES = [f"{format_}{compression}" for format_ in (".jsonl", ".csv", ".tfrecord") for compression in ("", ".gz", ".zst")] + [
    ".parquet"
]


def log_bytes(suffix, records):
    if suffix == ".parquet":
        names = list(dict.fromkeys(name for record in records for name in record))
        sink = io.BytesIO()
        pq.write_table(pa.Table.from_pylist([{name: record.get(name) for name in names} for record in records]), sink)
        return sink.getvalue()
    write = {"csv": _csv, "jsonl": _jsonl, "tfrecord": _tfrecord}[suffix.split(".")[1]]
    return compressed(suffix, write(records))


def compressed(suffix, content):
    content = content if isinstance(content, bytes) else content.encode()
    if suffix.endswith(".gz"):
        return gzip.compress(content)
    return zstandard.compress(content) if suffix.endswith(".zst") else content


def _csv(records):
    text = io.StringIO()
    writer = csv.DictWriter(text, list(dict.fromkeys(name for record in records for name in record)))
    writer.writeheader()
    writer.writerows(records)
    return text.getvalue().encode()


def _jsonl(records):
    return "".join(json.dumps(record) + "\n" for record in records).encode()


def _tfrecord(records):
    return b"".join(tf_frame(tf_example(record)) for record in records)


def tf_example(record):
    example = tf.train.Example()
    for name, value in record.items():
        for one in value if isinstance(value, list) else [] if value is None else [value]:
            feature = example.features.feature[name]
            if isinstance(one, int):
                feature.int64_list.value.append(one)
            elif isinstance(one, float):
                feature.float_list.value.append(one)
            else:
                feature.bytes_list.value.append(one if isinstance(one, bytes) else one.encode())
    return example.SerializeToString()


def tf_frame(record):
    def masked(data):
        crc = google_crc32c.value(data)
        return struct.pack("<I", ((crc >> 15 | crc << 17) + 0xA282EAD8) % 2**32)

    length = struct.pack("<Q", len(record))
    return length + masked(length) + record + masked(record)


def write_log(path, records):
    path.write_bytes(log_bytes(path.name[path.name.index(".") :], records))


def write_text(path, content):
    path.write_bytes(compressed(path.name, content))


def config_of(folder, suffix=".jsonl", **keys):
    source = {
        "kind": "events",
        "impressions": f"{folder}/impressions*{suffix}",
        "engagements": f"{folder}/engagements*{suffix}",
    }
    return data_config(**{"source": {**source, **keys.pop("source", {})}, **keys})


def both_logs(folder, suffix=".jsonl", impressions=(IMPRESSION,), engagements=(ENGAGEMENT,), **keys):
    write_log(folder / f"impressions{suffix}", impressions)
    write_log(folder / f"engagements{suffix}", engagements)
    return config_of(folder, suffix, **keys)


def read_units(units, config):
    """Rows, dead letters and reason counts of units, with the books checked."""
    blocks = [block for unit in units for block in source_of(config).read_log(unit, config)]
    rows = pa.concat_tables([block.rows for block in blocks])
    letters = pa.concat_tables([block.dead_letters for block in blocks])
    assert letters.schema == DEAD_LETTER_SCHEMA
    reason_counts = {}
    for block in blocks:
        assert block.rows.num_rows + block.dead_letters.num_rows == block.num_read
        assert sum(block.reason_counts.values()) == block.dead_letters.num_rows
        for slug, count in block.reason_counts.items():
            reason_counts[slug] = reason_counts.get(slug, 0) + count
    return rows, letters.to_pylist(), reason_counts


def read(log, config):
    return read_units([unit for unit in work_units(config) if unit.log == log], config)
