"""Configuration of the ranker and its training."""

from typing import Annotated, Literal

import pydantic

from data.config import FrozenConfig
from data.schema import CLICK, KEY_COLUMNS, LABELS, SATISFACTION, WATCH_SECONDS, mask_name, weight_name

Units = Annotated[int, pydantic.Field(ge=1)]


class CategoricalFeatureConfig(FrozenConfig):
    """A column of strings or integers, turned into an embedding by way of a vocabulary.

    Attributes:
        kind: "categorical".
        name: column of the labelled rows.
        dimension: width of the embedding.
        min_count: values seen less often in training share the out-of-vocabulary buckets.
        num_oov_buckets: at least 1.
        default: stands in where a row or a request lacks the column; "" in a column of integers is a value of its own.
    """

    kind: Literal["categorical"]
    name: str
    dimension: int = pydantic.Field(8, ge=1)
    min_count: int = pydantic.Field(1, ge=1)
    num_oov_buckets: int = pydantic.Field(1, ge=1)
    default: str | int = ""


class NumericFeatureConfig(FrozenConfig):
    """A column with a number in a row, or with a vector of them, of which each entry is transformed by itself.

    Attributes:
        kind: "numeric".
        name: column of the labelled rows.
        transform: "zscore", "log" (log1p of the value clipped at 0, then z-score) or "bucket" (quantile buckets, embedded).
        num_buckets: of the "bucket" transform.
        dimension: width of the embedding of a bucket.
        default: stands in where a row or a request lacks the column, in every entry of a vector.
        size: numbers in a row; None takes the shape that the data declares, and 1 where it declares none. The pipeline
            fills it in for columns of history.
    """

    kind: Literal["numeric"]
    name: str
    transform: Literal["zscore", "log", "bucket"] = "zscore"
    num_buckets: int = pydantic.Field(20, ge=2)
    dimension: int = pydantic.Field(8, ge=1)
    default: float = 0.0
    size: int | None = pydantic.Field(None, ge=1)


class SequenceFeatureConfig(FrozenConfig):
    """A column with a list of strings in a row, newest first: the mean of their embeddings, zeros for an empty list.

    Attributes:
        kind: "sequence".
        name: column of the labelled rows.
        dimension: width of the embedding; None with `shares`.
        shares: categorical feature whose vocabulary and embedding table the entries use too; None for their own.
        max_length: only so many entries, the newest, are read.
        min_count: entries seen less often in training share the out-of-vocabulary buckets; of an own vocabulary.
        num_oov_buckets: at least 1; of an own vocabulary.
    """

    kind: Literal["sequence"]
    name: str
    dimension: int | None = pydantic.Field(None, ge=1)
    shares: str | None = None
    max_length: int = pydantic.Field(20, ge=1)
    min_count: int = pydantic.Field(1, ge=1)
    num_oov_buckets: int = pydantic.Field(1, ge=1)

    @pydantic.model_validator(mode="after")
    def _has_one_table(self):
        if (self.dimension is None) == (self.shares is None):
            raise ValueError(
                f"one of dimension and shares must be given. Received: dimension={self.dimension}, shares={self.shares}"
            )
        if self.shares is not None and (self.min_count, self.num_oov_buckets) != (1, 1):
            raise ValueError(
                f"min_count and num_oov_buckets must be set at the feature that is shared. Received: shares={self.shares}"
            )
        return self


FeatureConfig = Annotated[
    CategoricalFeatureConfig | NumericFeatureConfig | SequenceFeatureConfig, pydantic.Field(discriminator="kind")
]


class SmallTowerConfig(FrozenConfig):
    """Under-parameterised auxiliary towers, present in training only.

    Attributes:
        kind: "linear" (one layer) or "pooled" (average-pool the representation into groups, then one layer).
        width: units averaged into one group; only for "pooled", where it must divide the bottom's width.
        gamma: weight of the auxiliary loss relative to the main one; 0 for no small towers.
        tasks: labels that get a small tower, at least one; None for all.
    """

    kind: Literal["linear", "pooled"] = "linear"
    width: int = pydantic.Field(1, ge=1)
    gamma: float = pydantic.Field(1.0, ge=0)
    tasks: tuple[str, ...] | None = pydantic.Field(None, min_length=1)

    @pydantic.model_validator(mode="after")
    def _width_is_read(self):
        if self.kind == "linear" and self.width != 1:
            raise ValueError(f"small_tower.width belongs to kind pooled. Received: kind=linear, width={self.width}")
        return self


class TaskConfig(FrozenConfig):
    """One task: a label, its head and its weight.

    Attributes:
        label: one of `data.schema.LABELS`; the mask column follows from it.
        head: "binary" (sigmoid, cross entropy) or "log1p" (squared error of log(1 + seconds)).
        weight: of the task in the total loss.
    """

    label: Literal["click", "watch_seconds", "satisfaction"]
    head: Literal["binary", "log1p"]
    weight: float = pydantic.Field(1.0, ge=0)

    @pydantic.model_validator(mode="after")
    def _head_suits_label(self):
        head = "log1p" if self.label == WATCH_SECONDS else "binary"
        if self.head != head:
            raise ValueError(f"head of the task {self.label} must be {head}. Received: {self.head}")
        return self


class ModelConfig(FrozenConfig):
    """Features -> embeddings -> shared bottom -> main tower and small tower per task -> heads.

    Attributes:
        features: inputs; a label, its mask or weight, or a key column is refused.
        bottom_units: widths of the shared bottom's layers.
        tower_units: widths of every main tower's hidden layers.
        dropout: rate in [0, 1) after every hidden layer of bottom and towers.
        embedding_l2: weight of the squared embeddings of a batch in the loss.
        small_tower: auxiliary towers; None for none.
        tasks: at least one, each label once.
    """

    features: tuple[FeatureConfig, ...] = pydantic.Field(min_length=1)
    bottom_units: tuple[Units, ...] = pydantic.Field((128, 64), min_length=1)
    tower_units: tuple[Units, ...] = (64,)
    dropout: float = pydantic.Field(0.0, ge=0, lt=1)
    embedding_l2: float = pydantic.Field(0.0, ge=0)
    small_tower: SmallTowerConfig | None = SmallTowerConfig()
    tasks: tuple[TaskConfig, ...] = pydantic.Field(
        (
            TaskConfig(label=CLICK, head="binary"),
            TaskConfig(label=WATCH_SECONDS, head="log1p", weight=0.2),
            TaskConfig(label=SATISFACTION, head="binary"),
        ),
        min_length=1,
    )

    @pydantic.field_validator("features")
    @classmethod
    def _features_may_be_read(cls, features):
        forbidden = {*LABELS, *map(mask_name, LABELS), *map(weight_name, LABELS), *KEY_COLUMNS}
        for name in _names_once("features.name", [feature.name for feature in features]):
            if name in forbidden:
                raise ValueError(f"features.name must not be a label, a mask, a weight or a key column. Received: {name}")
        categories = sorted(feature.name for feature in features if feature.kind == "categorical")
        for feature in features:
            if feature.kind == "sequence" and feature.shares not in (None, *categories):
                raise ValueError(
                    f"features.{feature.name}.shares must be a categorical feature, one of {categories}. "
                    f"Received: {feature.shares}"
                )
        return features

    @pydantic.field_validator("tasks")
    @classmethod
    def _tasks_differ(cls, tasks):
        _names_once("tasks.label", [task.label for task in tasks])
        return tasks

    @pydantic.model_validator(mode="after")
    def _small_tower_fits(self):
        small_tower = self.small_tower
        if small_tower is None or small_tower.gamma == 0:
            return self
        labels = [task.label for task in self.tasks]
        for label in _names_once("small_tower.tasks", small_tower.tasks or ()):
            if label not in labels:
                raise ValueError(f"small_tower.tasks must be labels of tasks ({', '.join(labels)}). Received: {label}")
        if small_tower.kind == "pooled" and self.bottom_units[-1] % small_tower.width:
            raise ValueError(
                "small_tower.width must divide the last of bottom_units. "
                f"Received: width={small_tower.width}, bottom_units={list(self.bottom_units)}"
            )
        if not self.tower_units and (small_tower.kind == "linear" or small_tower.width == 1):
            raise ValueError("small_tower must be simpler than the main tower; set gamma = 0. Received: tower_units=[]")
        return self

    def sized(self, size_by_name):
        """The same model with the sizes of its numeric features filled in.

        Args:
            size_by_name: numbers in a row by column; columns that no numeric feature reads are ignored.

        Returns:
            `ModelConfig`.

        Raises:
            ValueError: If a feature declares another size.
        """
        features = []
        for feature in self.features:
            size = size_by_name.get(feature.name)
            if isinstance(feature, NumericFeatureConfig) and size is not None:
                if feature.size not in (None, size):
                    raise ValueError(f"features.{feature.name}.size must be {size}, as the data's. Received: {feature.size}")
                feature = feature.model_copy(update={"size": size})
            features.append(feature)
        return self.model_copy(update={"features": tuple(features)})


def _names_once(key, names):
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"{key} must hold every name once. Received: {name} twice")
    return names


class TrainConfig(FrozenConfig):
    """How the ranker is trained.

    Attributes:
        batch_size: rows a step.
        epochs: passes over the training split.
        optimizer: "adam" or "adagrad".
        learning_rate: positive.
        shuffle_rows: size of the shuffle buffer.
        seed: of initial values, shuffling and dropout.
    """

    batch_size: int = pydantic.Field(512, ge=1)
    epochs: int = pydantic.Field(1, ge=1)
    optimizer: Literal["adam", "adagrad"] = "adam"
    learning_rate: float = pydantic.Field(1e-3, gt=0)
    shuffle_rows: int = pydantic.Field(100_000, ge=1)
    seed: int = 0
