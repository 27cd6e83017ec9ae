"""`smalltowers simulate`."""

import json
from pathlib import Path

from rich.console import Console

from data.simulator import TRUTH_FILE, simulate, write_feed
from data.source_config import EventsSourceConfig, SimulatorConfig
from pipeline.errors import ConfigError

SIMULATOR_FILE = "simulator.json"


def simulate_logs(config):
    """Writes the logs of a simulated feed to where the configuration's source reads them.

    Args:
        config: `pipeline.config.Config` with `data.simulator`.

    Raises:
        ConfigError: If `data.simulator` is missing or the source is not an event log.
    """
    console = Console(markup=False)
    folder = logs_folder(config)
    with console.status(f"Simulating {config.data.simulator.num_impressions:,} impressions ..."):
        # Until the new logs are whole, nothing may say which simulator they are of.
        (folder / SIMULATOR_FILE).unlink(missing_ok=True)
        feed = simulate(config.data.simulator)
        write_feed(feed, folder)
        (folder / SIMULATOR_FILE).write_text(config.data.simulator.model_dump_json(indent=2), encoding="utf-8")
    console.print(f"Simulated logs: {folder}", soft_wrap=True, highlight=False)


def logs_folder(config):
    """Folder that simulated logs go to.

    Args:
        config: `pipeline.config.Config`.

    Returns:
        `Path`.

    Raises:
        ConfigError: If `data.simulator` is missing or the source is not an event log.
    """
    if config.data.simulator is None:
        raise ConfigError("data.simulator is missing; without it there is no feed to simulate")
    if not isinstance(config.data.source, EventsSourceConfig):
        raise ConfigError(f'data.source.kind must be "events" to simulate. Received: "{config.data.source.kind}"')
    return Path(config.data.source.impressions).parent


def is_simulated(config):
    """Whether the logs of just this simulator are there already.

    Args:
        config: `pipeline.config.Config`.

    Returns:
        bool.
    """
    path = logs_folder(config) / SIMULATOR_FILE
    return path.exists() and SimulatorConfig.model_validate_json(path.read_text(encoding="utf-8")) == config.data.simulator


def read_truth(config):
    """What the simulator wrote about the feed that it made.

    Args:
        config: `pipeline.config.Config`.

    Returns:
        Dict; see `data.simulator`.
    """
    return json.loads((logs_folder(config) / TRUTH_FILE).read_text(encoding="utf-8"))
