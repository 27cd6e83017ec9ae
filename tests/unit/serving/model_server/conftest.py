import pytest

from serving.config import ServingConfig
from serving.model_server.config import ModelServerConfig
from tests.conformance.tiny_model import write_version


@pytest.fixture
def config():
    """A server that looks often and does not wait for files to rest."""
    return ServingConfig(
        port=0, poll_seconds=0.05, max_message_mib=1, max_workers=4, server=ModelServerConfig(settle_seconds=0)
    )


@pytest.fixture(scope="session")
def saved_models(tmp_path_factory):
    """Folder of versions 1 and 2, to be copied."""
    base_path = tmp_path_factory.mktemp("saved")
    for number in (1, 2):
        write_version(base_path, number)
    return base_path
