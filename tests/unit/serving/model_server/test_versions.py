import shutil

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serving.errors import ModelUnavailableError, RequestError
from serving.model_server.config_files import ServedModel
from serving.model_server.policies import VersionPolicy
from serving.model_server.versions import ModelVersions, VersionState
from tests.unit.serving.model_server.fakes import load_fake, write_fake_version

AVAILABLE, END, UNLOADING = VersionState.AVAILABLE, VersionState.END, VersionState.UNLOADING


@pytest.fixture
def make(tmp_path):
    def versions(settle_seconds=0.0, **policy):
        return ModelVersions(ServedModel("ranker", tmp_path, VersionPolicy(**policy)), load_fake, settle_seconds)

    return versions


def served(versions, number=None):
    with versions.use(number) as model:
        return model.number


def states(versions):
    return {status.number: status.state for status in versions.statuses()}


def test_newest_number_is_served_and_other_names_are_not_versions(make, tmp_path):
    for name in ("2", "10", "latest", "11.tmp", "-3", "\u0663"):
        write_fake_version(tmp_path, name)
    (tmp_path / "12").write_text("a file")
    (tmp_path / str(1 << 63)).mkdir()
    versions = make()
    versions.refresh()
    assert served(versions) == 10
    assert states(versions) == {10: AVAILABLE}


def test_old_version_stays_until_its_calls_have_ended(make, tmp_path, wait_until):
    write_fake_version(tmp_path, 1)
    versions = make()
    versions.refresh()
    with versions.use() as first, versions.use():
        write_fake_version(tmp_path, 2)
        versions.refresh()
        assert states(versions) == {2: AVAILABLE, 1: UNLOADING}
        assert served(versions) == 2
        assert not first.is_closed
    assert states(versions) == {2: AVAILABLE, 1: END}
    wait_until(lambda: first.is_closed)
    with pytest.raises(RequestError, match=r"Servable not found for request: Specific\(ranker, 1\)"):
        served(versions, 1)


def test_several_of_the_newest_are_served(make, tmp_path):
    for number in (1, 2, 3):
        write_fake_version(tmp_path, number)
    versions = make(num_latest=2)
    versions.refresh()
    assert states(versions) == {3: AVAILABLE, 2: AVAILABLE}
    write_fake_version(tmp_path, 4)
    versions.refresh()
    assert states(versions) == {4: AVAILABLE, 3: AVAILABLE, 2: END}
    assert (served(versions), served(versions, 3)) == (4, 3)


def test_specific_versions_alone_are_served(make, tmp_path):
    for number in (1, 2, 3):
        write_fake_version(tmp_path, number)
    versions = make(num_latest=None, specific=frozenset({1, 3, 9}))
    versions.refresh()
    assert states(versions) == {3: AVAILABLE, 1: AVAILABLE}


def test_another_policy_is_followed(make, tmp_path):
    for number in (1, 2):
        write_fake_version(tmp_path, number)
    versions = make()
    versions.refresh()
    versions.follow(ServedModel("ranker", tmp_path, VersionPolicy(num_latest=None)))
    versions.refresh()
    assert states(versions) == {2: AVAILABLE, 1: AVAILABLE}
    versions.follow(ServedModel("ranker", tmp_path, VersionPolicy(num_latest=None, specific=frozenset({1}))))
    versions.refresh()
    assert states(versions) == {2: END, 1: AVAILABLE}
    assert served(versions) == 1


def test_version_that_does_not_load_gives_way_until_its_files_change(make, tmp_path, caplog):
    write_fake_version(tmp_path, 1)
    (tmp_path / "2").mkdir()
    versions = make()
    versions.refresh()
    versions.refresh()
    assert served(versions) == 1
    assert "must hold saved_model.pb" in versions.statuses()[0].error
    assert [record.levelname for record in caplog.records].count("WARNING") == 1

    write_fake_version(tmp_path, 2, "corrupt")
    versions.refresh()
    assert (served(versions), versions.statuses()[0].error) == (1, "a corrupt model")

    write_fake_version(tmp_path, 2)
    versions.refresh()
    assert served(versions) == 2
    assert versions.statuses()[0].error is None


def test_deleted_version_gives_way_to_the_one_before_and_the_last_stays(make, tmp_path):
    for number in (1, 2):
        write_fake_version(tmp_path, number)
    versions = make()
    versions.refresh()
    shutil.rmtree(tmp_path / "2")
    versions.refresh()
    assert served(versions) == 1
    shutil.rmtree(tmp_path)
    versions.refresh()
    assert served(versions) == 1


def test_files_rest_before_they_are_loaded(make, tmp_path, wait_until):
    write_fake_version(tmp_path, 1)
    versions = make(settle_seconds=0.2)
    versions.refresh()
    assert versions.is_settling
    assert states(versions) == {1: VersionState.START}
    wait_until(lambda: versions.refresh() or versions.is_available)
    assert not versions.is_settling


def test_unloading_ends_every_version(make, tmp_path):
    write_fake_version(tmp_path, 1)
    versions = make()
    versions.refresh()
    with versions.use() as model:
        pass
    versions.unload()
    assert states(versions) == {1: END}
    # A process that ended while TensorFlow frees a session would be aborted.
    assert model.is_closed
    with pytest.raises(RequestError, match=r"Servable not found for request: Latest\(ranker\)"):
        served(versions)


def test_empty_folder_names_itself_and_the_way_out(make, tmp_path):
    versions = make()
    versions.refresh()
    with pytest.raises(ModelUnavailableError, match=f"{tmp_path} must hold .* an empty folder. Run the pipeline first"):
        versions.require_available()


def test_missing_folder_names_itself(tmp_path):
    versions = ModelVersions(ServedModel("ranker", tmp_path / "absent", VersionPolicy()), load_fake)
    versions.refresh()
    with pytest.raises(ModelUnavailableError, match=r"absent must hold .* no such folder\. Run the pipeline first"):
        versions.require_available()


def test_folder_of_broken_versions_says_why_in_one_line(make, tmp_path):
    write_fake_version(tmp_path, 3, "broken\n and worse")
    versions = make()
    versions.refresh()
    with pytest.raises(ModelUnavailableError, match="Received: version 3: a broken and worse model") as raised:
        versions.require_available()
    assert "\n" not in str(raised.value)


@settings(deadline=None)
@given(
    numbers=st.sets(st.integers(0, 30)),
    num_latest=st.none() | st.integers(1, 5),
    specific=st.none() | st.frozensets(st.integers(0, 30)),
)
def test_candidates_are_the_wanted_ones_newest_first(numbers, num_latest, specific):
    policy = VersionPolicy(num_latest, specific)
    wanted = [number for number in range(30, -1, -1) if number in numbers and (specific is None or number in specific)]
    assert policy.candidates(numbers) == wanted
    assert policy.is_met(len(numbers)) == (num_latest is not None and len(numbers) >= num_latest)
