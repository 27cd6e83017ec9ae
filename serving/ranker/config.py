"""Configuration of the ranker: how predictions become one score, whom it asks, and what it does when nobody answers."""

import itertools
from typing import Annotated, Literal

import pydantic

from data.config import FrozenConfig
from serving.experiments.config import ExperimentConfig

_PredictionName = Literal["click", "watch_seconds", "satisfaction"]


class DurationConfig(FrozenConfig):
    """What is usually watched of an item of some duration, and how much of it a score is corrected by.

    Attributes:
        column: numeric item column with the duration; a request may override it.
        durations: ascending, in the unit of the column.
        usual_watch_seconds: mean watch time at each duration; in between on a line, outside as at the nearest.
        strength: 0 leaves watch time as it is, 1 leaves nothing but its ratio to what is usual.
    """

    column: str
    durations: tuple[float, ...] = pydantic.Field(min_length=1)
    usual_watch_seconds: tuple[Annotated[float, pydantic.Field(ge=0)], ...]
    strength: float = pydantic.Field(1.0, ge=0, le=1)

    @pydantic.model_validator(mode="after")
    def _is_a_curve(self):
        if any(low >= high for low, high in itertools.pairwise(self.durations)):
            raise ValueError(f"durations must ascend. Received: {list(self.durations)}")
        if len(self.usual_watch_seconds) != len(self.durations):
            raise ValueError(
                f"usual_watch_seconds must hold one number a duration ({len(self.durations)}). "
                f"Received: {len(self.usual_watch_seconds)}"
            )
        return self


class DiversityConfig(FrozenConfig):
    """Maximal marginal relevance over the values of one item column.

    Attributes:
        column: item column, as a category or an author; an item without a value is like no other.
        relevance: 1 ranks by score alone; the lower, the more a value that was shown before costs.
    """

    column: str
    relevance: float = pydantic.Field(0.7, gt=0, le=1)


class BlendConfig(FrozenConfig):
    """How the predictions of a candidate become one score.

    geometric: click ** click_weight * watch ** watch_weight * satisfaction ** satisfaction_weight
    linear:    click_weight * click + watch_weight * (watch - 1) + satisfaction_weight * satisfaction

    where watch is one plus the expected watch time in seconds, corrected for the duration if that is declared.

    Attributes:
        kind: "geometric" or "linear".
        click_weight: weight of the click probability.
        watch_weight: weight of the watch time.
        satisfaction_weight: weight of the satisfaction probability.
        caps: by prediction the number above which more counts no more.
        duration: correction of watch time; None for none.
        diversity: of the ranking; None ranks by score alone.
    """

    kind: Literal["geometric", "linear"] = "geometric"
    click_weight: float = 1.0
    watch_weight: float = 0.5
    satisfaction_weight: float = 0.5
    caps: dict[_PredictionName, Annotated[float, pydantic.Field(gt=0)]] = {}
    duration: DurationConfig | None = None
    diversity: DiversityConfig | None = None


class ArmConfig(FrozenConfig):
    """What one arm of the traffic gets.

    Attributes:
        label: version label of the model, as "stable" or "canary"; None for the newest version.
        blend: None for `serving.blend`.
    """

    label: str | None = None
    blend: BlendConfig | None = None


class BackendAccessConfig(FrozenConfig):
    """How the ranker and a model server know each other; files in PEM.

    Attributes:
        ca_file: authorities of which the model server must show a certificate; None for plain text.
        certificate_file: of the ranker, for a model server that asks for one (mutual TLS).
        key_file: its private key.
        server_name: name in the model server's certificate where it is not the host of its address.
        token_file: file of bearer tokens, of which the first is shown; None for none.
    """

    ca_file: str | None = None
    certificate_file: str | None = None
    key_file: str | None = None
    server_name: str | None = None
    token_file: str | None = None

    @pydantic.model_validator(mode="after")
    def _certificates_are_whole(self):
        if (self.certificate_file is None) != (self.key_file is None):
            raise ValueError(
                f"certificate_file and key_file must be given together. Received: {self.certificate_file} and {self.key_file}"
            )
        if self.ca_file is None and (self.certificate_file or self.server_name):
            raise ValueError("certificate_file and server_name need ca_file: without it nothing is encrypted. Received: none")
        return self


class RankerConfig(FrozenConfig):
    """The ranker service.

    Attributes:
        port: of its gRPC server; 0 lets the system choose.
        max_workers: requests that are answered at the same time.
        metrics_port: port of the Prometheus page, on the host of the service, 0 lets the system choose; None for no page.
        backends: addresses of model servers, `host:port`, replicas of each other; none for the one at `serving.port`.
        access: how they are reached.
        attempt_ms: how long one replica is waited for while another is left; None for half of the time that is left.
        breaker_failures: failures in a row after which a replica is left alone.
        breaker_seconds: for so long; then one request tries it again.
        fallback_label: version label that is asked when the arm's own fails on all replicas; None for none.
        popularity_fallback: whether items are ranked by popularity when no model answers.
        max_request_items: most candidates of one `RankStream`.
        experiment: how users are parted into arms; None for one arm.
        arms: by name of the arm; one that is not named gets the newest version and `serving.blend`.
    """

    port: int = pydantic.Field(8600, ge=0, le=65535)
    max_workers: int = pydantic.Field(8, ge=1)
    metrics_port: int | None = pydantic.Field(None, ge=0, le=65_535)
    backends: tuple[str, ...] = ()
    access: BackendAccessConfig = BackendAccessConfig()
    attempt_ms: int | None = pydantic.Field(None, ge=1)
    breaker_failures: int = pydantic.Field(5, ge=1)
    breaker_seconds: float = pydantic.Field(5.0, gt=0)
    fallback_label: str | None = None
    popularity_fallback: bool = True
    max_request_items: int = pydantic.Field(20_000, ge=1)
    experiment: ExperimentConfig | None = None
    arms: dict[str, ArmConfig] = {}

    @pydantic.model_validator(mode="after")
    def _arms_are_of_the_experiment(self):
        names = self.experiment.arm_names if self.experiment else ("default",)
        if unknown := sorted(self.arms.keys() - set(names)):
            raise ValueError(f"arms must be of the experiment ({', '.join(names)}). Received: {unknown[0]}")
        return self
