"""TF Serving's own configuration files, read as they are: which models, which versions, how to batch."""

import dataclasses
import os
import pathlib

from google.protobuf import text_format
from tensorflow_serving.config import model_server_config_pb2

from serving.errors import RequestError, ServerFileError
from serving.model_server.parameter_protos import BatchingParameters
from serving.model_server.policies import VersionPolicy

PLATFORM = "tensorflow"


@dataclasses.dataclass(frozen=True)
class ServedModel:
    """One model that the server is told to serve.

    Attributes:
        name: under which it is asked for.
        base_path: folder that holds a folder for each version.
        policy: `VersionPolicy`.
        number_by_label: version number by label.
    """

    name: str
    base_path: pathlib.Path
    policy: VersionPolicy
    number_by_label: dict = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class BatchingLimits:
    """How requests are put together, with TF Serving's names and defaults.

    Attributes:
        max_batch_size: most rows of a batch.
        batch_timeout_micros: longest that a batch waits to be filled once a thread is free, in microseconds.
        max_enqueued_batches: batches of one signature that may wait for a thread; a call beyond them is refused.
        num_batch_threads: batches that run at the same time.
        thread_pool_name: name of the threads in metrics.
        allowed_batch_sizes: sizes to which a batch is padded, increasing; empty for no padding.
        pad_variable_length_inputs: whether inputs whose other dimensions differ are padded, else they go in different batches.
    """

    max_batch_size: int = 1_000
    batch_timeout_micros: int = 0
    max_enqueued_batches: int = 10
    num_batch_threads: int = os.cpu_count() or 1
    thread_pool_name: str = "batch_threads"
    allowed_batch_sizes: tuple = ()
    pad_variable_length_inputs: bool = False


def read_models(path):
    """The models of a ModelServerConfig file.

    Args:
        path: file of TF Serving's `--model_config_file`.

    Returns:
        List of `ServedModel`.

    Raises:
        ServerFileError: If the file cannot be read, is no such text, or names what cannot be served.
    """
    message = read_text_proto(path, model_server_config_pb2.ModelServerConfig(), "serving.server.model_config_file")
    try:
        return models_of(message)
    except RequestError as error:
        raise ServerFileError(f"{path}: {error}") from error


def models_of(message):
    """The models of a ModelServerConfig message.

    Args:
        message: `ModelServerConfig`, of a file or of a call.

    Returns:
        List of `ServedModel`.

    Raises:
        RequestError: If it holds no list of models, names one twice, or names what cannot be served.
    """
    if message.WhichOneof("config") != "model_config_list":
        raise RequestError(
            "INVALID_ARGUMENT",
            "ServerModelConfig type not supported by HandleReloadConfigRequest. Only ModelConfigList is currently supported",
        )
    models = [_model_of(config) for config in message.model_config_list.config]
    names = [model.name for model in models]
    for name in names:
        if names.count(name) > 1:
            raise RequestError("INVALID_ARGUMENT", f"Illegal to list model {name} multiple times in config list")
    return models


def read_batching(path):
    """The limits of a BatchingParameters file.

    Args:
        path: file of TF Serving's `--batching_parameters_file`.

    Returns:
        `BatchingLimits`.

    Raises:
        ServerFileError: If the file cannot be read, is no such text, or its numbers do not fit each other.
    """
    message = read_text_proto(path, BatchingParameters(), "serving.server.batching_parameters_file")
    given = {field.name: getattr(value, "value", value) for field, value in message.ListFields()}
    if "allowed_batch_sizes" in given:
        given["allowed_batch_sizes"] = tuple(given["allowed_batch_sizes"])
    limits = BatchingLimits(**given)
    for name, least in {
        "max_batch_size": 1,
        "batch_timeout_micros": 0,
        "max_enqueued_batches": 1,
        "num_batch_threads": 1,
    }.items():
        if getattr(limits, name) < least:
            raise ServerFileError(f"{path}: {name} must be at least {least}. Received: {getattr(limits, name)}")
    sizes = limits.allowed_batch_sizes
    if sizes and (sizes[-1] != limits.max_batch_size or list(sizes) != sorted(set(sizes)) or sizes[0] < 1):
        raise ServerFileError(
            f"{path}: allowed_batch_sizes must be positive, increase, and end with max_batch_size={limits.max_batch_size}. "
            f"Received: {list(sizes)}"
        )
    return limits


def read_text_proto(path, message, key):
    """A message filled from its text.

    Args:
        path: the file.
        message: empty message of the wanted type.
        key: dotted key of the configuration that named the file.

    Returns:
        `message`.

    Raises:
        ServerFileError: If the file cannot be read or is not the text of such a message.
    """
    try:
        text = pathlib.Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ServerFileError(f"{key} must name a readable text file. Received: {path}: {error}") from error
    try:
        return text_format.Parse(text, message)
    except text_format.ParseError as error:
        raise ServerFileError(
            f"{path}:{error.GetLine() or 1}: must be the text of a {message.DESCRIPTOR.name}. Received: {error}"
        ) from error


def _model_of(config):
    # Field 4, model_type, is what TF Serving had before model_platform.
    platform = config.model_platform or (PLATFORM if config.model_type == model_server_config_pb2.TENSORFLOW else "")
    if not platform:
        raise RequestError(
            "INVALID_ARGUMENT",
            "Illegal setting neither ModelServerConfig::model_type (deprecated) nor ModelServerConfig::model_platform.",
        )
    if platform != PLATFORM:
        raise RequestError("INVALID_ARGUMENT", f"Model {config.name} requests unsupported platform {platform}")
    if not config.name:
        raise RequestError("INVALID_ARGUMENT", f"name of a model must not be empty. Received: base_path={config.base_path}")
    if not os.path.isabs(config.base_path):
        raise RequestError(
            "INVALID_ARGUMENT",
            f"Expected model {config.name} to have an absolute path or URI; got base_path()={config.base_path}",
        )
    policy = _policy_of(config.model_version_policy)
    return ServedModel(config.name, pathlib.Path(config.base_path), policy, dict(config.version_labels))


def _policy_of(message):
    choice = message.WhichOneof("policy_choice")
    if choice == "all":
        return VersionPolicy(num_latest=None)
    if choice == "specific":
        return VersionPolicy(num_latest=None, specific=frozenset(message.specific.versions))
    return VersionPolicy(num_latest=max(message.latest.num_versions, 1))
