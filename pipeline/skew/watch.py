"""What was served of one version against what it was trained on, column by column."""

import collections
import dataclasses

import tensorflow as tf
from google.protobuf.message import DecodeError
from tensorflow_metadata.proto.v0 import statistics_pb2
from tfx_bsl.coders import example_coder

from pipeline.errors import SkewError
from pipeline.skew import statistics
from pipeline.skew.chance import Resampling
from pipeline.skew.comparing import ColumnRule, ColumnSkew, compare_columns
from pipeline.skew.exposed import ServedRows, read_served
from pipeline.skew.lineage import origin_of
from pipeline.skew.predictions import foreign_shares, prediction_batch
from serving.exposure.record import SERVED_FEATURES

# Their values come and go; how frequent each is says nothing, but whether training knew them does.
_IDS = ("user_id", "item_id")
# More than rare roundings at the edge of what counts as equal.
_MOST_FOREIGN = 0.01
_KINDS = {
    statistics_pb2.FeatureNameStatistics.INT: "int64_list",
    statistics_pb2.FeatureNameStatistics.FLOAT: "float_list",
    statistics_pb2.FeatureNameStatistics.STRING: "bytes_list",
}


@dataclasses.dataclass(frozen=True)
class SkewReport:
    """What a skew watch found.

    Attributes:
        served: the rows, and which were left out.
        columns: tuple of `ColumnSkew`, those that left their range first.
        faults: by column, a line for what is wrong with it other than its values.
        notes: lines for what was not compared, and why.
    """

    served: ServedRows
    columns: tuple[ColumnSkew, ...]
    faults: dict[str, str]
    notes: tuple[str, ...]

    @property
    def skewed(self):
        """Names of the columns that left their range."""
        return tuple(dict.fromkeys([*(column.name for column in self.columns if column.reasons), *self.faults]))


def watch(config, pattern, version=None):
    """Compares served rows with the training rows and the evaluated predictions of their version.

    Args:
        config: `pipeline.config.Config` of the job, whose limits count.
        pattern: of the segments of the exposure log.
        version: of the model; None for the newest that answered.

    Returns:
        `SkewReport`.

    Raises:
        ExposureLogError: If no segment can be read.
        SkewError: If there is too little to compare, or nothing to compare it with.
        VersionError: If the version's folder is gone.
    """
    served = read_served(pattern, version)
    origin = origin_of(config, served.version)
    training = statistics.by_name(origin.training)
    batch, unread, foreign = _decoded(served.examples, origin.config.model.columns, training)
    resampling = Resampling(served.users, max(training["user_id"].string_stats.unique, 1))
    rules, faults, notes = _rules(config.validation, origin, batch.schema.names, training)
    faults |= {name: f"{name} has another type than in training: in {count} rows" for name, count in foreign.items()}
    if unread:
        notes.append(f"not compared, as the model does not read them: {', '.join(sorted(unread))}")
    columns = compare_columns(batch, origin.training, rules, resampling)
    if origin.predictions is None:
        notes.append(
            f"predictions are not compared with those before the push: the gate of version {served.version} wrote none; "
            "smalltowers run --fresh does"
        )
    else:
        columns += compare_columns(
            prediction_batch(served.predictions),
            origin.predictions,
            _prediction_rules(config.validation, statistics.by_name(origin.predictions)),
            resampling,
            "its evaluation",
        )
    faults |= _foreign_predictions(origin.folder, served)
    columns.sort(key=lambda column: not column.reasons)
    return SkewReport(served, tuple(columns), faults, tuple(notes))


def _decoded(examples, read_names, training):
    """Served rows as a record batch of what the model reads; names of the other columns; rows by column of another type.

    What a client sends beside that may be anything, and is no reason not to look at the rest.
    """
    kept, unread, foreign = [], set(), collections.Counter()
    for serialized in examples:
        try:
            example = tf.train.Example.FromString(serialized)
        except DecodeError as error:
            raise SkewError(f"served features must be tf.Examples. Received: {error}") from error
        features = example.features.feature
        for name in list(features):
            if name not in read_names:
                unread.add(name)
                del features[name]
            elif name in training and features[name].WhichOneof("kind") not in (None, _KINDS.get(training[name].type)):
                foreign[name] += 1
                del features[name]
        kept.append(example.SerializeToString())
    return example_coder.ExamplesToRecordBatchDecoder().DecodeBatch(kept), unread, foreign


def _foreign_predictions(folder, served):
    """Lines by prediction that is not the version's own, or one for features that the version refuses."""
    try:
        share_by_name = foreign_shares(folder, served.examples, served.predictions)
    except SkewError as error:
        return {SERVED_FEATURES: str(error)}
    return {
        name: f"{name} is not what version {served.version} gives for the served features: in {100 * share:.1f}% of the rows"
        for name, share in share_by_name.items()
        if share > _MOST_FOREIGN
    }


def _rules(validation, origin, served_names, training):
    """`ColumnRule` by name of the columns that the model reads, faults by name of others, notes on what is not compared."""
    model = origin.config.model
    defaults = {
        feature.name: feature.default
        for feature in model.features
        if "default" in type(feature).model_fields and feature.default != type(feature).model_fields["default"].default
    }
    rules, faults, notes = {}, {}, []
    for name in model.columns:
        if name not in training:
            if name in served_names:
                faults[name] = f"{name} is served, and no training row has it"
            continue
        if name in defaults and name not in served_names:
            notes.append(f"{name} is not compared: no request has it, and its default {defaults[name]} stands in")
            continue
        limit = validation.served_skew.get(name, validation.served_skew_limit)
        rules[name] = ColumnRule(
            limit, has_distance=name not in _IDS, may_lack=name in defaults, vocabulary=origin.vocabularies.get(name)
        )
    return rules, faults, notes


def _prediction_rules(validation, predictions):
    """Shown items are the best of the candidates: how their predictions are distributed counts only where a limit is set."""
    limits = validation.served_skew
    return {
        name: ColumnRule(limits.get(name, validation.served_skew_limit), judges_distance=name in limits) for name in predictions
    }
