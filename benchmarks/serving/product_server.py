"""The product in a process of its own: `python -m benchmarks.serving.product_server FILE`, a job's configuration as JSON.

Starts model server and ranker as `smalltowers serve` does, prints their ports as JSON, and serves until it is killed.
"""

import json
import pathlib
import sys

from pipeline.config import Config
from serving.model_server.server import ModelServer
from serving.pauses import spare_pauses
from serving.ranker.service import RankerServer


def main(arguments):
    """Serves until it is killed.

    Args:
        arguments: the file.
    """
    config = Config.model_validate_json(pathlib.Path(*arguments).read_text(encoding="utf-8"))
    model_server = ModelServer(config.serving, str(config.models_folder))
    port = model_server.start()
    ranker = RankerServer(config.serving, str(config.features_folder), str(config.root / "exposures"), model_server.local)
    ports = {"model": port, "ranker": ranker.start()}
    spare_pauses()
    print(json.dumps(ports), flush=True)
    ranker.wait()


if __name__ == "__main__":
    main(sys.argv[1:])
