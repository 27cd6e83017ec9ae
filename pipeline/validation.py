"""Drift and skew: limits of the configuration for TFX's DistributionValidator, and what the validators found, in words."""

import pyarrow as pa
from tensorflow_metadata.proto.v0 import anomalies_pb2
from tfx.dsl.io import fileio
from tfx.proto import distribution_validator_pb2

from data.schema import EVAL_SPLIT, SPLITS, TRAIN_SPLIT

ANOMALIES_FILE = "SchemaDiff.pb"

# (these rows, the rows that they are compared with)
DRIFT_PAIRS = ((TRAIN_SPLIT, TRAIN_SPLIT), (EVAL_SPLIT, EVAL_SPLIT))
SKEW_PAIRS = ((EVAL_SPLIT, TRAIN_SPLIT),)

_DISTANCES = {
    anomalies_pb2.DriftSkewInfo.Measurement.L_INFTY: "L-infinity distance",
    anomalies_pb2.DriftSkewInfo.Measurement.JENSEN_SHANNON_DIVERGENCE: "Jensen-Shannon divergence",
}


def distribution_config(limit_by_column, schema):
    """Translates limits for TFX.

    Args:
        limit_by_column: largest distance by column.
        schema: Arrow schema of labelled rows; strings are compared by L-infinity, numbers by Jensen and Shannon.

    Returns:
        `DistributionValidatorConfig`.
    """
    config = distribution_validator_pb2.DistributionValidatorConfig()
    for column, limit in sorted(limit_by_column.items()):
        type_ = schema.field(column).type
        is_string = pa.types.is_string(type_.value_type if pa.types.is_list(type_) else type_)
        feature = config.default_slice_config.feature.add()
        feature.path.step.append(column)
        comparator = feature.distribution_comparator
        (comparator.infinity_norm if is_string else comparator.jensen_shannon_divergence).threshold = limit
    return config


def schema_anomalies(folder):
    """What the ExampleValidator found.

    Args:
        folder: of its artifact.

    Returns:
        One line for each column and split that the schema does not allow.
    """
    lines = []
    for split in SPLITS:
        path = f"{folder}/Split-{split}/{ANOMALIES_FILE}"
        if not fileio.exists(path):
            continue
        anomalies = _read(path)
        for column, info in sorted(anomalies.anomaly_info.items()):
            lines.append(f"{split} rows: {column}: {info.short_description}: {info.description}")
        if anomalies.HasField("dataset_anomaly_info"):
            lines.append(f"{split} rows: {anomalies.dataset_anomaly_info.description}")
    return lines


def distribution_anomalies(folder, pairs):
    """What a DistributionValidator found.

    Args:
        folder: of its artifact.
        pairs: `DRIFT_PAIRS` or `SKEW_PAIRS`.

    Returns:
        One line for each column and pair beyond its limit, or that could not be compared; None where there was nothing to
        compare with.
    """
    lines = []
    for split, baseline in pairs:
        path = f"{folder}/SplitPair-{split}_{baseline}/{ANOMALIES_FILE}"
        if not fileio.exists(path):
            return None
        than = "in the previous run" if split == baseline else f"in the {baseline} rows"
        anomalies = _read(path)
        distances = {info.path.step[0]: info.drift_measurements for info in anomalies.drift_skew_info}
        for column in sorted(anomalies.anomaly_info):
            lines.append(f"{split} rows: {column} {_distance(distances.get(column), than)}")
    return lines


def _read(path):
    with fileio.open(path, "rb") as file:
        return anomalies_pb2.Anomalies.FromString(file.read())


def _distance(measurements, than):
    if not measurements:
        return f"cannot be compared with the one {than}: one of them has no values"
    beyond = max(measurements, key=lambda measurement: measurement.value - measurement.threshold)
    return (
        f"is distributed differently than {than}: {_DISTANCES[beyond.type]} {beyond.value:.3f}, "
        f"at most {beyond.threshold:g} is allowed"
    )
