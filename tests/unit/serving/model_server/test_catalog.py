import pytest
from tensorflow_serving.apis import model_pb2

from serving.errors import ModelUnavailableError, RequestError
from serving.model_server.catalog import ModelCatalog
from serving.model_server.config import ModelServerConfig
from serving.model_server.config_files import ServedModel
from serving.model_server.policies import VersionPolicy
from tests.unit.serving.model_server.fakes import load_fake, write_fake_version

ALL = VersionPolicy(num_latest=None)


@pytest.fixture
def folders(tmp_path):
    """Folder by model: `a` with versions 1 and 2, `b` with version 5, `empty` with none."""
    for name, numbers in {"a": (1, 2), "b": (5,), "empty": ()}.items():
        (tmp_path / name).mkdir()
        for number in numbers:
            write_fake_version(tmp_path / name, number)
    return tmp_path


def model(folders, name, policy=ALL, **number_by_label):
    return ServedModel(name, folders / name, policy, number_by_label)


def catalog_of(*models, is_any_label_allowed=False):
    config = ModelServerConfig(settle_seconds=0, allow_version_labels_for_unavailable_models=is_any_label_allowed)
    return ModelCatalog(list(models), load_fake, config, poll_seconds=60)


def served(catalog, name, **spec):
    if "version" in spec:
        spec["version"] = {"value": spec["version"]}
    with catalog.use(model_pb2.ModelSpec(name=name, **spec)) as loaded:
        return loaded.number


def test_each_model_answers_by_name_number_and_label(folders):
    catalog = catalog_of(model(folders, "a", stable=1, canary=2), model(folders, "b"))
    catalog.load_first()
    assert [served(catalog, "a"), served(catalog, "b"), served(catalog, "a", version=1)] == [2, 5, 1]
    assert [served(catalog, "a", version_label=label) for label in ("stable", "canary")] == [1, 2]


@pytest.mark.parametrize(
    ("spec", "status", "message"),
    [
        ({"name": ""}, "INVALID_ARGUMENT", "ModelSpec has no name specified"),
        ({"name": "c"}, "NOT_FOUND", r"Latest\(c\)"),
        ({"name": "a", "version": 9}, "NOT_FOUND", r"Specific\(a, 9\)"),
        ({"name": "b", "version_label": "stable"}, "INVALID_ARGUMENT", "Unrecognized servable version label: stable"),
    ],
)
def test_what_is_not_served_is_refused(folders, spec, status, message):
    catalog = catalog_of(model(folders, "a", stable=1), model(folders, "b"))
    catalog.load_first()
    with pytest.raises(RequestError, match=message) as raised:
        served(catalog, **spec)
    assert raised.value.status == status


def test_a_label_needs_a_version_that_can_be_asked(folders):
    with pytest.raises(RequestError, match="label to version 3 of model a, which is not currently available") as raised:
        catalog_of(model(folders, "a", stable=3)).load_first()
    assert raised.value.status == "FAILED_PRECONDITION"


def test_where_allowed_a_new_label_may_come_before_its_version_but_none_is_moved_away(folders):
    catalog = catalog_of(model(folders, "a", stable=1, canary=3), is_any_label_allowed=True)
    catalog.load_first()
    with pytest.raises(RequestError, match=r"Specific\(a, 3\)"):
        served(catalog, "a", version_label="canary")
    with pytest.raises(RequestError, match="label to version 3 of model a"):
        catalog.reload([model(folders, "a", stable=3)])
    assert served(catalog, "a", version_label="stable") == 1
    write_fake_version(folders / "a", 3)
    catalog.reload([model(folders, "a", stable=1, canary=3)])
    assert served(catalog, "a", version_label="canary") == 3


def test_reload_adds_removes_and_keeps(folders):
    catalog = catalog_of(model(folders, "a", stable=1))
    catalog.load_first()
    with catalog.use(model_pb2.ModelSpec(name="a")) as kept:
        catalog.reload([model(folders, "a", VersionPolicy(specific=frozenset({2}))), model(folders, "b")])
        assert served(catalog, "b") == 5
        with catalog.use(model_pb2.ModelSpec(name="a")) as still:
            assert still is kept
    with pytest.raises(RequestError, match="Unrecognized servable version label"):
        served(catalog, "a", version_label="stable")
    catalog.reload([model(folders, "b")])
    with pytest.raises(RequestError, match=r"Latest\(a\)"):
        served(catalog, "a")
    assert catalog.is_available_by_name == {"b": True}


def test_reload_tells_of_a_model_that_does_not_load_and_serves_the_others(folders):
    catalog = catalog_of(model(folders, "a"))
    catalog.load_first()
    with pytest.raises(RequestError, match=r"1 model\(s\) did not become available: \{\{empty due to") as raised:
        catalog.reload([model(folders, "a"), model(folders, "b"), model(folders, "empty")])
    assert raised.value.status == "UNKNOWN"
    assert [served(catalog, "a"), served(catalog, "b")] == [2, 5]
    assert catalog.is_available_by_name == {"a": True, "b": True, "empty": False}


def test_a_model_without_a_version_keeps_the_server_from_starting(folders):
    with pytest.raises(ModelUnavailableError, match="empty must hold a model version"):
        catalog_of(model(folders, "a"), model(folders, "empty")).load_first()
