"""The configuration of a job: one frozen tree, each branch owned by its package, read from TOML."""

import datetime
import itertools
import re
import sys
from pathlib import Path
from typing import Annotated

import pyarrow as pa
import pydantic

from data.columns import aggregate_column, aggregate_entries, candidate_columns, labelled_schema
from data.config import DataConfig, FrozenConfig
from data.schema import LABELS, SATISFACTION
from models.config import ModelConfig
from models.measures.registry import require_stopping_name
from models.train_config import TrainConfig
from pipeline.errors import ConfigError
from pipeline.evaluation_config import EvaluationConfig, check_gates, check_slice
from pipeline.tuner_config import TunerConfig, check_tuner, with_values
from serving.config import ServingConfig
from serving.exposure.record import PREDICTED_COLUMNS

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


# As messages of checks begin that name a key within their own branch: "history.aggregates.3.name must ...".
_KEY_WITHIN = re.compile(r"(?P<first>[a-z_]+)(\.\w+)* (must|needs|has|belongs) ")

# Within the folder of a pushed version.
CONFIG_FILE = "assets.extra/smalltowers.json"


class JobConfig(FrozenConfig):
    """Name of the job and where its results go.

    Attributes:
        name: of the pipeline, in letters, digits, "-" and "_".
        root: folder for artifacts, metadata, logs and pushed versions; None for `runs/<name>`, here.
        schema_file: TFDV schema (text format) that examples are validated against; None infers one from the training split.
        image: container image for Kubeflow.
    """

    name: str = pydantic.Field(pattern=r"^[A-Za-z][A-Za-z0-9_-]*$")
    root: str | None = None
    schema_file: str | None = None
    image: str = "smalltowers:latest"


Distance = Annotated[float, pydantic.Field(gt=0, le=1)]


class ValidationConfig(FrozenConfig):
    """How far the distribution of a column may move; beyond it lies an anomaly.

    Distances are the largest difference of a value's share (L-infinity) for strings, and the Jensen-Shannon divergence for
    numbers; both lie within 0 and 1.

    Attributes:
        drift: largest distance by column between this run's rows and the previous run's, split by split.
        skew: largest distance by column between the evaluation rows and the training rows.
        served_skew: largest difference by column between what was served and what the model was trained on; a distance of
            predictions, `predicted_click` and its like, counts only where it is named here.
        served_skew_limit: that of columns which are not named.
        blocking: whether an anomaly, one of the TFDV schema included, stops the push.
    """

    drift: dict[str, Distance] = {}
    skew: dict[str, Distance] = {}
    served_skew: dict[str, Distance] = {}
    served_skew_limit: Distance = 0.2
    blocking: bool = True


class Config(FrozenConfig):
    """The whole job.

    Attributes:
        job: name and place.
        data: ingestion.
        validation: of the labelled rows, against a schema and earlier rows.
        model: the ranker.
        train: its training.
        tuner: the search before it; None for none.
        evaluation: slices and gates.
        serving: the service.
    """

    job: JobConfig
    data: DataConfig
    validation: ValidationConfig = ValidationConfig()
    model: ModelConfig
    train: TrainConfig = TrainConfig()
    tuner: TunerConfig | None = None
    evaluation: EvaluationConfig = EvaluationConfig()
    serving: ServingConfig = ServingConfig()

    @property
    def root(self):
        """Folder of everything that the job writes."""
        return Path(self.job.root or f"runs/{self.job.name}").absolute()

    def anchored(self):
        """The same job with an absolute root, as it is recorded beside a model: meant relative to where the run began."""
        return self.model_copy(update={"job": self.job.model_copy(update={"root": str(self.root)})})

    def evaluated_from(self, day):
        """The same job with the first evaluation day by name, as it is recorded beside a model: logs go on, their end moves.

        Args:
            day: YYYY-MM-DD.

        Returns:
            `Config` without `data.split.eval_days`.
        """
        days = {"eval_from": datetime.date.fromisoformat(day), "eval_days": None}
        split = self.data.split.model_copy(update=days)
        return self.model_copy(update={"data": self.data.model_copy(update={"split": split})})

    def with_values(self, values):
        """The same job with other values at some keys, as the tuner finds them.

        Args:
            values: by dotted key of the tree.

        Returns:
            `Config`.

        Raises:
            KeyError: If there is no such key.
        """
        return type(self).model_validate(with_values(self.model_dump(mode="json"), values))

    @property
    def models_folder(self):
        """Folder of pushed versions, `<version>/saved_model.pb`."""
        return self.root / "models" / self.serving.model_name

    @property
    def features_folder(self):
        """Folder of the user and item tables that the service reads."""
        return self.root / "features"

    @property
    def sized_model(self):
        """The ranker, told how many numbers each column of the past holds."""
        aggregates = self.data.history.aggregates if self.data.history else ()
        return self.model.sized({aggregate_column(each): len(aggregate_entries(each)) for each in aggregates})

    @property
    def trained_model(self):
        """The ranker as it is trained: what differs by candidate is read behind all else.

        The columns of a request then lie in few blocks, one row of the user's or one row a candidate. Keys of a configuration
        count features in its own order, so values are put into `sized_model` before.
        """
        return self.sized_model.with_last(candidate_columns(self.data))

    @property
    def metadata_file(self):
        """The job's ML Metadata store."""
        return self.root / "metadata.sqlite"

    @pydantic.model_validator(mode="after")
    def _columns_exist(self):
        schema = labelled_schema(self.data)
        known = set(schema.names)
        for index, feature in enumerate(self.sized_model.features):
            if feature.kind == "cross":
                _require_no_column(f"model.features.{index}.name", feature.name, known)
                continue
            _require_column(f"model.features.{index}.name", feature.name, known)
            _require_suited_column(f"model.features.{index}", feature, schema.field(feature.name).type)
        for index, each in enumerate(self.evaluation.slices):
            key = f"evaluation.slices.{index}"
            _require_column(key, each.column, known)
            check_slice(key, each, schema.field(each.column).type, self.data)
        for branch in ("drift", "skew"):
            for name in getattr(self.validation, branch):
                _require_column(f"validation.{branch}.{name}", name, known)
        for name in self.validation.served_skew:
            _require_column(f"validation.served_skew.{name}", name, known | set(PREDICTED_COLUMNS))
        for name in self.serving.context:
            _require_column(f"serving.context.{name}", name, known)
        labels = {task.label for task in self.model.tasks}
        if labels != set(LABELS):
            raise ValueError(f"model.tasks must be {', '.join(LABELS)}, which the service blends. Received: {sorted(labels)}")
        check_gates(self.evaluation.gates, self.model.tasks)
        if self.train.early_stopping is not None:
            require_stopping_name("train.early_stopping.measure", self.train.early_stopping.measure, self.model.tasks)
        return self

    @pydantic.model_validator(mode="after")
    def _validation_is_set_aside(self):
        if self.data.split.validation_days:
            return self
        asked = {
            "tuner": self.tuner is not None,
            "train.early_stopping": self.train.early_stopping is not None,
            "train.refit": self.train.refit,
            **{f"model.tasks.{i}.calibration": task.calibration != "none" for i, task in enumerate(self.model.tasks)},
        }
        for key, is_asked in asked.items():
            if is_asked:
                raise ValueError(f"{key} needs validation rows: set data.split.validation_days to at least 1. Received: 0")
        return self

    @pydantic.model_validator(mode="after")
    def _chained_labels_are_known(self):
        known = self.data.satisfaction.known
        for index, task in enumerate(self.model.tasks):
            if task.label == SATISFACTION and task.given is not None and known != "all":
                # Its loss is that of the product of both: over clicked rows alone, all would teach that a click is certain.
                raise ValueError(
                    f"model.tasks.{index}.given needs labels of all rows: set data.satisfaction.known to all. Received: {known}"
                )
        return self

    @pydantic.model_validator(mode="after")
    def _tuner_fits(self):
        if self.tuner is not None:
            check_tuner(self)
        return self


def _require_no_column(key, name, known):
    if name in known:
        raise ValueError(f"{key} of a cross must not be that of a column. Received: {name}")


def _require_column(key, name, known):
    if name not in known:
        raise ValueError(
            f"{key} must be a column of the log or declared in data.context_columns, data.user_columns, data.item_columns, "
            f"data.bucket_columns or data.history. Received: {name}"
        )


def _require_suited_column(key, feature, type_):
    is_list = pa.types.is_list(type_)
    is_string = pa.types.is_string(type_.value_type if is_list else type_)
    is_suited, column = {
        "numeric": (not is_string, "a numeric column"),
        "categorical": (not is_list, "a column with one value a row"),
        "sequence": (is_list and is_string, "a column with a list of strings"),
    }[feature.kind]
    if not is_suited:
        raise ValueError(f"{key}: a {feature.kind} feature needs {column}. Received: {feature.name} ({type_})")


def load(path, overrides=()):
    """Reads and checks a configuration.

    Args:
        path: TOML file.
        overrides: strings `dotted.key=value`, entries of lists by their number from 0; a value that is not TOML is taken as a
            string.

    Returns:
        `Config`.

    Raises:
        ConfigError: If the file is missing, is not TOML, or a key or value is wrong; names the dotted key.
    """
    try:
        tree = tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(f"no configuration at {path}; those that ship lie in configs/") from None
    except (IsADirectoryError, PermissionError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} cannot be read as a TOML file: {error}") from None
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path} is not valid TOML: {error}") from None
    for override in overrides:
        _apply(tree, override)
    try:
        return Config.model_validate(tree)
    except pydantic.ValidationError as error:
        raise ConfigError(f"{path}: {_describe(error, tree)}") from None


def _apply(tree, override):
    key, separator, text = override.partition("=")
    if not separator or not all(key.split(".")):
        raise ConfigError(f"--set must be of the form dotted.key=value. Received: {override}")
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        value = text
    parts = key.split(".")
    for branch, below in itertools.pairwise(parts):
        tree = tree[int(branch)] if isinstance(tree, list) else tree.setdefault(branch, {})
        if not isinstance(tree, dict | list):
            raise ConfigError(f"--set {key}: {branch} is a value, not a table")
        if isinstance(tree, list) and not (below.isdecimal() and int(below) < len(tree)):
            raise ConfigError(f"--set {key}: entries of {branch} are numbered from 0 to {len(tree) - 1}. Received: {below}")
    tree[int(parts[-1]) if isinstance(tree, list) else parts[-1]] = value


def _describe(error, tree):
    """One line for all problems that pydantic found in a tree."""
    problems = []
    locations = [problem["loc"] for problem in error.errors()]
    for problem in error.errors():
        # A list whose entries are all wrong is called too short besides.
        depth = len(problem["loc"])
        if problem["type"] == "too_short" and any(each[:depth] == problem["loc"] and len(each) > depth for each in locations):
            continue
        key = _dotted_key(problem["loc"], tree, problem["type"] == "missing")
        message = problem["msg"].removeprefix("Value error, ")
        if problem["type"] == "extra_forbidden":
            message = "unknown key"
        elif problem["type"] == "missing":
            message = "required, but not given"
        elif problem["type"] != "value_error":
            message = f"{message}. Received: {problem['input']!r}"
        problems.append(_with_key(key, message))
    return "; ".join(problems)


def _with_key(key, message):
    """A message under the key of its branch; one that begins with a key within the branch is told by the whole of it."""
    begin = _KEY_WITHIN.match(message)
    if not key or not begin:
        return f"{key}: {message}" if key else message
    # A check of one field begins with its name, which the branch's key ends in then.
    above = key.removesuffix(begin["first"]).removesuffix(".") if f".{key}".endswith(f".{begin['first']}") else key
    return f"{above}.{message}" if above else message


def _dotted_key(location, tree, is_missing):
    """A problem's key as the user wrote it, or should have: a union adds the tag of its member to the location."""
    parts = []
    for index, part in enumerate(location):
        is_last = index == len(location) - 1
        is_written = isinstance(part, int) if isinstance(tree, list) else isinstance(tree, dict) and part in tree
        if not (is_written or (is_last and is_missing)):
            continue
        parts.append(str(part))
        tree = tree[part] if is_written else None
    return ".".join(parts)
