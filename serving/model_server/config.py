"""Configuration of the model server: what is served, limits, batching, safety. Loads neither TensorFlow nor gRPC."""

import pydantic

from data.config import FrozenConfig


class TlsConfig(FrozenConfig):
    """Encryption of the gRPC port; files in PEM.

    Attributes:
        certificate_file: chain of the server's certificate.
        key_file: its private key.
        client_ca_file: authorities of which every client must show a certificate (mutual TLS); None to ask for none.
    """

    certificate_file: str
    key_file: str
    client_ca_file: str | None = None


class ModelServerConfig(FrozenConfig):
    """What the model server does beyond its address.

    Attributes:
        model_config_file: TF Serving's ModelServerConfig as text: several models, version policies, labels. None for the one
            model of `serving.model_name`.
        num_versions: newest versions of the one model that are served; a file has policies of its own.
        allow_version_labels_for_unavailable_models: whether a label that is new may name a version that is not loaded.
        settle_seconds: how long the files of a version must have been unchanged before it is loaded.
        batching_parameters_file: TF Serving's BatchingParameters as text; None for no batching.
        max_waiting: calls that wait while `serving.max_workers` run, or beyond these in the queues of batching; one more is
            refused at once.
        max_rows: most rows of one input of a request.
        grace_seconds: how long running calls may take after the order to stop.
        metrics_port: port of the Prometheus page, on the host of the service, 0 lets the system choose; None for no page.
        tls: encryption; None for plain text.
        token_file: file of bearer tokens, one a line, of which a call must carry one; None to ask for none.
        has_reflection: whether clients may ask for the schema of the services.
        intra_op_threads: TensorFlow's threads within an operation; 0 for one a core.
        inter_op_threads: TensorFlow's threads between operations; 0 for one a core.
    """

    model_config_file: str | None = None
    num_versions: int = pydantic.Field(1, ge=1)
    allow_version_labels_for_unavailable_models: bool = False
    settle_seconds: float = pydantic.Field(1.0, ge=0)
    batching_parameters_file: str | None = None
    max_waiting: int = pydantic.Field(64, ge=0)
    max_rows: int = pydantic.Field(16_384, ge=1)
    grace_seconds: float = pydantic.Field(5.0, ge=0)
    metrics_port: int | None = pydantic.Field(None, ge=0, le=65_535)
    tls: TlsConfig | None = None
    token_file: str | None = None
    has_reflection: bool = True
    intra_op_threads: int = pydantic.Field(0, ge=0)
    inter_op_threads: int = pydantic.Field(0, ge=0)
