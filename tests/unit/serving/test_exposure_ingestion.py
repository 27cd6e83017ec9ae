import dataclasses
import json
import pathlib

import pytest
import tensorflow as tf

from data.config import DataConfig
from data.run import run_ingestion
from serving.exposure.config import ExposureConfig
from serving.exposure.log import ExposureLog
from tests.unit.serving.exposures import exposure


@pytest.mark.parametrize("file_format", ["jsonl", "parquet"])
def test_ingestion_reads_the_log_as_impressions(tmp_path, file_format):
    log = ExposureLog(ExposureConfig(format=file_format), tmp_path / "exposures")
    day_ms = 86_400_000
    for number in range(8):
        at_ms = 1_768_000_000_000 + number // 4 * day_ms
        answer = exposure(f"r{number}", user_id=f"u{number % 3}", at_ms=at_ms, hour=number)
        # Some answers come with the features that were served; these are no column of an impression.
        examples = (b"\x00\xff", b"two") if number % 4 == 1 else ()
        log.append(dataclasses.replace(answer, examples=examples), 1.0)
    log.close()
    clicks = [
        {"event_id": f"e{n}", "impression_id": f"r{n}:2", "user_id": f"u{n % 3}", "kind": "click",
         "engaged_at": 1_768_000_001_000 + n // 4 * day_ms}
        for n in range(8)
    ]  # fmt: skip
    (tmp_path / "events.jsonl").write_text("".join(json.dumps(click) + "\n" for click in clicks))
    source = {
        "kind": "events",
        "impressions": f"{tmp_path}/exposures/exposures-*.{file_format}",
        "engagements": f"{tmp_path}/events.jsonl",
        "columns": {"impressions": {"expected_watch": "predicted_watch_seconds", "features": {"name": "features_version"}}},
    }
    data = DataConfig.model_validate(
        {
            "source": source,
            "context_columns": {"hour": "int", "expected_watch": "float", "features": "int"},
            "attribution": {"watermark": "2026-02-01T00:00:00Z"},
            "split": {"eval_days": 1},
        }
    )
    places = {split: str(tmp_path / split) for split in data.split.names}
    counts = run_ingestion(data, places, *(str(tmp_path / name) for name in ("tables", "report", "spill")))
    examples = [
        tf.train.Example.FromString(record).features.feature
        for split in places.values()
        for path in pathlib.Path(split).glob("*.gz")
        for record in tf.data.TFRecordDataset(str(path), "GZIP").as_numpy_iterator()
    ]
    assert len(examples) == 16, counts
    for columns in examples:
        position = columns["position"].int64_list.value[0]
        assert columns["click"].float_list.value[0] == float(position == 2)
        assert columns["arm"].bytes_list.value[0] == b"treatment"
        assert columns["model_version"].bytes_list.value[0] == b"1795"
        assert columns["surface"].bytes_list.value[0] == b"feed"
        assert columns["propensity"].float_list.value[0] == 1.0
        assert columns["expected_watch"].float_list.value[0] == 7.25
        assert columns["features"].int64_list.value[0] == 42
        assert "served_features" not in columns
        request = columns["request_id"].bytes_list.value[0].decode()
        assert columns["hour"].int64_list.value[0] == int(request[1:])
