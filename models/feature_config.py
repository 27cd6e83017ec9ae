"""Configuration of the ranker's inputs: which column becomes which embedding or number."""

from typing import Annotated, Literal

import pydantic

from data.config import FrozenConfig

# Width of an embedding, or "auto" for the rule of `models.inputs.embedding_dimension`.
Dimension = Annotated[int, pydantic.Field(ge=1)] | Literal["auto"]
Units = Annotated[int, pydantic.Field(ge=1)]


class CategoricalFeatureConfig(FrozenConfig):
    """A column of strings or integers, turned into an embedding by way of a vocabulary or of a hash.

    Attributes:
        kind: "categorical".
        name: column of the labelled rows.
        dimension: width of the embedding, or "auto"; that of the feature that is shared.
        min_count: values seen less often in training share the out-of-vocabulary buckets.
        num_oov_buckets: at least 1.
        hash_buckets: rows of the table that values are hashed into, without a vocabulary; None for a vocabulary.
        shares: categorical feature whose vocabulary and embedding table this one uses too; None for its own.
        default: stands in where a row or a request lacks the column; "" in a column of integers is a value of its own.
    """

    kind: Literal["categorical"]
    name: str
    dimension: Dimension = 8
    min_count: int = pydantic.Field(1, ge=1)
    num_oov_buckets: int = pydantic.Field(1, ge=1)
    hash_buckets: int | None = pydantic.Field(None, ge=2)
    shares: str | None = None
    default: str | int = ""

    @pydantic.model_validator(mode="after")
    def _table_is_declared_once(self):
        _require_defaults(self, "shares", ("dimension", "min_count", "num_oov_buckets", "hash_buckets"))
        _require_defaults(self, "hash_buckets", ("min_count", "num_oov_buckets"))
        return self


class NumericFeatureConfig(FrozenConfig):
    """A column with a number in a row, or with a vector of them, of which each entry is transformed by itself.

    Attributes:
        kind: "numeric".
        name: column of the labelled rows.
        transform: "zscore", "log" (log1p of the value clipped at 0, then z-score), "bucket" (quantile buckets, embedded) or
            "piecewise" (position within quantile buckets, each with a learned vector).
        clip: whether a value beyond the smallest or the largest of training counts as that one; of "zscore" and "log", as
            buckets clip anyway.
        num_buckets: of "bucket" and "piecewise".
        dimension: width of an entry's embedding, of "bucket" and "piecewise".
        default: stands in where a row or a request lacks the column, in every entry of a vector.
        size: numbers in a row; None takes the shape that the data declares, and 1 where it declares none. The pipeline
            fills it in for columns of history.
    """

    kind: Literal["numeric"]
    name: str
    transform: Literal["zscore", "log", "bucket", "piecewise"] = "zscore"
    clip: bool = True
    num_buckets: int = pydantic.Field(20, ge=2)
    dimension: int = pydantic.Field(8, ge=1)
    default: float = 0.0
    size: int | None = pydantic.Field(None, ge=1)

    @property
    def is_embedded(self):
        """Whether its entries become vectors of `dimension`."""
        return self.transform in ("bucket", "piecewise")


class SequenceFeatureConfig(FrozenConfig):
    """A column with a list of strings in a row, newest first, pooled to one vector; zeros for an empty list.

    Attributes:
        kind: "sequence".
        name: column of the labelled rows.
        dimension: width of the embedding, or "auto"; 8 unless it shares a table, whose dimension it has then.
        shares: categorical feature whose vocabulary and embedding table the entries use too; None for their own.
        pooling: "mean", "max" or "attention" (entries weighed by the candidate, which is the feature `target`).
        target: categorical feature of the same table whose value is compared with the entries; None for `shares`. Of
            "attention" alone.
        attention_units: widths of the hidden layers that weigh an entry against the candidate; of "attention" alone.
        max_length: only so many entries, the newest, are read.
        min_count: entries seen less often in training share the out-of-vocabulary buckets; of an own vocabulary.
        num_oov_buckets: at least 1; of an own vocabulary.
    """

    kind: Literal["sequence"]
    name: str
    dimension: Dimension = 8
    shares: str | None = None
    pooling: Literal["mean", "max", "attention"] = "mean"
    target: str | None = None
    attention_units: tuple[Units, ...] = (32,)
    max_length: int = pydantic.Field(20, ge=1)
    min_count: int = pydantic.Field(1, ge=1)
    num_oov_buckets: int = pydantic.Field(1, ge=1)

    @pydantic.model_validator(mode="after")
    def _table_is_declared_once(self):
        _require_defaults(self, "shares", ("dimension", "min_count", "num_oov_buckets"))
        if self.pooling == "attention" and self.shares is None:
            raise ValueError(f"shares must name the candidate's feature where pooling is attention. Received: {self.shares}")
        # Not by what was given: a configuration that was written out gives every key.
        is_default = self.attention_units == type(self).model_fields["attention_units"].default
        if self.pooling != "attention" and (self.target is not None or not is_default):
            raise ValueError(f"target and attention_units belong to pooling attention. Received: pooling={self.pooling}")
        return self

    @property
    def query(self):
        """Feature that entries are compared with, or None."""
        return (self.target or self.shares) if self.pooling == "attention" else None


class CrossFeatureConfig(FrozenConfig):
    """Several categorical features as one: their values together, hashed and embedded.

    Attributes:
        kind: "cross".
        name: of the new feature; no column of the data.
        of: names of categorical features, at least two.
        hash_buckets: rows of the table that combinations are hashed into.
        dimension: width of the embedding, or "auto".
    """

    kind: Literal["cross"]
    name: str
    of: tuple[str, ...] = pydantic.Field(min_length=2)
    hash_buckets: int = pydantic.Field(10_000, ge=2)
    dimension: Dimension = 8


FeatureConfig = Annotated[
    CategoricalFeatureConfig | NumericFeatureConfig | SequenceFeatureConfig | CrossFeatureConfig,
    pydantic.Field(discriminator="kind"),
]


def check_features(features):
    """Checks that features fit together.

    Args:
        features: feature configurations.

    Returns:
        The same features.

    Raises:
        ValueError: If a name repeats, or a feature that is shared, crossed or compared with is not a categorical one with a
            table of its own.
    """
    require_once("features.name", [feature.name for feature in features])
    categories = {feature.name: feature for feature in features if feature.kind == "categorical"}
    owners = sorted(name for name, feature in categories.items() if feature.shares is None)
    for feature in features:
        shares = getattr(feature, "shares", None)
        if shares is not None and shares not in owners:
            raise ValueError(
                f"features.{feature.name}.shares must be a categorical feature with a table, of {owners}. Received: {shares}"
            )
        query = feature.query if feature.kind == "sequence" else None
        if query is not None and query != shares and getattr(categories.get(query), "shares", None) != shares:
            raise ValueError(
                f"features.{feature.name}.target must be a categorical feature of the table of {shares}. Received: {query}"
            )
        for name in feature.of if feature.kind == "cross" else ():
            if name not in categories:
                raise ValueError(
                    f"features.{feature.name}.of must be categorical features, of {sorted(categories)}. Received: {name}"
                )
    return features


def require_once(key, names):
    """Checks that no name repeats.

    Args:
        key: of the configuration, for the message.
        names: sequence of strings.

    Returns:
        The same names.

    Raises:
        ValueError: If one repeats.
    """
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"{key} must hold every name once. Received: {name} twice")
    return names


def _require_defaults(config, key, others):
    """What a key makes meaningless may not be set beside it."""
    if getattr(config, key) is None:
        return
    for other in others:
        if getattr(config, other) != type(config).model_fields[other].default:
            raise ValueError(f"{other} has no meaning beside {key}. Received: {key}={getattr(config, key)}, {other} given")
