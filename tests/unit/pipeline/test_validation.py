import re

import numpy as np
import pandas as pd
import pytest
import tensorflow_data_validation as tfdv
from google.protobuf import text_format
from tensorflow_metadata.proto.v0 import schema_pb2
from tfx.components.distribution_validator import executor as distribution_validator
from tfx.components.example_validator import executor as example_validator
from tfx.types import artifact_utils, standard_artifacts

from data.columns import labelled_schema
from pipeline.components.version_pusher import has_anomalies
from pipeline.config import Config
from pipeline.validation import DRIFT_PAIRS, SKEW_PAIRS, distribution_anomalies, distribution_config, schema_anomalies

LIMITS = {"surface": 0.1, "duration_seconds": 0.1, "user_history": 0.1}


def rows(surfaces=("feed", "search"), shares=(0.5, 0.5), mean_seconds=10.0, seed=0):
    rng = np.random.default_rng(seed)
    return pd.DataFrame(
        {
            "surface": rng.choice(list(surfaces), 1_000, p=shares),
            "duration_seconds": rng.normal(mean_seconds, 2.0, 1_000).astype(np.float32),
            "user_history": list(rng.uniform(size=(1_000, 3)).astype(np.float32)),
        }
    )


@pytest.fixture
def statistics(tmp_path):
    """Makes a StatisticsGen artifact of a frame a split."""

    def make(name, **frame_by_split):
        artifact = standard_artifacts.ExampleStatistics()
        artifact.uri = str(tmp_path / name)
        artifact.split_names = artifact_utils.encode_split_names(list(frame_by_split))
        for split, frame in frame_by_split.items():
            folder = tmp_path / name / f"Split-{split}"
            folder.mkdir(parents=True)
            binary = tfdv.generate_statistics_from_dataframe(frame).SerializeToString()
            (folder / "FeatureStats.pb").write_bytes(binary)
        return artifact

    return make


def validate(config, current, previous, pairs, tmp_path, limits=LIMITS):
    """Runs TFX's DistributionValidator as the graph configures it."""
    anomalies = standard_artifacts.ExampleAnomalies()
    anomalies.uri = str(tmp_path / "anomalies")
    properties = {
        "distribution_validator_config": distribution_config(limits, labelled_schema(config.data)),
        "include_split_pairs": str([list(pair) for pair in pairs]).replace("'", '"'),
    }
    inputs = {"statistics": [current], "baseline_statistics": previous}
    distribution_validator.Executor().Do(inputs, {"anomalies": [anomalies]}, properties)
    return anomalies


def test_same_distributions_pass(config, statistics, tmp_path):
    current = statistics("now", train=rows(seed=1), eval=rows(seed=2))
    previous = statistics("before", train=rows(seed=3), eval=rows(seed=4))
    anomalies = validate(config, current, [previous], DRIFT_PAIRS, tmp_path)
    assert distribution_anomalies(anomalies.uri, DRIFT_PAIRS) == []
    assert not has_anomalies(anomalies)


def test_drift_names_split_column_and_distance(config, statistics, tmp_path):
    current = statistics("now", train=rows(shares=(0.9, 0.1)), eval=rows(mean_seconds=20.0))
    previous = statistics("before", train=rows(), eval=rows())
    anomalies = validate(config, current, [previous], DRIFT_PAIRS, tmp_path)
    surface, seconds = distribution_anomalies(anomalies.uri, DRIFT_PAIRS)
    # The share of "feed" fell from about .5 to about .1 among 1,000 drawn rows.
    assert re.fullmatch(
        r"train rows: surface is distributed differently than in the previous run: "
        r"L-infinity distance 0\.[34]\d+, at most 0\.1 is allowed",
        surface,
    )
    assert seconds.startswith(
        "eval rows: duration_seconds is distributed differently than in the previous run: Jensen-Shannon "
    )
    assert has_anomalies(anomalies)


def test_entries_of_a_vector_are_compared(config, statistics, tmp_path):
    moved = rows()
    moved["user_history"] = moved["user_history"] + 1.0
    current, previous = statistics("now", train=moved, eval=rows()), statistics("before", train=rows(), eval=rows())
    anomalies = validate(config, current, [previous], DRIFT_PAIRS, tmp_path)
    [line] = distribution_anomalies(anomalies.uri, DRIFT_PAIRS)
    assert line.startswith("train rows: user_history is distributed differently")


def test_skew_compares_evaluation_with_training(config, statistics, tmp_path):
    current = statistics("now", train=rows(), eval=rows(surfaces=("feed", "profile")))
    anomalies = validate(config, current, [current], SKEW_PAIRS, tmp_path)
    [line] = distribution_anomalies(anomalies.uri, SKEW_PAIRS)
    assert line.startswith("eval rows: surface is distributed differently than in the train rows: L-infinity distance 0.")
    assert has_anomalies(anomalies)


def test_column_that_the_previous_run_lacks_cannot_be_compared(config, statistics, tmp_path):
    lacking = rows().drop(columns="surface")
    current, previous = statistics("now", train=rows(), eval=rows()), statistics("before", train=lacking, eval=rows())
    anomalies = validate(config, current, [previous], DRIFT_PAIRS, tmp_path)
    assert distribution_anomalies(anomalies.uri, DRIFT_PAIRS) == [
        "train rows: surface cannot be compared with the one in the previous run: one of them has no values"
    ]
    assert has_anomalies(anomalies)


def test_first_run_has_nothing_to_compare_with(config, statistics, tmp_path):
    anomalies = validate(config, statistics("now", train=rows(), eval=rows()), [], DRIFT_PAIRS, tmp_path)
    assert distribution_anomalies(anomalies.uri, DRIFT_PAIRS) is None
    assert not has_anomalies(anomalies)


@pytest.mark.parametrize(("column", "norm"), [("surface", "infinity_norm"), ("user_history", "jensen_shannon_divergence")])
def test_norm_follows_the_type(tree, column, norm):
    config = Config.model_validate(tree)
    [feature] = distribution_config({column: 0.25}, labelled_schema(config.data)).default_slice_config.feature
    assert list(feature.path.step) == [column]
    assert [(field.name, value.threshold) for field, value in feature.distribution_comparator.ListFields()] == [(norm, 0.25)]


def test_schema_anomalies_name_the_column(statistics, tmp_path):
    schema = text_format.Parse(
        'feature { name: "surface" type: BYTES domain: "surfaces" } feature { name: "duration_seconds" type: FLOAT } '
        'feature { name: "user_history" type: FLOAT } string_domain { name: "surfaces" value: "feed" value: "search" }',
        schema_pb2.Schema(),
    )
    schema_artifact = standard_artifacts.Schema()
    schema_artifact.uri = str(tmp_path / "schema")
    (tmp_path / "schema").mkdir()
    tfdv.write_schema_text(schema, f"{schema_artifact.uri}/schema.pbtxt")
    anomalies = standard_artifacts.ExampleAnomalies()
    anomalies.uri = str(tmp_path / "anomalies")
    current = statistics("now", train=rows(), eval=rows(surfaces=("feed", "profile")))
    inputs = {"statistics": [current], "schema": [schema_artifact]}
    example_validator.Executor().Do(inputs, {"anomalies": [anomalies]}, {})
    [line] = schema_anomalies(anomalies.uri)
    assert line.startswith("eval rows: surface: Unexpected string values: ")
    assert "profile" in line
    assert has_anomalies(anomalies)
    assert artifact_utils.decode_split_names(anomalies.split_names) == ["train", "eval"]
