"""Configuration of the service: address, model name, and how predictions become one score."""

import pydantic

from data.config import FrozenConfig
from serving.exposure.config import ExposureConfig
from serving.features.config import FeaturesConfig
from serving.model_server.config import ModelServerConfig
from serving.ranker.config import BlendConfig, RankerConfig


class ServingConfig(FrozenConfig):
    """The model server and the client that asks it.

    Attributes:
        host: address to listen on and to ask.
        port: of the gRPC server; 0 lets the system choose.
        model_name: name under which the versions are served.
        deadline_ms: of one request.
        max_workers: requests that the model server runs at the same time.
        max_message_mib: largest message in mebibytes, in both directions.
        poll_seconds: how often the version folder is looked at.
        max_candidates: most candidates of one ranking; a ranking of all items takes this many from the item table.
        context: request columns that are the same for every candidate, for example the surface.
        blend: how predictions become one score, where an arm does not say otherwise.
        server: what the model server does beyond its address.
        features: the feature store.
        ranker: the ranker service.
        exposure: the log of what was shown.
    """

    host: str = "127.0.0.1"
    port: int = pydantic.Field(8500, ge=0, le=65535)
    model_name: str = "ranker"
    deadline_ms: int = pydantic.Field(1_000, ge=1)
    max_workers: int = pydantic.Field(8, ge=1)
    max_message_mib: int = pydantic.Field(16, ge=1, le=1_024)
    poll_seconds: float = pydantic.Field(1.0, gt=0)
    max_candidates: int = pydantic.Field(1_000, ge=1)
    context: dict[str, str | int | float] = {}
    blend: BlendConfig = BlendConfig()
    server: ModelServerConfig = ModelServerConfig()
    features: FeaturesConfig = FeaturesConfig()
    ranker: RankerConfig = RankerConfig()
    exposure: ExposureConfig = ExposureConfig()
