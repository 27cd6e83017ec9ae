"""`smalltowers serve`."""

import contextlib
import datetime
import re
import signal

from pipeline.errors import ConfigError
from pipeline.terminal import framework_noise_to
from serving.pauses import spare_pauses


def serve_models(config, backends=()):
    """Serves the pushed versions of a job, and rankings by them, until interrupted.

    Args:
        config: `pipeline.config.Config`.
        backends: `tf-serving://host:port` of model servers that the ranker asks instead of one of its own; none for those
            of `serving.ranker.backends`, and without these one of its own.

    Raises:
        ConfigError: If a backend is not of that form.
    """
    addresses = tuple(map(backend_address, backends)) or config.serving.ranker.backends
    log_file = config.root / "logs" / f"serve-{datetime.datetime.now():%Y%m%d-%H%M%S}.log"
    with framework_noise_to(log_file) as console:
        with console.status("Loading TensorFlow and the newest version ..."):
            models, place = (None, ", ".join(addresses)) if addresses else _started_models(config)
            ranker, port = _started_ranker(config, addresses, models)
            spare_pauses()
        served = (
            f"{config.serving.model_name} on {place} from {config.models_folder}" if models else f"no model, but asking {place}"
        )
        console.print(
            f"Serving {served}; rankings on {config.serving.host}:{port}; stop with Ctrl-C; messages: {log_file}",
            soft_wrap=True,
            highlight=False,
        )
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        try:
            ranker.wait()
        except KeyboardInterrupt:
            with console.status("Finishing requests ..."), contextlib.ExitStack() as stack:
                # The ranker first: what it still has to answer, the model server answers it.
                if models is not None:
                    stack.callback(models.stop)
                ranker.stop()


def backend_address(text):
    """Address of a model server.

    Args:
        text: `tf-serving://host:port`.

    Returns:
        `host:port`.

    Raises:
        ConfigError: If it is not of that form.
    """
    if match := re.fullmatch(r"tf-serving://([^/:\s]+|\[[0-9a-fA-F:]+\]):(\d{1,5})/?", text):
        return f"{match[1]}:{match[2]}"
    raise ConfigError(f"--backend must be of the form tf-serving://host:port. Received: {text}")


def _started_models(config):
    from serving.model_server.server import ModelServer

    models = ModelServer(config.serving, str(config.models_folder))
    return models, f"{config.serving.host}:{models.start()}"


def _started_ranker(config, addresses, models):
    from serving.ranker.service import RankerServer

    own = config.serving.ranker.model_copy(update={"backends": addresses})
    with contextlib.ExitStack() as stack:
        if models is not None:
            stack.callback(models.stop)
        serving = config.serving.model_copy(update={"ranker": own})
        local = models and models.local
        ranker = RankerServer(serving, str(config.features_folder), config.root / "exposures", local)
        port = ranker.start()
        stack.pop_all()
    return ranker, port
