import pytest

from benchmarks.figures import PROJECT
from pipeline.commands.serve import backend_address, serve_models
from pipeline.config import load
from pipeline.errors import ConfigError


def test_a_backend_is_an_address():
    assert backend_address("tf-serving://models.internal:8500") == "models.internal:8500"
    assert backend_address("tf-serving://[::1]:8500/") == "[::1]:8500"


@pytest.mark.parametrize("text", ["models:8500", "tf-serving://models", "http://models:8500", "tf-serving://a b:1", ""])
def test_what_is_no_backend_is_told(text):
    with pytest.raises(ConfigError, match=r"--backend must be of the form tf-serving://host:port. Received: "):
        backend_address(text)


TLS = ["serving.server.tls.certificate_file=c.pem", "serving.server.tls.key_file=k.pem"]
TRUSTED = "serving.ranker.access.ca_file=ca.pem"


@pytest.mark.parametrize(
    ("overrides", "missing", "because"),
    [
        (TLS, "ca_file", "tls"),
        ([*TLS, TRUSTED, "serving.server.tls.client_ca_file=ca.pem"], "certificate_file", "tls.client_ca_file"),
        (["serving.server.token_file=tokens.txt"], "token_file", "token_file"),
    ],
)
def test_a_ranker_that_its_own_model_server_would_turn_away_is_refused(overrides, missing, because):
    config = load(PROJECT / "configs" / "demo.toml", overrides)
    message = f"serving.ranker.access.{missing} must be given with serving.server.{because}: .* Received: none"
    with pytest.raises(ConfigError, match=message):
        serve_models(config)
