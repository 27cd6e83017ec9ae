"""Configuration of the ranker: features, body, towers, heads, balancing."""

import itertools
from typing import Literal

import pydantic

from data.config import FrozenConfig
from data.schema import CLICK, KEY_COLUMNS, LABELS, SATISFACTION, WATCH_SECONDS, mask_name, weight_name
from models.balancing.config import BalancingConfig, StaticConfig
from models.bodies.config import BodyConfig, InteractionConfig, SharedBottomConfig
from models.feature_config import FeatureConfig, NumericFeatureConfig, Units, check_features, require_once
from models.heads.config import GRADE, PROBABILITY, SECONDS, BinaryHeadConfig, HeadConfig, Log1pHeadConfig


class SmallTowerConfig(FrozenConfig):
    """Under-parameterised auxiliary towers, present in training only.

    Attributes:
        kind: "linear" (one layer), "pooled" (average-pool the representation into groups, then one layer), "bottleneck" (a
            linear layer of `width` units, then the output: less rank) or "mlp" (a ReLU layer of `width` units).
        width: units averaged into one group of "pooled", where it must divide the representation's; units of the hidden
            layer of "bottleneck" and "mlp".
        gamma: weight of the auxiliary loss relative to the main one; 0 for no small towers.
        temperature: that the auxiliary outputs are divided by before the loss, positive; above 1 the tower is asked for
            steeper outputs.
        tasks: labels that get a small tower, at least one; None for all.
    """

    kind: Literal["linear", "pooled", "bottleneck", "mlp"] = "linear"
    width: int = pydantic.Field(1, ge=1)
    gamma: float = pydantic.Field(1.0, ge=0)
    temperature: float = pydantic.Field(1.0, gt=0)
    tasks: tuple[str, ...] | None = pydantic.Field(None, min_length=1)

    @pydantic.model_validator(mode="after")
    def _width_is_read(self):
        if self.kind == "linear" and self.width != 1:
            raise ValueError(f"small_tower.width has no meaning for kind linear. Received: width={self.width}")
        return self


class BiasTowerConfig(FrozenConfig):
    """A shallow tower over what surrounds an item, added to the output in training and neutral when served.

    Attributes:
        features: names of features that this tower reads, and the body does not.
        units: widths of its hidden layers; none for a linear tower.
        dropout: rate in [0, 1) at which a row's bias is left out in training.
        tasks: labels whose output it is added to.
    """

    features: tuple[str, ...] = pydantic.Field(min_length=1)
    units: tuple[Units, ...] = ()
    dropout: float = pydantic.Field(0.1, ge=0, lt=1)
    tasks: tuple[str, ...] = pydantic.Field((CLICK, WATCH_SECONDS), min_length=1)


class TaskConfig(FrozenConfig):
    """One task: a label, its head and its weight.

    Attributes:
        label: column of the rows, one of `data.schema.LABELS` in the pipeline; the mask column follows from it.
        head: as `models.heads.config`; a kind alone may be given as a string.
        weight: of the task in the total loss.
        given: label of a binary task before this one on which this binary task depends: its tower gives the probability given
            the other, its loss and its served value are those of the product, over all rows (ESMM); None for none.
        calibration: how served values are corrected on the validation rows: "platt" (of a probability), "isotonic", or "none".
    """

    label: str
    head: HeadConfig
    weight: float = pydantic.Field(1.0, ge=0)
    given: str | None = None
    calibration: Literal["none", "platt", "isotonic"] = "none"

    @pydantic.model_validator(mode="after")
    def _head_suits_label(self):
        allowed = {CLICK: (PROBABILITY,), WATCH_SECONDS: (SECONDS,), SATISFACTION: (PROBABILITY, GRADE)}.get(self.label)
        if allowed is not None and self.head.serves not in allowed:
            raise ValueError(f"head of the task {self.label} must serve a {' or '.join(allowed)}. Received: {self.head.kind}")
        if self.given is not None and self.head.serves != PROBABILITY:
            raise ValueError(f"given belongs to a task with a binary head. Received: head={self.head.kind}")
        if self.calibration == "platt" and self.head.serves == SECONDS:
            raise ValueError(f"calibration of the task {self.label} must be isotonic or none. Received: platt")
        return self


class ModelConfig(FrozenConfig):
    """Features -> embeddings -> interaction -> body -> main tower and small tower per task -> heads.

    Attributes:
        features: inputs; a label, its mask or weight, or a key column is refused.
        interaction: of features in front of the body; None for features side by side.
        body: what the towers read.
        members: bodies with towers of their own, on the same inputs; served is their mean.
        tower_units: widths of every main tower's hidden layers.
        dropout: rate in [0, 1) after every hidden layer of body and towers.
        embedding_l2: weight of the squared embeddings of a batch in the loss.
        small_tower: auxiliary towers; None for none.
        bias_tower: of position and surface; None for none.
        tasks: at least one, each label once.
        balancing: of the tasks' losses.
    """

    features: tuple[FeatureConfig, ...] = pydantic.Field(min_length=1)
    interaction: InteractionConfig | None = None
    body: BodyConfig = SharedBottomConfig()
    members: int = pydantic.Field(1, ge=1)
    tower_units: tuple[Units, ...] = (64,)
    dropout: float = pydantic.Field(0.0, ge=0, lt=1)
    embedding_l2: float = pydantic.Field(0.0, ge=0)
    small_tower: SmallTowerConfig | None = SmallTowerConfig()
    bias_tower: BiasTowerConfig | None = None
    tasks: tuple[TaskConfig, ...] = pydantic.Field(
        (
            TaskConfig(label=CLICK, head=BinaryHeadConfig()),
            TaskConfig(label=WATCH_SECONDS, head=Log1pHeadConfig(), weight=0.2),
            TaskConfig(label=SATISFACTION, head=BinaryHeadConfig()),
        ),
        min_length=1,
    )
    balancing: BalancingConfig = StaticConfig()

    @property
    def body_features(self):
        """Features that the body reads."""
        of_bias = self.bias_tower.features if self.bias_tower else ()
        return tuple(feature for feature in self.features if feature.name not in of_bias)

    @property
    def bias_features(self):
        """Features that the bias tower reads."""
        of_bias = self.bias_tower.features if self.bias_tower else ()
        return tuple(feature for feature in self.features if feature.name in of_bias)

    @property
    def columns(self):
        """Names of the data's columns that the features read."""
        return tuple(feature.name for feature in self.features if feature.kind != "cross")

    @pydantic.field_validator("features")
    @classmethod
    def _features_may_be_read(cls, features):
        forbidden = {*LABELS, *map(mask_name, LABELS), *map(weight_name, LABELS), *KEY_COLUMNS}
        for feature in features:
            if feature.name in forbidden:
                raise ValueError(
                    f"features.name must not be a label, a mask, a weight or a key column. Received: {feature.name}"
                )
        return check_features(features)

    @pydantic.model_validator(mode="after")
    def _tasks_fit(self):
        labels = require_once("tasks.label", [task.label for task in self.tasks])
        names = {feature.name: feature for feature in self.features}
        for index, task in enumerate(self.tasks):
            for name in (task.label, mask_name(task.label), weight_name(task.label)):
                if name in names:
                    raise ValueError(f"features.name must not be a label, a mask or a weight. Received: {name}")
            binary = [other.label for other in self.tasks[:index] if other.head.serves == PROBABILITY]
            if task.given is not None and task.given not in binary:
                raise ValueError(
                    f"tasks.{index}.given must be a binary task before it, one of {binary}. Received: {task.given}"
                )
            duration = getattr(task.head, "duration", None)
            if duration is not None and not _is_monotone(names.get(duration)):
                raise ValueError(
                    f"tasks.{index}.head.duration must be a numeric feature, not a piecewise one. Received: {duration}"
                )
        for key, subset in (("small_tower", self.small_tower), ("bias_tower", self.bias_tower)):
            for label in require_once(f"{key}.tasks", (subset and subset.tasks) or ()):
                if label not in labels:
                    raise ValueError(f"{key}.tasks must be labels of tasks ({', '.join(labels)}). Received: {label}")
        return self

    @pydantic.model_validator(mode="after")
    def _small_towers_are_chained(self):
        """A small tower that took its parent's main output would be tied to it, and train the parent's main tower."""
        if self.small_tower is None or not self.small_tower.gamma or not self.small_tower.tasks:
            return self
        with_one = self.small_tower.tasks
        for task in self.tasks:
            if task.label in with_one and task.given not in (None, *with_one):
                raise ValueError(
                    f"small_tower.tasks must name {task.given} beside {task.label}, which is given it. "
                    f"Received: {', '.join(with_one)}"
                )
        return self

    @pydantic.model_validator(mode="after")
    def _bias_tower_fits(self):
        if self.bias_tower is None:
            return self
        names = [feature.name for feature in self.features]
        for name in require_once("bias_tower.features", self.bias_tower.features):
            if name not in names:
                raise ValueError(f"bias_tower.features must be names of features. Received: {name}")
        if not self.body_features:
            raise ValueError("bias_tower.features must leave a feature to the body. Received: all of them")
        for feature in self.features:
            of = {getattr(feature, "shares", None), getattr(feature, "query", None), *getattr(feature, "of", ())} - {None}
            if any((name in self.bias_tower.features) != (feature.name in self.bias_tower.features) for name in of):
                raise ValueError(f"bias_tower.features must not share tables with the body. Received: {feature.name}")
        return self

    @pydantic.model_validator(mode="after")
    def _small_tower_fits(self):
        small_tower, width = self.small_tower, self.body.width
        if small_tower is None or small_tower.gamma == 0 or width is None:
            return self
        if small_tower.kind == "pooled" and width % small_tower.width:
            raise ValueError(
                f"small_tower.width must divide the units of the body's output, {width}. Received: width={small_tower.width}"
            )
        for task in self.tasks:
            num_outputs = getattr(task.head, "num_thresholds", 1)
            has_one = small_tower.tasks is None or task.label in small_tower.tasks
            if has_one and not is_simpler(small_tower, width, self.tower_units, num_outputs):
                raise ValueError(
                    "small_tower must have fewer parameters than the main tower and no more rank; set gamma = 0 or another "
                    f"kind. Received: kind={small_tower.kind}, width={small_tower.width}, "
                    f"tower_units={list(self.tower_units)}, {num_outputs} output{'s' * (num_outputs > 1)} of {task.label}"
                )
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

    def with_last(self, columns):
        """The same model with its features in another order: those of some columns after all others, else as they stand.

        Args:
            columns: names of raw columns.

        Returns:
            `ModelConfig`.
        """

        def reads_any(feature):
            return not set(columns).isdisjoint({feature.name, getattr(feature, "query", None), *getattr(feature, "of", ())})

        return self.model_copy(update={"features": tuple(sorted(self.features, key=reads_any))})


def is_simpler(small_tower, width, tower_units, num_outputs):
    """Whether a small tower has fewer parameters than the main tower, and no layer or rank above its narrowest.

    Args:
        small_tower: `SmallTowerConfig`.
        width: units of the representation.
        tower_units: widths of the main tower's hidden layers.
        num_outputs: numbers that either tower gives a row.

    Returns:
        bool.
    """
    hidden = {"linear": (), "pooled": (), "bottleneck": (small_tower.width,), "mlp": (small_tower.width,)}[small_tower.kind]
    inputs = width // small_tower.width if small_tower.kind == "pooled" else width
    if max(hidden, default=min(inputs, num_outputs)) > min((width, *tower_units)):
        return False
    return num_parameters((inputs, *hidden, num_outputs)) < num_parameters((width, *tower_units, num_outputs))


def num_parameters(widths):
    """Kernels and biases of dense layers.

    Args:
        widths: of the input and of every layer.

    Returns:
        int.
    """
    return sum((before + 1) * after for before, after in itertools.pairwise(widths))


def _is_monotone(feature):
    return feature is not None and feature.kind == "numeric" and feature.transform != "piecewise"
