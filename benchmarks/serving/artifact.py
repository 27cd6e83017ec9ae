"""What is served in the race: a model as a job trains and exports it, its features in both stores, and requests to ask.

Shapes: R requests, N candidates.
"""

import dataclasses
import shutil

import numpy as np
from tensorflow.core.framework import tensor_pb2, types_pb2
from tensorflow.core.protobuf import saved_model_pb2
from tensorflow_serving.apis import predict_pb2

from benchmarks.prepared import prepare
from data.columns import candidate_columns
from data.schema import TRAIN_SPLIT, VALIDATION_SPLIT
from models.export import export
from models.training import fit
from serving.features.publication import Publication
from serving.features.redis_store import publish_to_redis
from serving.features.sqlite_store import SQLITE_FILE, publish_to_sqlite
from serving.features.tables import FeatureTables
from serving.protos import ranker_pb2
from serving.ranker.columns import RANK_SIGNATURE, ColumnEncoder, rank_inputs
from serving.ranker.request import ExampleEncoder

EXAMPLES_SIGNATURE = "serving_default"
VERSION = 1
# Any moment: ages follow from it.
NOW_MS = 1_651_600_000_000


def make_artifact(config, folder):
    """Trains a job's ranker for one pass, exports it and publishes its features where the service looks for them.

    Args:
        config: `pipeline.config.Config` whose root is where the service will look.
        folder: `pathlib.Path` for rows on their way.

    Returns:
        Folder of the SavedModel.
    """
    rows = folder / "rows"
    prepared = prepare(config, rows, config.sized_model.features)
    train_files, validation_files = (prepared.files_by_split.get(split, ()) for split in (TRAIN_SPLIT, VALIDATION_SPLIT))
    # As large and as slow as a ranker that was trained longer.
    train = config.train.model_copy(update={"epochs": 1, "refit": False})
    fitted = fit(config.trained_model, train, prepared.tft_output, train_files, validation_files)
    model_folder = config.models_folder / str(VERSION)
    export(fitted.ranker, prepared.tft_output, str(model_folder), fitted.calibrators, candidate_columns(config.data))
    shutil.copytree(rows / "tables", config.features_folder)
    publish_to_sqlite(publication(config), config.features_folder / SQLITE_FILE)
    return model_folder


def publication(config):
    """The published features of a job.

    Args:
        config: `pipeline.config.Config`.

    Returns:
        `serving.features.publication.Publication`.
    """
    return Publication.load(config.features_folder, config.serving.features, VERSION)


def publish_in_redis(config):
    """Publishes a job's features in the Redis that its configuration names.

    Args:
        config: `pipeline.config.Config`.
    """
    publish_to_redis(publication(config), config.serving.features)


@dataclasses.dataclass(frozen=True)
class Messages:
    """The same questions in three forms, serialized.

    Attributes:
        rank: `PredictRequest`s of the signature `rank`.
        examples: `PredictRequest`s of `serving_default`, a tf.Example for each candidate.
        ranker: `RankRequest`s.
    """

    rank: list
    examples: list
    ranker: list


def draw_messages(config, model_folder, num_requests, num_candidates, seed):
    """Requests of users and items that the features know, drawn at random.

    Args:
        config: `pipeline.config.Config`.
        model_folder: of the SavedModel.
        num_requests: R.
        num_candidates: N, different items.
        seed: of the draw.

    Returns:
        `Messages`, R of each form.
    """
    tables, specs = FeatureTables.load(config.features_folder), rank_inputs(_signature_defs(model_folder))
    columns, examples = ColumnEncoder(tables), ExampleEncoder(tables)
    rng = np.random.default_rng(seed)
    drawn = Messages([], [], [])
    for user_id in rng.choice(tables.user_ids, num_requests).tolist():
        item_ids = rng.choice(tables.item_ids, num_candidates, replace=False).tolist()
        asked = (user_id, item_ids, config.serving.context, {}, NOW_MS)
        drawn.rank.append(_predict_request(config, RANK_SIGNATURE, columns.encode(specs, *asked)))
        serialized = tensor_pb2.TensorProto(dtype=types_pb2.DT_STRING, string_val=examples.encode(*asked))
        serialized.tensor_shape.dim.add(size=num_candidates)
        drawn.examples.append(_predict_request(config, EXAMPLES_SIGNATURE, {"examples": serialized}))
        drawn.ranker.append(ranker_pb2.RankRequest(user_id=user_id, candidates=item_ids).SerializeToString())
    return drawn


def _signature_defs(model_folder):
    saved = saved_model_pb2.SavedModel.FromString((model_folder / "saved_model.pb").read_bytes())
    return dict(saved.meta_graphs[0].signature_def)


def _predict_request(config, signature, inputs):
    request = predict_pb2.PredictRequest()
    request.model_spec.name, request.model_spec.signature_name = config.serving.model_name, signature
    for name, tensor in inputs.items():
        request.inputs[name].CopyFrom(tensor)
    return request.SerializeToString()
