"""Configuration of bodies, and of the interaction of features in front of them."""

from typing import Annotated, Literal

import pydantic

from data.config import FrozenConfig

Units = Annotated[int, pydantic.Field(ge=1)]


class SharedBottomConfig(FrozenConfig):
    """One stack of layers that all tasks read.

    Attributes:
        kind: "shared_bottom".
        units: widths of the layers.
    """

    kind: Literal["shared_bottom"] = "shared_bottom"
    units: tuple[Units, ...] = pydantic.Field((128, 64), min_length=1)

    @property
    def width(self):
        """Units of every task's representation."""
        return self.units[-1]


class MMoEConfig(FrozenConfig):
    """Experts that all tasks share, and a gate by task that mixes them.

    Attributes:
        kind: "mmoe".
        num_experts: at least 2.
        expert_units: widths of an expert's layers.
        gate_units: widths of the hidden layers of a gate; none for a linear gate.
    """

    kind: Literal["mmoe"]
    num_experts: int = pydantic.Field(8, ge=2)
    expert_units: tuple[Units, ...] = pydantic.Field((64,), min_length=1)
    gate_units: tuple[Units, ...] = ()

    @property
    def width(self):
        """Units of every task's representation."""
        return self.expert_units[-1]


class PLEConfig(FrozenConfig):
    """Experts of each task beside shared ones, in levels.

    Attributes:
        kind: "ple".
        num_levels: extraction levels; 1 is CGC.
        num_shared_experts: by level.
        num_task_experts: by level and task.
        expert_units: widths of an expert's layers, at every level.
        gate_units: widths of the hidden layers of a gate; none for a linear gate.
    """

    kind: Literal["ple"]
    num_levels: int = pydantic.Field(2, ge=1)
    num_shared_experts: int = pydantic.Field(2, ge=1)
    num_task_experts: int = pydantic.Field(2, ge=1)
    expert_units: tuple[Units, ...] = pydantic.Field((64,), min_length=1)
    gate_units: tuple[Units, ...] = ()

    @property
    def width(self):
        """Units of every task's representation."""
        return self.expert_units[-1]


class CustomBodyConfig(FrozenConfig):
    """A body of the user's own, found by its path.

    Attributes:
        kind: "custom".
        layer: "package.module:Class" of a subclass of `models.bodies.body.Body`.
        options: keyword arguments of its constructor.
    """

    kind: Literal["custom"]
    layer: str = pydantic.Field(pattern=r"^[A-Za-z_][\w.]*:[A-Za-z_]\w*$")
    options: dict = {}

    @property
    def width(self):
        """None: the layer alone knows."""
        return None


BodyConfig = Annotated[
    SharedBottomConfig | MMoEConfig | PLEConfig | CustomBodyConfig,
    pydantic.Field(discriminator="kind"),
]


class CrossConfig(FrozenConfig):
    """Layers of DCN-v2 over the features side by side; their output goes to the body.

    Attributes:
        kind: "cross".
        num_layers: degree of the highest interaction, less one.
        projection: rank of the layers' matrices; None for full rank.
    """

    kind: Literal["cross"]
    num_layers: int = pydantic.Field(2, ge=1)
    projection: int | None = pydantic.Field(None, ge=1)


class DotConfig(FrozenConfig):
    """Inner products of all pairs of features as in DLRM, beside the features themselves.

    Attributes:
        kind: "dot".
        dimension: that every feature is projected to before.
    """

    kind: Literal["dot"]
    dimension: int = pydantic.Field(16, ge=1)


InteractionConfig = Annotated[CrossConfig | DotConfig, pydantic.Field(discriminator="kind")]
