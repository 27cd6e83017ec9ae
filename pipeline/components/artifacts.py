"""Artifact types that TFX does not have."""

from tfx.types.artifact import Artifact


class FeatureTables(Artifact):
    """Parquet tables, `users.parquet` and `items.parquet` among them: what a service looks up by id."""

    TYPE_NAME = "smalltowers.FeatureTables"


class IngestionReport(Artifact):
    """`counts.json`, `label_counts.json`, and dead letters as JSONL, of one ingestion."""

    TYPE_NAME = "smalltowers.IngestionReport"


class TaskMetrics(Artifact):
    """`metrics.json`: the measures of a model by task on the evaluation days."""

    TYPE_NAME = "smalltowers.TaskMetrics"


class PublishedFeatures(Artifact):
    """`published.json`: where the feature tables of a pushed model went."""

    TYPE_NAME = "smalltowers.PublishedFeatures"
