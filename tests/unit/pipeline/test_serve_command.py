import pytest

from pipeline.commands.serve import backend_address
from pipeline.errors import ConfigError


def test_a_backend_is_an_address():
    assert backend_address("tf-serving://models.internal:8500") == "models.internal:8500"
    assert backend_address("tf-serving://[::1]:8500/") == "[::1]:8500"


@pytest.mark.parametrize("text", ["models:8500", "tf-serving://models", "http://models:8500", "tf-serving://a b:1", ""])
def test_what_is_no_backend_is_told(text):
    with pytest.raises(ConfigError, match=r"--backend must be of the form tf-serving://host:port. Received: "):
        backend_address(text)
