import pytest
from google.protobuf import text_format

from serving.errors import ServerFileError
from serving.model_server.config_files import BatchingLimits, read_batching, read_models
from serving.model_server.parameter_protos import BatchingParameters, MonitoringConfig
from serving.model_server.policies import VersionPolicy


@pytest.fixture
def file(tmp_path):
    def write(text):
        path = tmp_path / "file.config"
        path.write_text(text)
        return path

    return write


def test_models_with_policies_and_labels(file):
    path = file("""
        model_config_list {
          config { name: "a" base_path: "/models/a" model_platform: "tensorflow" }
          config { name: "b" base_path: "/models/b" model_type: TENSORFLOW model_version_policy { all {} } }
          config { name: "c" base_path: "/models/c" model_platform: "tensorflow"
                   model_version_policy { latest { num_versions: 3 } } }
          config { name: "d" base_path: "/models/d" model_platform: "tensorflow"
                   model_version_policy { specific { versions: 4 versions: 7 } }
                   version_labels { key: "stable" value: 4 } version_labels { key: "canary" value: 7 } }
        }""")
    models = read_models(path)
    assert [(model.name, str(model.base_path)) for model in models] == [(name, f"/models/{name}") for name in "abcd"]
    assert [model.policy for model in models] == [
        VersionPolicy(1),
        VersionPolicy(None),
        VersionPolicy(3),
        VersionPolicy(None, frozenset({4, 7})),
    ]
    assert models[3].number_by_label == {"stable": 4, "canary": 7}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("model_config_list {\n config {\n nonsense: 1 } }", r"file\.config:3: must be the text of a ModelServerConfig"),
        ('model_config_list { config { base_path: "/a" model_platform: "tensorflow" } }', "name of a model must not be empty"),
        ("", "Only ModelConfigList"),
    ],
)
def test_models_file_that_cannot_be_used_is_named(file, text, message):
    with pytest.raises(ServerFileError, match=message):
        read_models(file(text))


def test_missing_file_names_its_key(tmp_path):
    with pytest.raises(ServerFileError, match=r"serving\.server\.model_config_file must name a readable text file"):
        read_models(tmp_path / "absent")


def test_batching_parameters_of_tf_servings_guide(file):
    path = file("""
        max_batch_size { value: 128 }
        batch_timeout_micros { value: 1000 }
        max_enqueued_batches { value: 1000000 }
        num_batch_threads { value: 8 }
        allowed_batch_sizes: 64 allowed_batch_sizes: 128
        pad_variable_length_inputs: true
        thread_pool_name { value: "batches" }""")
    assert read_batching(path) == BatchingLimits(128, 1_000, 1_000_000, 8, "batches", (64, 128), True)


def test_absent_parameters_have_tf_servings_defaults(file):
    limits = read_batching(file(""))
    assert (limits.max_batch_size, limits.batch_timeout_micros, limits.max_enqueued_batches) == (1_000, 0, 10)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("max_batch_size { value: 0 }", "max_batch_size must be at least 1. Received: 0"),
        ("num_batch_threads { value: -1 }", "num_batch_threads must be at least 1. Received: -1"),
        ("max_batch_size { value: 8 } allowed_batch_sizes: 4", r"end with max_batch_size=8\. Received: \[4\]"),
        ("max_batch_size { value: 8 } allowed_batch_sizes: 8 allowed_batch_sizes: 8", r"Received: \[8, 8\]"),
        ("max_batch: 8", r":1: must be the text of a BatchingParameters"),
    ],
)
def test_batching_parameters_that_do_not_fit_are_named(file, text, message):
    with pytest.raises(ServerFileError, match=message):
        read_batching(file(text))


def test_messages_travel_as_tf_serving_writes_them():
    """Field numbers: a wrapped 128 in field 1, and 7 in field 6, by the rules of the wire format."""
    limits = BatchingParameters(allowed_batch_sizes=[7])
    limits.max_batch_size.value = 128
    assert limits.SerializeToString() == bytes([1 << 3 | 2, 3, 1 << 3 | 0, 0x80, 1, 6 << 3 | 2, 1, 7])
    text = 'prometheus_config { enable: true, path: "/metrics" }'
    assert text_format.Parse(text, MonitoringConfig()).prometheus_config.path == "/metrics"
