"""Weights of an exported ranker as the beginning of another one's training, embeddings value by value."""

import numpy as np
import pydantic
import tensorflow as tf
from tensorflow.core.protobuf import trackable_object_graph_pb2

from models.errors import TrainingError
from models.warm_start_report import CopiedRows, WarmStartReport

# Beside an exported ranker: its features, where their embeddings lie, and for which values.
INPUTS_FILE = "assets.extra/inputs.json"


class SavedTable(pydantic.BaseModel):
    """An embedding table of an exported ranker.

    Attributes:
        variable: name of the variable that holds it among others.
        first_row: of the table in the variable.
        num_rows: of the table.
        vocabulary: file in the model's `assets` with the value of each of the first rows; None where rows are hashes or
            quantile buckets.
        num_values: rows that have a value; out-of-vocabulary rows follow.
    """

    variable: str
    first_row: int
    num_rows: int
    vocabulary: str | None
    num_values: int


# Stands before the names of variables that were made by calling the ranker, and not of those that a loss made.
_RANKER = "ranker/"


class SavedInputs(pydantic.BaseModel):
    """What an exported ranker reads.

    Attributes:
        features: of the body, by name, kind and width of an embedding, in their order.
        tables: by feature.
    """

    features: tuple[str, ...]
    tables: dict[str, SavedTable]


def save_inputs(ranker, tft_output, folder):
    """Writes beside an exported ranker what another one needs to begin from it.

    Args:
        ranker: the `MultiTaskRanker`.
        tft_output: `tft.TFTransformOutput` that it was trained with.
        folder: of the exported model.
    """
    path = f"{folder}/{INPUTS_FILE}"
    tf.io.gfile.makedirs(path.rpartition("/")[0])
    with tf.io.gfile.GFile(path, "w") as file:
        file.write(_inputs(ranker, tft_output).model_dump_json(indent=2))


def start_from(ranker, tft_output, folder):
    """Copies into a ranker what it has in common with an exported one.

    A row of an embedding table is copied by its value, through both vocabularies; rows of values that are new keep their
    initial values, and so do variables and tables of another shape. Layers read the features side by side: they are copied
    only if the features are the same, as wide, in the same order. Small towers and the bias tower, which are not exported,
    begin anew, as does the optimizer. A ranker of sources that did not write `INPUTS_FILE` yet, or wrote it otherwise, is no
    reason to stop the training of the one that would replace it: nothing is copied then, and the report says why, as it does
    where nothing fits.

    Args:
        ranker: `MultiTaskRanker` whose variables exist.
        tft_output: `tft.TFTransformOutput` that it is to be trained with.
        folder: of the exported model.

    Returns:
        `WarmStartReport`.

    Raises:
        TrainingError: If there is no exported ranker, or its variables or its `INPUTS_FILE` cannot be read.
    """
    saved_inputs, obstacle = _saved_inputs(folder)
    if saved_inputs is None:
        return WarmStartReport(str(folder), {}, 0, {}, obstacle)
    saved = _SavedRanker(str(folder), saved_inputs)
    copied, kept_initial = {}, {}
    inputs = _inputs(ranker, tft_output)
    tables = inputs.tables
    variables = {_name(variable): variable for variable in ranker.served_variables}
    for name, table in tables.items():
        rows, reason = _copied_rows(name, table, variables[table.variable], saved, tft_output)
        if rows is None:
            kept_initial[f"table of {name}"] = reason
        else:
            copied[name] = rows
    num_copied = 0
    for name in sorted(set(variables) - {table.variable for table in tables.values()}):
        value = saved.value(name)
        if inputs.features != saved.inputs.features:
            kept_initial[name] = "other features or widths before, or another order"
        elif value is None or value.shape != variables[name].shape:
            kept_initial[name] = _difference(value, variables[name].shape)
        else:
            variables[name].assign(value)
            num_copied += 1
    is_any = num_copied or any(rows.copied for rows in copied.values())
    return WarmStartReport(str(folder), copied, num_copied, kept_initial, "" if is_any else "nothing of it fits")


def _saved_inputs(folder):
    """`SavedInputs` of an exported ranker, or None and why there are none."""
    try:
        with tf.io.gfile.GFile(f"{folder}/{INPUTS_FILE}", "rb") as file:
            return SavedInputs.model_validate_json(file.read()), ""
    except tf.errors.NotFoundError:
        # A model of earlier sources is whole but for this file.
        if not tf.io.gfile.exists(f"{folder}/{tf.saved_model.SAVED_MODEL_FILENAME_PB}"):
            raise TrainingError(f"train.warm_start needs an exported model. Received: {folder}, which holds none") from None
        return None, f"it has no {INPUTS_FILE}"
    except pydantic.ValidationError as error:
        if error.errors()[0]["type"] == "json_invalid":
            cause = f"{folder}/{INPUTS_FILE}, which is no JSON"
            raise TrainingError(f"train.warm_start needs a model that can be read. Received: {cause}") from error
        return None, f"its {INPUTS_FILE} is of other sources: {error.error_count()} of its keys differ"


def _inputs(ranker, tft_output):
    features = {feature.name: feature for feature in ranker.config.features}
    tables = {}
    for name, rows in ranker.table_rows.items():
        num_oov_buckets = (
            None if getattr(features[name], "hash_buckets", None) else getattr(features[name], "num_oov_buckets", None)
        )
        has_values = num_oov_buckets is not None
        tables[name] = SavedTable(
            variable=_name(rows.variable),
            first_row=rows.first_row,
            num_rows=rows.num_rows,
            vocabulary=tft_output.vocabulary_file_by_name(name).rpartition("/")[2] if has_values else None,
            num_values=rows.num_rows - num_oov_buckets if has_values else 0,
        )
    layout = [_layout(feature, ranker.table_rows) for feature in ranker.config.body_features]
    return SavedInputs(features=layout, tables=tables)


def _layout(feature, table_rows):
    """What tells whether layers find a feature at the same place, made in the same way."""
    kind = getattr(feature, "transform", getattr(feature, "pooling", feature.kind))
    table = table_rows.get(getattr(feature, "shares", None) or feature.name)
    return f"{feature.name} {kind} {feature.dimension if table is None else table.variable.shape[1]}"


def _name(variable):
    return variable.name.partition(":")[0].removeprefix(_RANKER)


class _SavedRanker:
    """Variables, tables and vocabularies of an exported ranker, read from its files."""

    def __init__(self, folder, inputs):
        self._folder = folder
        self.inputs = inputs
        try:
            self._reader = tf.train.load_checkpoint(f"{folder}/variables/variables")
        except (tf.errors.OpError, ValueError) as error:
            cause = str(error).splitlines()[0]
            raise TrainingError(f"train.warm_start needs a model with its variables. Received: {folder}, {cause}") from error
        graph = trackable_object_graph_pb2.TrackableObjectGraph()
        graph.ParseFromString(self._reader.get_tensor("_CHECKPOINTABLE_OBJECT_GRAPH"))
        self._keys = {
            each.full_name.removeprefix(_RANKER): each.checkpoint_key
            for node in graph.nodes
            for each in node.attributes
            if each.full_name
        }

    def value(self, name):
        """NumPy array of a variable, or None."""
        key = self._keys.get(name)
        return None if key is None else self._reader.get_tensor(key)

    def values(self, table):
        """Values of a table's rows, as bytes, without the out-of-vocabulary ones."""
        with tf.io.gfile.GFile(f"{self._folder}/assets/{table.vocabulary}", "rb") as file:
            return file.read().split(b"\n")[: table.num_values]


def _copied_rows(name, table, variable, saved, tft_output):
    """Copies a table; `CopiedRows`, or None and why nothing was copied."""
    before = saved.inputs.tables.get(name)
    whole = before and saved.value(before.variable)
    if whole is None:
        return None, _difference(None, None)
    if (before.vocabulary is None) != (table.vocabulary is None):
        return None, "vocabulary on one side only"
    old = whole[before.first_row : before.first_row + before.num_rows]
    if old.shape[1] != variable.shape[1]:
        return None, f"dimension {old.shape[1]} before, now {variable.shape[1]}"
    if table.vocabulary is None:
        if before.num_rows != table.num_rows:
            return None, f"{before.num_rows} rows before, now {table.num_rows}"
        pairs = [(row, row) for row in range(table.num_rows)]
    else:
        pairs = _same_values(saved.values(before), tft_output.vocabulary_by_name(name)[: table.num_values])
        if before.num_rows - before.num_values == table.num_rows - table.num_values:
            num_oov_buckets = table.num_rows - table.num_values
            pairs += [(before.num_values + bucket, table.num_values + bucket) for bucket in range(num_oov_buckets)]
    sources, targets = np.array(pairs, np.int64).reshape(-1, 2).T
    values = variable.numpy()
    values[table.first_row + targets] = old[sources]
    variable.assign(values)
    return CopiedRows(len(pairs), table.num_rows - len(pairs), before.num_rows - len(pairs)), ""


def _same_values(before, now):
    row_by_value = {value: row for row, value in enumerate(before)}
    return [(row_by_value[value], row) for row, value in enumerate(now) if value in row_by_value]


def _difference(value, shape):
    if value is None:
        return "absent before"
    return f"shape {value.shape} before, now {tuple(shape)}"
