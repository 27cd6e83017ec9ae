"""`smalltowers serve`."""

import datetime
import signal

from pipeline.terminal import framework_noise_to


def serve_models(config):
    """Serves the pushed versions of a job until interrupted.

    Args:
        config: `pipeline.config.Config`.
    """
    log_file = config.root / "logs" / f"serve-{datetime.datetime.now():%Y%m%d-%H%M%S}.log"
    with framework_noise_to(log_file) as console:
        with console.status("Loading TensorFlow and the newest version ..."):
            from serving.model_server.server import ModelServer

            server = ModelServer(config.serving, str(config.models_folder))
            port = server.start()
        console.print(
            f"Serving {config.serving.model_name} on {config.serving.host}:{port} from {config.models_folder}; "
            f"stop with Ctrl-C; messages: {log_file}",
            soft_wrap=True,
            highlight=False,
        )
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        try:
            server.wait()
        except KeyboardInterrupt:
            with console.status("Finishing requests ..."):
                server.stop()
