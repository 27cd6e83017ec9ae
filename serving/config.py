"""Configuration of the service: address, model name, and how predictions become one score."""

import pydantic

from data.config import FrozenConfig


class BlendConfig(FrozenConfig):
    """Exponents of the weighted geometric blend.

    score = click ** click_weight * (1 + watch_seconds) ** watch_weight * satisfaction ** satisfaction_weight

    Attributes:
        click_weight: exponent of the click probability.
        watch_weight: exponent of one plus the expected watch time in seconds.
        satisfaction_weight: exponent of the satisfaction probability.
    """

    click_weight: float = 1.0
    watch_weight: float = 0.5
    satisfaction_weight: float = 0.5


class ServingConfig(FrozenConfig):
    """The model server and the client that asks it.

    Attributes:
        host: address to listen on and to ask.
        port: of the gRPC server; 0 lets the system choose.
        model_name: name under which the versions are served.
        deadline_ms: of one request.
        max_workers: threads that answer requests.
        max_message_mib: largest message in mebibytes, in both directions.
        poll_seconds: how often the version folder is looked at.
        max_candidates: most candidates of one ranking; a ranking of all items takes this many from the item table.
        context: request columns that are the same for every candidate, for example the surface.
        blend: how predictions become one score.
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
